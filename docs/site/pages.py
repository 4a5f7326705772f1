"""Which files of the repository are pages of the site, and what their links lead to there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MADE = {
    ROOT / "docs" / "python.md": "python.md",
    ROOT / "docs" / "reference" / "command-line.md": "reference/command-line.md",
    ROOT / "docs" / "reference" / "settings.md": "reference/settings.md",
}
"""Pages that are made of the code when the site is; they lie nowhere in the repository."""
_FENCED = re.compile(r"^(`{3,}|~{3,})[^\n]*\n.*?^\1[ \t]*$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL)
_LINK = re.compile(r"(?<!\\)\]\(([^()\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(.+?)\s*#*$", re.MULTILINE)


class DeadLinkError(Exception):
    """A page links to what is not there."""


@dataclass(frozen=True)
class Link:
    """A link as a page has it: where its target stands in the text, path and anchor."""

    start: int
    end: int
    path: str
    anchor: str


def repository_pages() -> dict[Path, str]:
    """Each file that is a page, and its place on the site; whatever lies in docs/guide is one."""
    found = {ROOT / "CONTRIBUTING.md": "contributing.md", ROOT / "CHANGELOG.md": "changelog.md"}
    docs = ROOT / "docs"
    for path in sorted(docs.rglob("*.md")):
        place = path.relative_to(docs)
        if place.parts[0] != "site":
            found[path] = str(place.with_name("index.md") if place.name == "README.md" else place)
    for path in sorted((ROOT / "examples").glob("*/README.md")):
        found[path] = f"examples/{path.parent.name}.md"
    for path in sorted((docs / "notebooks").glob("*.ipynb")):
        found[path] = f"notebooks/{path.stem}.md"
    return found


def links_of(text: str) -> Iterator[Link]:
    """The links of a page to other places here; none of code, none to elsewhere."""
    masked = _FENCED.sub(_blank, text)
    masked = _INLINE.sub(_blank, masked)
    for found in _LINK.finditer(masked):
        target = found[1]
        if re.match(r"[a-z][a-z+.-]*:", target):
            continue
        path, _, anchor = target.partition("#")
        yield Link(found.start(1), found.end(1), path, anchor)


def _blank(found: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", found[0])


def anchors_of(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub and MyST make them."""
    found: set[str] = set()
    for heading in _HEADING.findall(_FENCED.sub(_blank, text)):
        plain = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        base = slug = re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-")
        number = 0
        while slug in found:
            number += 1
            slug = f"{base}-{number}"
        found.add(slug)
    return found


def target_of(page: Path, link: Link) -> Path:
    """The file or folder of a link; DeadLinkError when it, or its heading, is not there."""
    target = Path(os.path.normpath(page.parent / link.path)) if link.path else page
    if target in MADE:
        return target
    said = f"{page.relative_to(ROOT)}: {link.path}{'#' if link.anchor else ''}{link.anchor}"
    if not target.exists() or not target.is_relative_to(ROOT):
        raise DeadLinkError(f"{said}: no such file")
    is_page = link.anchor and target.suffix == ".md"
    if is_page and link.anchor not in anchors_of(target.read_text(encoding="utf-8")):
        raise DeadLinkError(f"{said}: no such heading")
    return target


def with_site_links(page: Path, text: str, places: dict[Path, str]) -> tuple[str, set[Path]]:
    """The page's text with links as the site has them, and the other files that it links to.

    A file that is no page is linked as a copy of itself; a folder leads to its README, where it is a page.
    """
    places = {**places, **MADE}
    here, parts, at, files = Path(places[page]).parent, [], 0, set()
    for link in links_of(text):
        target = target_of(page, link)
        if target.is_dir() and target / "README.md" in places:
            target = target / "README.md"
        if target in places:
            place = places[target]
        elif target.is_dir():
            place = str(
                next(iter(sorted(p for p in map(str, places.values()) if _in(p, target))), "index.md")
            )
        else:
            place = f"files/{target.relative_to(ROOT)}"
            files.add(target)
        new = os.path.relpath(place, here) if link.path else ""
        parts += [text[at : link.start], f"{new}{'#' if link.anchor else ''}{link.anchor}"]
        at = link.end
    return "".join([*parts, text[at:]]), files


def _in(place: str, folder: Path) -> bool:
    docs = ROOT / "docs"
    return folder.is_relative_to(docs) and place.startswith(f"{folder.relative_to(docs)}/")
