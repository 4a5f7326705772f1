"""Passages of the documentation that is installed with the program: guide and reference, by section."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from .passages import Passage

DOCS = Path(__file__).parents[2] / "docs"
FOLDERS = ("guide", "reference", "tutorials")
_SENTENCES, _LEFT_OUT = "Sentences", ("JSON schema of the request",)  # sections of the reference
_LONG_CHARS = 1200  # a section that is longer is parted at its blank lines


def docs_digest(folder: Path = DOCS) -> str:
    """SHA-256 of the documentation's files; of none where it is not installed."""
    digest = hashlib.sha256()
    for path in _pages(folder):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def doc_passages(folder: Path = DOCS) -> Iterator[Passage]:
    """One of each section, or of each part of a long one."""
    for path in _pages(folder):
        name = path.relative_to(folder.parent).as_posix()
        sections = list(_sections(path.read_text(encoding="utf-8")))
        asked = " ".join(text for title, text in sections if title.endswith(f": {_SENTENCES}"))
        sections = [(title, text) for title, text in sections if title]
        for number, (title, text) in enumerate(sections):
            if title.endswith((f": {_SENTENCES}", *(f": {one}" for one in _LEFT_OUT))):
                continue  # the sentences are how people ask for the page; the schema says what its table says
            for part, piece in enumerate(_parts(text)):
                digest = hashlib.sha256(piece.encode()).hexdigest()[:12]
                yield Passage(
                    id=f"docs:{path.parent.name}/{path.name[:80]}:{number}:{part}:{digest}",
                    kind="docs",
                    title=f"{title} ({name})",
                    text=piece,
                    source=name,
                    asked_as=asked if number == 0 and part == 0 else "",
                )


def _pages(folder: Path) -> list[Path]:
    return [path for name in FOLDERS for path in sorted((folder / name).glob("*.md"))]


def _sections(page: str) -> Iterator[tuple[str, str]]:
    """The sections of a Markdown page with their headings, the page's own before them."""
    top, heading, lines = "", "", list[str]()
    is_code = False
    for line in page.splitlines():
        is_code ^= line.startswith("```")
        found = None if is_code else re.match(r"(#{1,4}) +(.+)", line)
        if found is None:
            lines.append(line)
            continue
        if text := "\n".join(lines).strip():
            yield heading, text
        top = found[2] if len(found[1]) == 1 else top
        heading = found[2] if len(found[1]) == 1 or not top else f"{top}: {found[2]}"
        lines = []
    if text := "\n".join(lines).strip():
        yield heading, text


def _parts(text: str) -> Iterator[str]:
    """The text, or its paragraphs put together to at most so many characters each."""
    part = ""
    for paragraph in re.split(r"\n\s*\n", text):
        for at in range(0, len(paragraph), 3 * _LONG_CHARS):
            piece = paragraph[at : at + 3 * _LONG_CHARS]
            if part and len(part) + len(piece) > _LONG_CHARS:
                yield part
                part = ""
            part = f"{part}\n\n{piece}" if part else piece
    if part:
        yield part
