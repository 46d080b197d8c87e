"""Reads the points of a chart of the studies."""

import xml.etree.ElementTree as ElementTree

_SVG = "{http://www.w3.org/2000/svg}"


def points(path, name):
    """The (x, y) of a series in an SVG, in the SVG's units."""
    (line,) = (e for e in ElementTree.parse(path).iter(f"{_SVG}g") if e.get("id") == name)
    return [(float(use.get("x", 0)), float(use.get("y", 0))) for use in line.iter(f"{_SVG}use")]
