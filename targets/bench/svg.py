"""Converts a Matplotlib figure to SVG for embedding: colours, fonts and accessibility."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING
from xml.etree import ElementTree

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"

INK = "#010101"
"""Colour of text and of the data's lines."""
QUIET = "#010102"
"""Colour of axes, ticks and secondary text."""
GRID = "#010103"
PAPER = "#010104"
"""Colour of the page behind the figure."""
SERIES = tuple(f"#0102{number:02x}" for number in range(1, 7))
"""Colours of the targets, in order."""

VARIABLES: Mapping[str, str] = {
    INK: "--ink",
    QUIET: "--quiet",
    GRID: "--grid",
    PAPER: "--paper",
    **{colour: f"--series-{number}" for number, colour in enumerate(SERIES, start=1)},
}
"""CSS variables of the page that replace the placeholder colours above, so that one drawing serves
light mode, dark mode and print."""

_STAND_IN = re.compile("|".join(VARIABLES), re.IGNORECASE)
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_FONT = re.compile(r"font:\s*(?:(\w+)\s+)?([\d.]+)px[^;]*|font-family:[^;]*")
"""Font declarations, of which only the size is kept; the family is that of the page."""


def to_svg(figure: Figure, name: str, title: str, description: str) -> str:
    """Return ``figure`` as an ``svg`` element with the ID ``name``, which is unique on its page.

    Text remains text, in the font of the page; screen readers read title and description.
    """
    import matplotlib as mpl

    raw = io.BytesIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(raw, format="svg", transparent=True, metadata={"Date": None})
    ElementTree.register_namespace("", _SVG)
    root = ElementTree.fromstring(raw.getvalue())  # noqa: S314 - Matplotlib wrote it just now
    _drop(root, "metadata")
    # A style sheet inside the SVG would apply to the whole page, which has its own.
    _drop(root, "style")
    for element in root.iter():
        _renamed(element, name)
        _coloured(element)
    _described(root, name, title, description)
    return ElementTree.tostring(root, encoding="unicode")


def _drop(root: ElementTree.Element, tag: str) -> None:
    for parent in list(root.iter()):
        for element in parent.findall(f"{{{_SVG}}}{tag}"):
            parent.remove(element)


def _renamed(element: ElementTree.Element, name: str) -> None:
    """Make IDs and references to them unique on the page."""
    if "id" in element.attrib:
        element.set("id", f"{name}-{element.get('id')}")
    link = element.attrib.pop(f"{{{_XLINK}}}href", None)
    if link is not None:
        element.set("href", f"#{name}-{link.removeprefix('#')}")
    for key, value in element.attrib.items():
        if "url(#" in value:
            element.set(key, _REFERENCE.sub(rf"url(#{name}-\1)", value))


def _coloured(element: ElementTree.Element) -> None:
    style = element.get("style")
    if style is None:
        return
    style = _FONT.sub(lambda match: f"font-size: {match[2]}px" if match[2] else "", style)
    style = _STAND_IN.sub(lambda match: f"var({VARIABLES[match[0].lower()]})", style)
    element.set("style", style)


def _described(root: ElementTree.Element, name: str, title: str, description: str) -> None:
    for size in ("width", "height"):
        root.attrib.pop(size, None)
    root.set("role", "img")
    root.set("aria-labelledby", f"{name}-title {name}-desc")
    for at, (tag, text) in enumerate((("title", title), ("desc", description))):
        element = ElementTree.Element(f"{{{_SVG}}}{tag}", {"id": f"{name}-{tag}"})
        element.text = text
        root.insert(at, element)
