"""How the site is made of these pages: `sphinx-build -W -b html docs build/site`.

Pages are Markdown (MyST). Those whose head names a kernel are notebooks, and are executed. Nothing
of what a reader's browser loads comes from a network.
"""

import functools
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.domains.python import PyObject

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path.insert(0, str(ROOT))
# Of the commands in notebooks, and of their help.
os.environ.update(COLUMNS="90", NO_COLOR="1", TERM="dumb", TTY_COMPATIBLE="0")

project = "fcn_jax"
author = "the authors of fcn_jax"
copyright = author
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
html_theme = "furo"
html_title = "fcn_jax"
html_copy_source = False
html_show_sphinx = False
html_static_path = ["style.css"]
html_css_files = ["style.css"]
highlight_language = "none"  # of code without a language: what a terminal shows
exclude_patterns = ["_build", "**/.ipynb_checkpoints"]

nitpicky = True
# What is in `backticks` in docstrings, and types in signatures, lead to a page where there is one.
nitpick_ignore_regex = [("py:obj", "(?s).*"), ("py:.*", r"(?!fcn_jax\.[A-Z]\w*$).*")]

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4
nb_execution_mode = "force"
nb_execution_timeout = 600  # seconds for a cell; a cell takes a few
nb_execution_raise_on_error = True
nb_merge_streams = True

autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
default_role = "py:obj"
python_maximum_signature_line_length = 88
add_module_names = False

# Pages that are files elsewhere in the checkout.
ELSEWHERE = {
    "contributing": "CONTRIBUTING.md",
    "changes": "CHANGELOG.md",
    "weights": "weights/README.md",
    "goldens": "tests/goldens/README.md",
}


def with_text_from_elsewhere(app: Any, page: str, source: list[str]) -> None:
    """Gives a page of `ELSEWHERE` its text; links to these files lead to the pages.

    The text of a link that is a file's name becomes the title of its page.
    """
    file = DOCS / f"{page}.md"
    if page in ELSEWHERE:
        file = ROOT / ELSEWHERE[page]
        source[0] = file.read_text()
    pages = {(ROOT / other).resolve(): DOCS / f"{name}.md" for name, other in ELSEWHERE.items()}
    pages[ROOT / "README.md"] = DOCS / "index.md"
    here = (DOCS / page).parent

    def moved(link: re.Match[str]) -> str:
        target = (file.parent / link[2]).resolve()
        text = "" if link[1].endswith(".md") else link[1]  # the title of the page stands there
        return f"[{text}]({os.path.relpath(pages.get(target, target), here)}{link[3] or ''})"

    source[0] = re.sub(r"\[([^]\n]*)\]\((?!\w+:)([^)\s#]+)(#[^)\s]*)?\)", moved, source[0])


def without_linen_fields(app: Any, what: str, name: str, value: Any, *rest: Any) -> Any:
    """The signature of a net without `parent` and `name`, which every linen module has."""
    _, signature, returns = rest
    if signature:
        signature = re.sub(r"(, )?parent: .*(?=\)$)", "", signature)
    return signature, returns


@functools.cache
def help_of(module: str) -> str:
    """What `python -m MODULE --help` prints."""
    command = [sys.executable, "-m", *module.split(), "--help"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if printed.returncode:
        raise ValueError(f"{' '.join(command)}: {printed.stderr}")
    return printed.stdout.strip()


class Help(Directive):
    """The help of a command: its module, and its name if it is one of the library's."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """A block of what the command prints."""
        return [nodes.literal_block(text=help_of(self.arguments[0]), language="none")]


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    for field in PyObject.doc_field_types:
        if field.name == "variable":
            field.label = "Attributes"
    app.add_directive("help", Help)
    app.connect("source-read", with_text_from_elsewhere)
    app.connect("autodoc-process-signature", without_linen_fields)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
