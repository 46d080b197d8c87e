"""What a check prints: one page of text."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from fcn_jax.check.findings import Finding
from fcn_jax.check.inspect import Report
from fcn_jax.check.summary import Summary

_MOST_LINES = 40  # of a label map


def page_of_text(title: str, report: Report, short: Summary, width: int = 96) -> str:
    """The report as text.

    Args:
      title: The data folder.
      report: What was found.
      short: The data set in short.
      width: Columns.
    """
    lines = [title, ""]
    lines += [f"{name:18}{text}" for name, text in short.facts]
    lines += ["", *_table(short), ""]
    for finding in report.findings:
        lines += [*_of(finding, width), ""]
    lines.append(verdict(report))
    return "\n".join(lines)


def verdict(report: Report) -> str:
    """The last line."""
    wrong = sum(finding.severity == "wrong" for finding in report.findings)
    look = len(report.findings) - wrong
    if not report.findings:
        return "Nothing wrong was found."
    parts = [f"{wrong} {'thing is' if wrong == 1 else 'things are'} wrong"] if wrong else []
    parts += [f"{look} to look at"] if look else []
    return ", ".join(parts) + ("." if wrong else "; nothing is wrong.")


def _table(short: Summary) -> Iterator[str]:
    if short.rows:
        named = max([len(row.name) for row in short.rows] + [4])
        keys = max([len(row.key) for row in short.rows] + [len(short.heading)])
        yield f"{short.heading:>{keys}}  {'name':{named}}  {'pixels':>8}  images"
        for row in short.rows:
            share = f"{100 * row.share:.3f}" if 0 < row.share < 1e-3 else f"{100 * row.share:.1f}"
            yield f"{row.key:>{keys}}  {row.name:{named}}  {share:>6} %  {row.images:>6}"
    if short.more:
        yield f"... and {short.more} more"


def _of(finding: Finding, width: int) -> Iterator[str]:
    yield f"{'WRONG' if finding.severity == 'wrong' else 'LOOK '}  {finding.kind}"
    for text in (finding.found, finding.means, f"-> {finding.mend}"):
        yield from textwrap.wrap(
            text,
            width,
            initial_indent="  ",
            subsequent_indent="     " if text.startswith("->") else "  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    rows = finding.label_map.splitlines()
    yield from (f"       {row}" for row in rows[:_MOST_LINES])
    if rows[_MOST_LINES:]:
        yield f"       ... {len(rows) - _MOST_LINES} more lines"
