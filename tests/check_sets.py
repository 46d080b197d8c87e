"""Small data sets whose labels follow the edges of their images, for the tests of `check`."""

import numpy as np
from PIL import Image, ImageDraw

SIZE = (96, 128)


def smooth(rng, h, w, cell):
    """Noise of a given grain, -1 to 1."""
    small = rng.uniform(-1, 1, (h // cell + 2, w // cell + 2)).astype(np.float32)
    size = ((w // cell + 2) * cell, (h // cell + 2) * cell)
    return np.asarray(Image.fromarray(small).resize(size, Image.Resampling.BICUBIC))[:h, :w]


def painted(label, rng, grain=6, contrast=1.0):
    """A picture of a label: a colour and a texture for each class, light from one side."""
    h, w = label.shape
    palette = np.random.default_rng(5).uniform(40, 215, (256, 3))
    picture = np.empty((h, w, 3), np.float32)
    for k in np.unique(label):
        where = label == k
        shade = 128 + contrast * (palette[k] + rng.uniform(-25, 25, 3) - 128)
        picture[where] = (shade + 22 * smooth(rng, h, w, grain)[..., None])[where]
    picture += np.linspace(-12, 12, w)[:, None] * rng.choice([-1, 1])
    picture += 18 * smooth(rng, h, w, 32)[..., None] + rng.normal(0, 3, (h, w, 1))
    return picture.clip(0, 255).astype(np.uint8)


def drawn(rng, size=SIZE, shapes=4, classes=4, small=12, large=38):
    """A label of ellipses and polygons, class 0 behind them."""
    h, w = size
    image = Image.new("L", (w, h), 0)
    pen = ImageDraw.Draw(image)
    for _ in range(shapes):
        k, r = int(rng.integers(1, classes)), int(rng.integers(small, large))
        x, y = int(rng.integers(0, w)), int(rng.integers(0, h))
        corners = rng.uniform(0.4, 1, 7) * r
        angles = np.arange(7) * 2 * np.pi / 7
        points = [
            (x + a * np.cos(t), y + a * np.sin(t)) for a, t in zip(corners, angles, strict=True)
        ]
        pen.polygon(points, fill=k)
    return np.array(image)


def fields(rng, size=SIZE, classes=6, seeds=14):
    """A label of patches, as land seen from above."""
    h, w = size
    at = rng.uniform(0, 1, (seeds, 2)) * [h, w]
    y, x = np.mgrid[:h, :w]
    bent = y + 5 * smooth(rng, h, w, 16), x + 5 * smooth(rng, h, w, 16)
    nearest = np.argmin([(bent[0] - a) ** 2 + (bent[1] - b) ** 2 for a, b in at], axis=0)
    return rng.integers(0, classes, seeds)[nearest].astype(np.uint8)


def save(folder, name, picture, label, ending="png"):
    for part, array, suffix in (("images", picture, "jpg"), ("labels", label, ending)):
        path = folder / part / f"{name}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if array is not None and suffix == "npy":
            np.save(path, array)
        elif array is not None:
            Image.fromarray(array).save(path, **({"quality": 92} if suffix == "jpg" else {}))


def write(folder, n=12, seed=0, make=drawn, **options):
    """A sound set of two folders: images/n00.jpg, labels/n00.png, ..."""
    for k in range(n):
        rng = np.random.default_rng((seed, k))
        label = make(rng, **options)
        save(folder, f"n{k:02}", painted(label, rng), label)
    return folder


def names(folder):
    return sorted(path.stem for path in (folder / "labels").iterdir())


def image(folder, name):
    return folder / "images" / f"{name}.jpg"


def label(folder, name):
    return folder / "labels" / f"{name}.png"


def relabel(folder, change, only=None):
    """Writes every label (or those of `only`) anew: `change(array)`."""
    for name in only or names(folder):
        path = label(folder, name)
        changed = change(np.array(Image.open(path)))
        path.unlink()
        if isinstance(changed, Image.Image):
            changed.save(path)
        else:
            Image.fromarray(changed).save(path)
