"""Takes the pictures of pages for these documents: `python docs/screenshots.py RUN`.

RUN is a run of the demo (`runs/demo/fcn8s`) that was evaluated with details. The set that `check` looks
at is made of generated scenes. Needs the extra `test` and Debian's chromium.
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
    scenes = Scenes(length=40, seed=0, largest=(192, 256), num_classes=4)
    labels = [scenes[i].label for i in range(len(scenes))]
    labels[7] = labels[7][:, ::-1]
    labels[11], labels[12] = labels[12], labels[11]
    for name in ("images", "labels"):
        (folder / name).mkdir()
    for i, label in enumerate(labels):
        Image.fromarray(scenes[i].image).save(folder / "images" / f"scene{i:02}.jpg")
        gray = np.where(label == 255, 255, label * 80).astype(np.uint8)
        Image.fromarray(gray).save(folder / "labels" / f"scene{i:02}.png")
    return folder


def take(page: Path, picture: Path, height: int) -> None:
    """Writes the upper part of a page, as a browser of 1,000 pixels shows it, in few colours."""
    with sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        tab = browser.new_page(viewport={"width": 1000, "height": height}, color_scheme="light")
        tab.goto(page.resolve().as_uri())
        shot = Image.open(io.BytesIO(tab.screenshot()))
        browser.close()
    shot.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(picture, optimize=True)
    size = picture.stat().st_size
    print(f"{picture}: {shot.size[0]} x {shot.size[1]}, {size:,} bytes")
    if size > LARGEST:
        raise ValueError(f"{picture} has {size:,} bytes, more than {LARGEST:,}: lower its height")


def main() -> None:
    """Takes both pictures."""
    take(Path(sys.argv[1]) / "report.html", DOCS / "report.png", 1900)
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "check.html"
        command = [sys.executable, "-m", "fcn_jax", "check", str(set_with_mistakes(Path(folder)))]
        subprocess.run([*command, "--page", str(page)], check=False)
        take(page, DOCS / "check.png", 1300)


if __name__ == "__main__":
    main()
