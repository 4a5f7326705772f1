"""When another wording of a question still asks for the same thing, as far as a program can tell."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator

from .filters.language import script_of, sure_language
from .text import fingerprint

_MUCH_LONGER, _MUCH_MORE = 3, 100  # times the text, and characters besides
_TELLING = 4  # letters of a word that an answer may repeat

_NUMBER = re.compile(r"\d+(?:[.,:/-]\d+)*")
_OPEN, _CLOSE = '"\u201c\u201e\u00ab', '"\u201c\u201d\u00bb'
_EXACT = (  # what must be there letter by letter; each begins where a word does, so that none is slow
    ("code or address", re.compile(r"(`[^`]+`|\{\w+\}|\$\w+)")),
    ("code or address", re.compile(r"(?<!\w)(\w++://\S*\w)")),
    ("code or address", re.compile(r"(?<![\w.+-])([\w.+-]++@[\w-]+(?:\.[\w-]+)+)")),
    ("code or address", re.compile(r"(?<![\w-])(--?\w[\w-]*+=\S+)")),
    ("code or address", re.compile(r"(?<!\w)(\w*[^\W_]_\w+|[a-z]+[A-Z]\w*)")),
    (
        "code or address",
        re.compile(r"(?<![\w./\\])(\w+\.\w+|[./\\]\w+[./\\]\w+|(?:\w+[./\\]){2,}\w+|\w+\(\))"),
    ),
    ("quoted text", re.compile(rf"[{_OPEN}]([^{_OPEN}{_CLOSE}]+)[{_CLOSE}]")),
    ("quoted text", re.compile(r"(?<!\w)['\u2018]([^'\u2018\u2019]+)['\u2019](?!\w)")),
)
_WORD = re.compile(r"(?<!\w)[^\W\d_][\w'\u2019-]*\w")
_I = re.compile(r"I['\u2019]")
_LOOK_BACK = 20  # characters before a word in which a sentence's end is looked for


def paraphrase_fault(said: str, reworded: str, answers: Collection[str] = ()) -> str | None:
    """In a few words, why a text is not taken as another wording of what was said; None for one that is.

    answers: right answers that may repeat what was said; their words must stay, and no answer may come in.
    Refused are texts that are empty, the same, much longer or in another language, and those that lost or
    gained a number, or lost a name, code, an address or quoted text. A name is known by its capital within a
    sentence, so not at its begin, nor in scripts without capitals.
    """
    checks = (
        ("empty", not reworded.strip()),
        ("control characters", any(unicodedata.category(char) in ("Cc", "Cs") for char in _line(reworded))),
        ("the same text", fingerprint(said) == fingerprint(reworded)),
        ("much longer", len(reworded) > _MUCH_LONGER * len(said) + _MUCH_MORE),
        ("other language", _changes_language(said, reworded)),
        ("numbers differ", _numbers(said) != _numbers(reworded)),
    )
    if (fault := next((name for name, is_so in checks if is_so), None)) is not None:
        return fault
    for kind, pattern in _EXACT:
        if any(found not in reworded for found in pattern.findall(said)):
            return f"{kind} lost"
    words = _words(reworded)
    if not {name.casefold() for name in _names(said)} <= words:
        return "name lost"
    for answer in answers:
        if any(len(word) >= _TELLING for word in _words(answer) & _words(said) - words):
            return "words of the answer lost"
        if _holds(reworded, answer) and not _holds(said, answer):
            return "gives the answer away"
    return None


def _holds(text: str, answer: str) -> bool:
    return bool(answer.strip()) and answer.strip().casefold() in text.casefold()


def _line(text: str) -> str:
    """A text without the white space that a text may have."""
    return "".join(text.split())


def _numbers(text: str) -> Counter[str]:
    return Counter(_NUMBER.findall(unicodedata.normalize("NFKC", text)))


def _words(text: str) -> set[str]:
    return {found[0].casefold() for found in _WORD.finditer(text)}


def _names(text: str) -> Iterator[str]:
    """Words with a capital that no sentence begins with; none in a text that is all capitals."""
    if not any(map(str.islower, text)):
        return
    for found in _WORD.finditer(text):
        word = found[0]
        if word[0].isupper() and not _I.match(word) and (word.isupper() or not _begins(text, found.start())):
            yield word


def _begins(text: str, place: int) -> bool:
    """Whether a sentence begins at a place, or a quotation or line that may hold one."""
    before = text[max(0, place - _LOOK_BACK) : place]
    end = before.rstrip()
    return not end or "\n" in before[len(end) :] or end[-1] in ".!?:([" + _OPEN


def _changes_language(said: str, reworded: str) -> bool:
    scripts = {script_of(said), script_of(reworded)} - {"none"}
    if len(scripts) > 1:
        return True
    languages = {sure_language(said), sure_language(reworded)} - {None}
    return len(languages) > 1
