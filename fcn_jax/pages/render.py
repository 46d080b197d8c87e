"""Templates as text: pages of HTML that need no other file, and cards."""

import re
from collections.abc import Callable, Mapping
from typing import Any

_OPTION = re.compile(
    r"(python -m [\w.]+(?: [\w./-]+)*|--[a-z][a-z-]+(?: (?:FILE|FOLDER|\d+|&#39;.*?&#39;))*"
    r"|exiftool \S+ \S+)"
)


def render(
    package: str,
    template: str,
    filters: Mapping[str, Callable[..., Any]] | None = None,
    **values: Any,
) -> str:
    """The text that a template makes.

    Pages extend `base.html`, which is beside this file. In `.html` templates, values are escaped.

    Args:
        package: the package whose folder holds the template.
        template: the template's file name.
        filters: functions that the template uses as filters, by name, besides `code`.
        values: what the template names. A name that has no value is an error.
    """
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    loaders = [PackageLoader(name, ".") for name in dict.fromkeys((package, "fcn_jax.pages"))]
    environment = Environment(
        loader=ChoiceLoader(loaders),
        autoescape=template.endswith(".html"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"code": code, **(filters or {})}
    return environment.get_template(template).render(**values)


def code(text: str) -> Any:
    """A sentence as HTML, with its options and commands as code."""
    from markupsafe import Markup, escape

    return Markup(_OPTION.sub(r"<code>\1</code>", str(escape(text))))
