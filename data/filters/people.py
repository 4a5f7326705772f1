"""Filters for the sake of people: personal data, consent, words that offend."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ...core.errors import AskError
from ..personal import find_personal_data
from ..sample import Sample, text_of
from .base import Filter, whole_text

WORDS = Path(__file__).parent / "words" / "en.txt"
_WORD = re.compile(r"\w+(?:['\u2019-]\w+)*")
# Thai to Tibetan, Khmer, kana and Han put no spaces between words
_UNSPACED = re.compile("[\u0e00-\u0fff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")
_REFUSED = frozenset(("", "no", "false", "0", "none", "denied", "withdrawn", "proprietary"))


def personal_data(max_found: float) -> Filter:
    """Leaves out texts with more than so many e-mail addresses, phone, card, account and other numbers."""

    def judge(sample: Sample) -> str | None:
        found = [one for text in _texts(sample) for one in find_personal_data(text)]
        if len(found) <= max_found:
            return None
        kinds = Counter(one.kind for one in found)
        return ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items()))

    return judge


def _texts(sample: Sample) -> list[str]:
    return [*map(text_of, sample.conversation), *sample.contexts]


def consent() -> Filter:
    """Leaves out rows whose tag `consent` or `licence` (or `license`) says no, or that have the tag empty."""

    def judge(sample: Sample) -> str | None:
        for name in ("consent", "licence", "license"):
            value = sample.tags.get(name)
            if value is not None and value.strip().lower() in _REFUSED:
                return f"{name} is '{value}'"
        return None

    return judge


def toxicity(max_found: float, words: Path | None = None) -> Filter:
    """Leaves out texts with more than so many words or phrases of a list, by default the shipped English one.

    words: a UTF-8 file with one a line; blank lines and those after `#` are notes. Case does not count. An
    entry is found as whole words, in scripts without spaces anywhere. AskError for a file without any.
    """
    listed = WordList.read(words or WORDS)

    def judge(sample: Sample) -> str | None:
        found = Counter(listed.found_in(whole_text(sample)))
        if found.total() <= max_found:
            return None
        return "listed: " + ", ".join(f"'{entry}'" for entry, _ in found.most_common(3))

    return judge


class WordList:
    """Words and phrases to be found in texts."""

    def __init__(self, entries: set[str]) -> None:
        self._anywhere: list[str] = []  # entries without spaces between words, or with signs, like :-)
        self._by_first: dict[str, list[tuple[str, ...]]] = {}
        for entry in sorted(entries):
            words = tuple(_WORD.findall(entry))
            if " ".join(words) == entry and not _UNSPACED.search(entry):
                self._by_first.setdefault(words[0], []).append(words)
            else:
                self._anywhere.append(entry)

    @classmethod
    def read(cls, path: Path) -> WordList:
        """The list in a file; AskError for one that cannot be read or holds nothing."""
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise AskError(
                f"cannot read the word list {path} ({error}): expected UTF-8, a word a line."
            ) from error
        entries = {" ".join(line.casefold().split()) for line in lines if not line.startswith("#")} - {""}
        if not entries:
            raise AskError(f"the word list {path} holds no word. Write one a line.")
        return cls(entries)

    def found_in(self, text: str) -> Iterator[str]:
        """Each entry that a text holds, as often as it does."""
        folded = text.casefold()
        words = _WORD.findall(folded)
        for at, word in enumerate(words):
            for phrase in self._by_first.get(word, ()):
                if tuple(words[at : at + len(phrase)]) == phrase:
                    yield " ".join(phrase)
        for entry in self._anywhere:
            yield from [entry] * folded.count(entry)
