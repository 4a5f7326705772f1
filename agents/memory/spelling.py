"""Slips of the finger in a question, mended by the words of the passages themselves."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from ...core.errors import IntegrityError
from ...data.embed import words

_LEAST_LETTERS = 3  # of a word that may be a slip
_STEM = 4  # letters at least that forms of a word share
_ENDINGS = ("s", "es", "d", "ed", "ing", "r", "er", "ers", "est", "ly", "ion", "ions", "able", "ment")
_FAR_LETTERS = 7  # of a word that may have two of them
_MOST_WORDS = 8_000  # the most frequent are known
_MOST_CHARS = 24  # of a word: longer ones are names and digests
_READ_CHARS = 4_000  # of a text


class Vocabulary:
    """The words of some texts, and in how many of them each stands."""

    def __init__(self, counts: dict[str, int]) -> None:
        self._counts = counts

    @cached_property
    def _begun(self) -> frozenset[str]:
        """How the known words begin."""
        return frozenset(word[:at] for word in self._counts for at in range(_STEM, len(word) + 1))

    @cached_property
    def _near(self) -> Mapping[str, Sequence[str]]:
        """The known words by themselves, and by themselves less a letter."""
        near: dict[str, list[str]] = {}
        for word in self._counts:
            for form in {word, *_shorter(word)}:
                near.setdefault(form, []).append(word)
        return near

    @classmethod
    def of(cls, texts: Iterable[str]) -> Vocabulary:
        """The words of letters alone in some texts; a name that stands in one text is kept too."""
        counts = Counter[str]()
        for text in texts:
            counts.update({part for word in words(text[:_READ_CHARS]) for part in word.split("_")})
        kept = {w: n for w, n in counts.items() if w.isalpha() and _LEAST_LETTERS <= len(w) <= _MOST_CHARS}
        return cls(dict(sorted(kept.items(), key=lambda one: (-one[1], one[0]))[:_MOST_WORDS]))

    def mended(self, question: str) -> str:
        """The question with each unknown word replaced by the known one that it is a slip of, if any."""
        said = words(question)
        return " ".join(self._known(word) or word for word in said)

    def _known(self, word: str) -> str | None:
        """The known word that an unknown one is a slip of; None for a known one, a name, or a far one."""
        if word in self._counts or len(word) < _LEAST_LETTERS or len(word) > _MOST_CHARS:
            return None
        if any(word.endswith(end) and word[: -len(end)] in self._begun for end in _ENDINGS):
            return None  # another form of a known word
        if not word.isalpha() or not word.isascii():
            return None
        forms = {word, *_shorter(word)}
        if len(word) >= _FAR_LETTERS:
            forms |= {shorter for form in tuple(forms) for shorter in _shorter(form)}
        near = {known for form in forms for known in self._near.get(form, ())}
        allowed = 2 if len(word) >= _FAR_LETTERS else 1
        found = [
            (_slips(word, known, allowed), -len(known), -self._counts[known], known)
            for known in near
            if known[0] == word[0]
        ]  # of equals the longer one: letters are left out more often than added
        slips, *_, known = min(found, default=(allowed + 1, 0, 0, ""))
        return known if slips <= allowed else None

    def save(self, path: Path) -> None:
        """Write it to a file, as JSON."""
        path.write_text(json.dumps(self._counts, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Read it from a file; IntegrityError for one that holds none."""
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            return cls({str(word): int(count) for word, count in found.items()})
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise IntegrityError(f"{path} holds no vocabulary: {error}. It is made anew.") from error


def _shorter(word: str) -> Iterator[str]:
    """The word less one of its letters."""
    return (word[:at] + word[at + 1 :] for at in range(len(word)))


def _slips(said: str, known: str, most: int) -> int:
    """Letters added, left out, changed or swapped with the next; `most` + 1 where there are more.

    Source: Damerau, "A technique for computer detection and correction of spelling errors" (1964).
    """
    if abs(len(said) - len(known)) > most:
        return most + 1
    before: Sequence[int] = ()
    row = list(range(len(known) + 1))
    for i, letter in enumerate(said, 1):
        last, row = row, [i]
        for j, other in enumerate(known, 1):
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == known[j - 2] and said[i - 2] == other:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        before = last
    return row[-1]
