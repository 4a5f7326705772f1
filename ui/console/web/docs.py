"""The installed documentation as pages of the console, so that what an answer cites can be opened there."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ....agents.memory.doc_passages import DOCS, anchor_of, doc_pages
from .frame import OwnPage

if TYPE_CHECKING:
    from markdown_it.token import Token

_FOLDER = Path(__file__).parent


def docs_pages() -> dict[str, OwnPage]:
    """A page for each of the guide, the reference and the tutorials, by its path: /docs/guide/data.md."""
    files = {f"/{path.relative_to(DOCS.parent).as_posix()}": path for path in doc_pages(DOCS)}
    return {address: _page(address, files) for address in files}


def _page(address: str, files: Mapping[str, Path]) -> OwnPage:
    return OwnPage(
        "Docs", files[address], (_FOLDER / "docs.css",), address=address,
        made=lambda text: rendered(text, address, frozenset(files)),
    )  # fmt: skip


@cache
def rendered(text: str, address: str, known: frozenset[str]) -> str:
    """A page of Markdown as HTML; markup in it is shown as text, and links lead to pages that are there."""
    from markdown_it import MarkdownIt
    from markdown_it.renderer import RendererHTML

    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(text)
    seen: set[str] = set()
    for place, token in enumerate(tokens):
        if token.type == "heading_open":
            anchor = anchor_of(tokens[place + 1].content)
            if anchor not in seen:  # two of the same name: a citation means the first
                token.attrSet("id", anchor)
            seen.add(anchor)
        token.children = list(_inline(token.children, address, known)) if token.children else token.children
    renderer = RendererHTML(parser)
    return f'<article class="own-docs ow">{renderer.render(tokens, parser.options, {})}</article>'


def _inline(tokens: Sequence[Token], address: str, known: frozenset[str]) -> Iterator[Token]:
    """Running words with links that lead somewhere; of a picture what it shows, in words."""
    from markdown_it.token import Token

    is_open: list[bool] = []
    for token in tokens:
        if token.type == "image":
            yield Token("text", "", 0, content=f"({token.content})")
        elif token.type == "link_open":
            href = _leads_to(str(token.attrGet("href") or ""), address, known)
            is_open.append(bool(href))
            token.attrs = {"href": href}
            if href.startswith("http"):
                token.attrs |= {"target": "_blank", "rel": "noopener noreferrer"}
            if href:
                yield token
        elif token.type != "link_close" or is_open.pop():
            yield token


def _leads_to(href: str, address: str, known: frozenset[str]) -> str:
    """Where a link leads from the console; empty where that page is not installed."""
    if href.startswith(("#", "https://", "http://")):
        return href
    path, _, anchor = href.partition("#")
    target = posixpath.normpath(posixpath.join(posixpath.dirname(address), path))
    return (f"{target}#{anchor}" if anchor else target) if target in known else ""
