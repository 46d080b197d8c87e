"""torchvision's classifiers in PyTorch, built as in its source, but narrower.

Each function returns a module whose state dict has torchvision's names, and its forward pass.
Source: pytorch/vision torchvision/models.
"""

VGG16 = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
INCEPTIONS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


def vgg16(nn, width=32, batch_norm=False):
    layers, channels = [], 3
    for repeats, out in VGG16:
        for _ in range(repeats):
            layers.append(nn.Conv2d(channels, out // width, 3, padding=1))
            layers += [nn.BatchNorm2d(out // width)] if batch_norm else []
            layers.append(nn.ReLU())
            channels = out // width
        layers.append(nn.MaxPool2d(2, 2))
    fc = 4096 // width
    net = nn.Module()
    net.features = nn.Sequential(*layers)
    net.classifier = nn.Sequential(
        nn.Linear(channels * 49, fc), nn.ReLU(), nn.Dropout(), nn.Linear(fc, fc), nn.ReLU(),
        nn.Dropout(), nn.Linear(fc, 10),
    )  # fmt: skip
    return net, lambda x: net.classifier(net.features(x).flatten(1))


def vgg16_bn(nn):
    return vgg16(nn, batch_norm=True)


def alexnet(nn, width=16):
    a, b, c, d, fc = (n // width for n in (64, 192, 384, 256, 4096))
    net = nn.Module()
    net.features = nn.Sequential(
        nn.Conv2d(3, a, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(a, b, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(b, c, 3, padding=1), nn.ReLU(), nn.Conv2d(c, d, 3, padding=1), nn.ReLU(),
        nn.Conv2d(d, d, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2),
    )  # fmt: skip
    net.avgpool = nn.AdaptiveAvgPool2d((6, 6))
    net.classifier = nn.Sequential(
        nn.Dropout(), nn.Linear(d * 36, fc), nn.ReLU(), nn.Dropout(), nn.Linear(fc, fc), nn.ReLU(),
        nn.Linear(fc, 10),
    )  # fmt: skip
    return net, lambda x: net.classifier(net.avgpool(net.features(x)).flatten(1))


def googlenet(nn, width=8):
    import torch

    class Basic(nn.Module):
        def __init__(self, channels, out, **fields):
            super().__init__()
            self.conv = nn.Conv2d(channels, out, bias=False, **fields)
            self.bn = nn.BatchNorm2d(out, eps=0.001)

        def forward(self, x):
            return self.bn(self.conv(x)).relu()

    class Inception(nn.Module):
        def __init__(self, channels, one, reduce3, three, reduce5, five, projection):
            super().__init__()
            three_by_three = {
                "kernel_size": 3,
                "padding": 1,
            }  # also in the branch that is 5x5 in Caffe
            self.branch1 = Basic(channels, one, kernel_size=1)
            self.branch2 = nn.Sequential(
                Basic(channels, reduce3, kernel_size=1), Basic(reduce3, three, **three_by_three)
            )
            self.branch3 = nn.Sequential(
                Basic(channels, reduce5, kernel_size=1), Basic(reduce5, five, **three_by_three)
            )
            self.branch4 = nn.Sequential(
                nn.MaxPool2d(3, 1, 1, ceil_mode=True), Basic(channels, projection, kernel_size=1)
            )

        def forward(self, x):
            return torch.cat([branch(x) for branch in self.children()], 1)

    class Training(nn.Module):  # one of the two classifiers that are used in training only
        def __init__(self):
            super().__init__()
            self.conv = Basic(4, 2, kernel_size=1)
            self.fc1, self.fc2 = nn.Linear(32, 8), nn.Linear(8, 10)

    net, channels = nn.Module(), 192 // width
    net.conv1 = Basic(3, 64 // width, kernel_size=7, stride=2, padding=3)
    net.conv2 = Basic(64 // width, 64 // width, kernel_size=1)
    net.conv3 = Basic(64 // width, channels, kernel_size=3, padding=1)
    for name, widths in INCEPTIONS.items():
        widths = [n // width for n in widths]
        setattr(net, f"inception{name}", Inception(channels, *widths))
        channels = widths[0] + widths[2] + widths[4] + widths[5]
    net.aux1, net.aux2 = Training(), Training()
    net.fc = nn.Linear(channels, 10)

    def pool(x, kernel=3):
        return nn.functional.max_pool2d(x, kernel, 2, ceil_mode=True)

    def forward(x):
        rgb = ((0.229, 0.485), (0.224, 0.456), (0.225, 0.406))
        parts = [x[:, c] * (std / 0.5) + (mean - 0.5) / 0.5 for c, (std, mean) in enumerate(rgb)]
        x = pool(net.conv3(net.conv2(pool(net.conv1(torch.stack(parts, 1))))))
        for name in INCEPTIONS:
            x = getattr(net, f"inception{name}")(x)
            x = pool(x) if name == "3b" else pool(x, 2) if name == "4e" else x
        return net.fc(x.mean((2, 3)))

    return net, forward


def _squeezenet(nn, *features):
    net = nn.Module()
    net.features = nn.Sequential(*features)
    net.classifier = nn.Sequential(nn.Dropout(), nn.Conv2d(512, 10, 1), nn.ReLU())
    return net, lambda x: net.classifier(net.features(x)).mean((2, 3))


def _parts(nn):
    import torch

    class Fire(nn.Module):
        def __init__(self, channels, squeeze, expand):
            super().__init__()
            self.squeeze = nn.Conv2d(channels, squeeze, 1)
            self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
            self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

        def forward(self, x):
            x = self.squeeze(x).relu()
            return torch.cat([self.expand1x1(x).relu(), self.expand3x3(x).relu()], 1)

    return Fire, lambda: nn.MaxPool2d(3, 2, ceil_mode=True)


def squeezenet1_0(nn):
    fire, pool = _parts(nn)
    return _squeezenet(
        nn, nn.Conv2d(3, 96, 7, 2), nn.ReLU(), pool(), fire(96, 16, 64), fire(128, 16, 64),
        fire(128, 32, 128), pool(), fire(256, 32, 128), fire(256, 48, 192), fire(384, 48, 192),
        fire(384, 64, 256), pool(), fire(512, 64, 256),
    )  # fmt: skip


def squeezenet1_1(nn):
    fire, pool = _parts(nn)
    return _squeezenet(
        nn, nn.Conv2d(3, 64, 3, 2), nn.ReLU(), pool(), fire(64, 16, 64), fire(128, 16, 64),
        pool(), fire(128, 32, 128), fire(256, 32, 128), pool(), fire(256, 48, 192),
        fire(384, 48, 192), fire(384, 64, 256), fire(512, 64, 256),
    )  # fmt: skip
