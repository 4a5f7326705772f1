"""Passages of the documentation that is installed with the program: guide and reference, by section."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from .passage_words import words_for_page
from .passages import Passage

DOCS = Path(__file__).parents[2] / "docs"
FOLDERS = ("guide", "reference", "tutorials")
_SENTENCES = "Sentences"  # by which people ask for a skill's page
_NO_TEXT = (_SENTENCES, "JSON schema of the request")  # the schema says what its page's table says
_LONG_CHARS = 1200  # a section that is longer is parted at its blank lines


def docs_digest(folder: Path = DOCS) -> str:
    """SHA-256 of the documentation's files; of none where it is not installed."""
    digest = hashlib.sha256()
    for path in doc_pages(folder):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def doc_passages(folder: Path = DOCS) -> Iterator[Passage]:
    """One of each section, or of each part of a long one."""
    for path in doc_pages(folder):
        name = path.relative_to(folder.parent).as_posix()
        sections = list(_sections(path.read_text(encoding="utf-8")))
        asked = " ".join(text for _, heading, text in sections if heading == _SENTENCES)
        for number, (page, heading, text) in enumerate(sections):
            if not page or heading in _NO_TEXT:
                continue
            words = words_for_page(f"{path.parent.name}/{path.name}", heading)
            for part, piece in enumerate(_parts(text)):
                digest = hashlib.sha256(piece.encode()).hexdigest()[:12]
                yield Passage(
                    id=f"docs:{path.parent.name}/{path.name[:80]}:{number}:{part}:{digest}",
                    kind="docs",
                    title=f"{page}{f': {heading}' if heading else ''} ({name})",
                    text=piece,
                    source=name,
                    anchor=anchor_of(heading) if heading else "",
                    asked_as=words or ("" if heading or part else asked),
                )


def doc_pages(folder: Path) -> list[Path]:
    """The files that are searched and cited, by name within their folder."""
    return [path for name in FOLDERS for path in sorted((folder / name).glob("*.md"))]


def anchor_of(heading: str) -> str:
    """What names a section in a page's address."""
    return re.sub(r"[^\w-]+", "-", heading.casefold()).strip("-")


def _sections(text: str) -> Iterator[tuple[str, str, str]]:
    """The sections of a Markdown page: the page's heading, their own ("" before the first), their text."""
    page, heading, lines = "", "", list[str]()
    is_code = False
    for line in text.splitlines():
        is_code ^= line.startswith("```")
        found = None if is_code else re.match(r"(#{1,4}) +(.+)", line)
        if found is None:
            lines.append(line)
            continue
        if section := "\n".join(lines).strip():
            yield page, heading, section
        page, heading = (found[2], "") if len(found[1]) == 1 or not page else (page, found[2])
        lines = []
    if section := "\n".join(lines).strip():
        yield page, heading, section


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
