"""A page as a tree of elements, to look at what stands where and not at how it is worded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

_EMPTY = {"meta", "link", "br", "input", "line", "circle"}


@dataclass
class Element:
    """An element with what it holds: other elements and texts."""

    tag: str
    attributes: dict[str, str] = field(default_factory=dict)
    content: list[Element | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All text in it, with single blanks."""
        parts = [one if isinstance(one, str) else one.text for one in self.content]
        return " ".join(" ".join(parts).split())

    @property
    def classes(self) -> set[str]:
        """Its classes."""
        return set(self.attributes.get("class", "").split())

    def all(self, tag: str, of_class: str = "") -> list[Element]:
        """Every element of a kind in it, in order."""
        return [one for one in self._every() if one.tag == tag and (not of_class or of_class in one.classes)]

    def named(self, name: str) -> Element:
        """The element with an id."""
        (found,) = [one for one in self._every() if one.attributes.get("id") == name]
        return found

    def rows(self) -> list[list[str]]:
        """The cells of a table, row by row, with its header first."""
        return [
            [cell.text for cell in row.content if isinstance(cell, Element) and cell.tag in ("th", "td")]
            for row in self.all("tr")
        ]

    def _every(self) -> Iterator[Element]:
        for one in self.content:
            if isinstance(one, Element):
                yield one
                yield from one._every()


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open = [Element("page")]

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        made = Element(tag, {name: value or "" for name, value in attributes})
        self.open[-1].content.append(made)
        if tag not in _EMPTY:
            self.open.append(made)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.open[-1].content.append(Element(tag, {name: value or "" for name, value in attributes}))

    def handle_endtag(self, tag: str) -> None:
        if tag not in _EMPTY:
            assert self.open.pop().tag == tag, f"</{tag}> where {self.open[-1].tag} is open"

    def handle_data(self, data: str) -> None:
        self.open[-1].content.append(data)


def parsed(page: str) -> Element:
    """Return a page as a tree. Every element must be closed, and by its own end."""
    parser = _Parser()
    parser.feed(page)
    parser.close()
    assert [one.tag for one in parser.open] == ["page"]
    return parser.open[0]
