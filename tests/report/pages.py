"""A report read back: what a browser or a screen reader would find in it."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

HOSTILE = "</script><img src=x onerror=alert(1)><!-- ]]> {{ 7 * 7 }} & \u202e\x0b"
SECTIONS = ("training", "bytes", "packing", "bits", "passage", "compressors", "referee", "again")
INLINE = {"a", "b", "code", "i", "small", "span", "strong", "sub", "sup"}
EMPTY = {"meta", "link", "br", "img", "path", "use", "rect", "hr", "input"}


@dataclass
class Page(HTMLParser):
    """tags: how often each occurs. sections: text by id of the section. data: JSON by id of its script."""

    source: str
    tags: Counter[str] = field(default_factory=Counter)
    ids: list[str] = field(default_factory=list)
    attributes: list[tuple[str, str, str]] = field(default_factory=list)
    images: list[dict[str, str]] = field(default_factory=list)
    sections: dict[str, str] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    strip: str = ""

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.path: list[tuple[str, str]] = []
        self.feed(self.source)
        self.close()
        assert not self.path, "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {key: value or "" for key, value in attrs}
        self.tags[tag] += 1
        self.attributes += [(tag, key, value) for key, value in given.items()]
        if "id" in given:
            self.ids.append(given["id"])
        if tag == "svg":
            self.images.append(given)
        if tag not in EMPTY:
            self.path.append((tag, given.get("id", "")))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in EMPTY:
            self.path.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in EMPTY:
            if tag not in INLINE:
                self._add(" ")
            opened, _ = self.path.pop()
            assert opened == tag, f"</{tag}> ends <{opened}>"

    def handle_data(self, data: str) -> None:
        tag, name = self.path[-1] if self.path else ("", "")
        if tag == "script":
            if name:
                self.data[name] = json.loads(data)
            return
        if tag not in ("style", "title"):
            self._add(data)

    def _add(self, data: str) -> None:
        for _, each in self.path:
            if each:
                self.sections[each] = self.sections.get(each, "") + data

    def text(self, section: str) -> str:
        """What is read in a section, blanks made one."""
        return " ".join(self.sections[section].split())


def figures(source: str, label: str, css: str = "w") -> str:
    """The SVG whose accessible name begins like this."""
    found = re.findall(rf'<svg class="{css}"[^>]*aria-label="{re.escape(label)}.*?</svg>', source, re.DOTALL)
    assert len(found) == 1, f"{len(found)} figures named {label}"
    return str(found[0])
