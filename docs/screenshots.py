"""Takes the pictures of pages for these documents: `python docs/screenshots.py RUN`.

RUN is a run of the demo (`runs/demo/fcn8s`) that was evaluated with details. The set that `check`
looks at is made of generated scenes. Needs the extra `test` and Debian's chromium.
"""

import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright

from fcn_jax.data.scenes import Scenes

DOCS = Path(__file__).parent
LARGEST = 250_000
"""Bytes of a picture."""


def set_with_mistakes(folder: Path) -> Path:
    """Forty scenes; classes as gray levels in all labels, one label mirrored, two swapped."""
    scenes = Scenes(length=40, seed=0, largest=(192, 256), num_classes=4, border=0)
    labels = [scenes[i].label for i in range(len(scenes))]
    labels[7] = labels[7][:, ::-1]
    labels[11], labels[12] = labels[12], labels[11]
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for i, label in enumerate(labels):
        Image.fromarray(scenes[i].image).save(folder / "images" / f"scene{i:02}.jpg")
        Image.fromarray(label * np.uint8(85)).save(folder / "labels" / f"scene{i:02}.png")
    return folder


def take(page: Path, picture: Path, second: str, height: int) -> None:
    """Writes parts of a page as a browser shows it: its beginning, and beside it another part.

    Args:
        page: the HTML file.
        picture: the PNG.
        second: a selector of what is at the top of the second part.
        height: pixels of both.
    """
    width = 800
    with sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        tab = browser.new_page(viewport={"width": width, "height": 900}, color_scheme="light")
        tab.goto(page.resolve().as_uri())
        shot = Image.open(io.BytesIO(tab.screenshot(full_page=True))).convert("RGB")
        top = tab.evaluate(f"document.querySelector({second!r}).getBoundingClientRect().top")
        browser.close()
    both = Image.new("RGB", (2 * width + 20, height), "#888888")
    both.paste(shot.crop((0, 0, width, height)), (0, 0))
    both.paste(shot.crop((0, int(top) - 10, width, int(top) - 10 + height)), (width + 20, 0))
    both.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(
        picture, optimize=True
    )
    size = picture.stat().st_size
    print(f"{picture}: {both.size[0]} x {both.size[1]}, {size:,} bytes")
    if size > LARGEST:
        raise ValueError(f"{picture} has {size:,} bytes, more than {LARGEST:,}: lower its height")


def main() -> None:
    """Takes both pictures."""
    take(Path(sys.argv[1]) / "report.html", DOCS / "report.png", "#images", 1500)
    with tempfile.TemporaryDirectory() as folder:
        photos = set_with_mistakes(Path(folder) / "photos")
        command = [sys.executable, "-m", "fcn_jax", "check", photos.name, "--num-classes", "4"]
        subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, check=False)  # 1: mistakes
        take(Path(folder) / "check.html", DOCS / "check.png", "#f2", 950)


if __name__ == "__main__":
    main()
