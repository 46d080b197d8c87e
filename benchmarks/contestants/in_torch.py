"""PyTorch: eager or compiled, channels first or last, float32 or bfloat16."""

from pathlib import Path
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
import torch.nn.functional as F  # noqa: N812  # pyright: ignore[reportMissingImports]

from benchmarks.case import MOMENTUM, Case, Program, read
from benchmarks.contestants import torch_lite
from benchmarks.contestants.torch_nets import NETS as CAFFE_NETS

NETS = {**CAFFE_NETS, "efficientnet_lite0": torch_lite.FCN}


def program(case: Case, folder: Path) -> Program:
    """A case in PyTorch; `case.options` may contain `nhwc` and `compile`."""
    torch.set_num_threads(case.threads)
    device = torch.device("cuda" if case.device == "gpu" else "cpu")
    weights, images, labels = read(folder)
    x = torch.tensor(np.ascontiguousarray(images.transpose(0, 3, 1, 2)), device=device)
    net: Any = NETS[case.trunk](weights).to(device)
    del weights
    if "nhwc" in case.options:
        net, x = (v.to(memory_format=torch.channels_last) for v in (net, x))
    bf16 = case.dtype == "bf16"
    if not case.train:
        net, x = (v.to(torch.bfloat16) for v in (net, x)) if bf16 else (net, x)
        run = forward(net.eval().requires_grad_(False), x, "compile" in case.options)
    else:
        y = torch.tensor(labels, dtype=torch.long, device=device)
        run = step(net, x, y, case, "compile" in case.options)
    gpu = case.device == "gpu"
    return Program(
        run=run,
        wait=(lambda out: torch.cuda.synchronize()) if gpu else lambda out: None,
        result=lambda out: out.detach().float().cpu().numpy(),
        device_peak=torch.cuda.max_memory_allocated if gpu else None,
        channels_first=True,
    )


def forward(net: Any, x: Any, compiled: bool) -> Any:
    """Scores, without autograd; if compiled, the weights are constants (freezing)."""
    if compiled:
        import torch._inductor.config as inductor  # pyright: ignore[reportMissingImports]

        inductor.freezing = True
        net = torch.compile(net)

    def run() -> Any:
        with torch.no_grad():
            return net(x)

    return run


def step(net: Any, x: Any, labels: Any, case: Case, compiled: bool) -> Any:
    """One update; autocast for mixed precision, with parameters in float32."""
    learning = [p for p in net.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(learning, case.learning_rate, momentum=MOMENTUM, fused=True)

    def objective(x: Any, labels: Any) -> Any:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=case.dtype == "bf16"):
            scores = net(x)
        return F.cross_entropy(scores.float(), labels, ignore_index=255, reduction="sum")

    if compiled:
        objective = torch.compile(objective)

    def run() -> Any:
        optimizer.zero_grad(set_to_none=True)
        loss = objective(x, labels)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return run


def export_onnx(case: Case, folder: Path) -> Path:
    """Writes the net with its weights as `net.onnx`."""
    weights, images, _ = read(folder)
    net = NETS[case.trunk](weights).eval().requires_grad_(False)
    x = torch.tensor(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    path = folder / "net.onnx"
    torch.onnx.export(net, (x,), path, dynamo=False, opset_version=17, input_names=["image"])
    return path
