"""The report of a benchmark: a table, the machine, and every turn."""

import contextlib
import dataclasses
import json
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from fcn_jax.atomic import write_atomically

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("jax", "jaxlib", "flax", "torch", "onnxruntime", "opencv-python-headless", "grain")
UNITS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "neon")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """A table and how its numbers were measured.

    Attributes:
        title: what was measured.
        about: lines on how and where.
        columns: headings; the first column names the contestant.
        rows: cells as text.
        raw: all measurements, for the JSON file.
    """

    title: str
    about: Sequence[str]
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    raw: Any

    def show(self) -> None:
        """Prints the table."""
        from rich.console import Console
        from rich.table import Table

        table = Table(title=self.title)
        for i, heading in enumerate(self.columns):
            table.add_column(heading, justify="right" if i else "left", no_wrap=True)
        for row in self.rows:
            table.add_row(*row)
        console = Console(width=max(Console().width, 110))
        console.print(table)
        for line in self.about:
            console.print(line, highlight=False, markup=False)

    def write(self, path: Path) -> None:
        """Writes the table as Markdown to `path`, and `raw` to the `.json` beside it."""
        lines = [
            f"**{self.title}**",
            "",
            f"| {' | '.join(self.columns)} |",
            f"|---{'|---:' * (len(self.columns) - 1)}|",
            *(f"| {' | '.join(row)} |" for row in self.rows),
            "",
            *(f"- {line}" for line in self.about),
        ]
        text = "\n".join(lines) + "\n"
        write_atomically(path, lambda part: part.write_text(text))
        content = json.dumps({"title": self.title, "about": self.about, **self.raw}, indent=1)
        write_atomically(path.with_suffix(".json"), lambda part: part.write_text(content))
        print(f"wrote {path} and {path.with_suffix('.json')}")


def machine() -> list[str]:
    """Lines on the processor, the versions and the commit."""
    return [
        f"{time.strftime('%Y-%m-%d %H:%M')}, {_processor()}, {os.cpu_count()} processors, "
        f"load {os.getloadavg()[0]:.2f} at the end",
        f"Python {platform.python_version()}, {', '.join(_versions())}; commit {_commit()}",
    ]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except FileNotFoundError:
        return platform.processor() or platform.machine()
    info = dict(line.split(":", 1) for line in reversed(lines) if ":" in line)
    fields = {key.strip(): value.strip() for key, value in info.items()}
    units = [unit for unit in UNITS if unit in fields.get("flags", "").split()]
    return f"{fields.get('model name', platform.machine())} ({', '.join(units) or 'plain'})"


def _versions() -> list[str]:
    found = []
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found.append(f"{package} {metadata.version(package)}")
    return found


def _commit() -> str:
    try:
        command = ["git", "describe", "--always", "--dirty"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()
