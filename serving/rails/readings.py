"""What rails read of a text or a conversation, and how patterns are sought in it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .text_forms import encoded_texts, latin_form, leet_form, loose_form, plain_form

_TURN, _VIEW = "\x1e", "\x1d"  # between the texts of a conversation, and between views of it
_SEPARATORS = re.compile(f"[{_TURN}{_VIEW}]")
_WINDOW, _OVERLAP = 2_000, 400  # characters: patterns take more than linear time of a long text


def as_text(turns: Sequence[tuple[str, str]]) -> str:
    """A conversation of (role, text) as one text for rails.

    First all that was said in its order, then what the user said alone, for instructions that are split by
    what others say between.
    """
    said = [(role, _SEPARATORS.sub(" ", text)) for role, text in turns]
    everything = _TURN.join(text for _, text in said)
    own = _TURN.join(text for role, text in said if role == "user")
    return everything if all(role == "user" for role, _ in said) or not own else f"{everything}{_VIEW}{own}"


def views_of(text: str) -> list[list[str]]:
    """The views of a conversation that `as_text` wrote, the user's last; any other text is one view."""
    return [view.split(_TURN) for view in text.split(_VIEW)]


@dataclass(frozen=True)
class Sought:
    """A compiled pattern, and the same without word ends and spaces, for texts that have lost them."""

    exact: re.Pattern[str]
    loose: re.Pattern[str] | None

    @classmethod
    def of(cls, pattern: str) -> Sought:
        """Compile a pattern; one that cannot do without spaces has no loose form."""
        loosened = None if re.search(r"\\[1-9]", pattern) else pattern.replace(r"\b", "").replace(" ", " ?")
        try:
            return cls(re.compile(pattern), re.compile(loosened) if loosened else None)
        except re.error:
            return cls(re.compile(pattern), None)


@dataclass(frozen=True)
class TextForms:
    """One text in the forms it is read in; leet: digits as letters, loose: without any space."""

    exact: tuple[str, ...]
    leet: str | None = None
    loose: str | None = None

    @classmethod
    def of(cls, text: str) -> TextForms:
        """All forms of a text."""
        plain = plain_form(text)
        latin = latin_form(plain)
        return cls((plain,) if latin == plain else (plain, latin), leet_form(latin), loose_form(plain, latin))

    def meets_any(self, sought: Sequence[Sought]) -> bool:
        """Whether a form holds any of what is sought; most texts hold nothing, so this is a plain loop."""
        if self.leet is not None or self.loose is not None:
            return any(self.meets(one) for one in sought)
        for form in self.exact:
            for one in sought:
                if one.exact.search(form):
                    return True
        return False

    def meets(self, sought: Sought) -> bool:
        """Whether a form holds what is sought."""
        if any(sought.exact.search(form) for form in self.exact):
            return True
        if self.leet is not None and sought.exact.search(self.leet):
            return True
        return self.loose is not None and sought.loose is not None and bool(sought.loose.search(self.loose))


def read(texts: Sequence[str]) -> Iterator[TextForms]:
    """What rails read of the texts of a view: each alone, all joined, and what is encoded in them."""
    wholes = list(texts)
    if len(texts) > 1:  # split between words, and within one
        wholes += [" ".join(texts), "".join(texts)]
    for part in dict.fromkeys(part for whole in wholes for part in _windows(whole)):
        yield TextForms.of(part)
        for hidden in encoded_texts(part):
            yield TextForms.of(hidden)
            for deeper in encoded_texts(hidden):
                yield TextForms.of(deeper)


def _windows(text: str) -> Iterator[str]:
    for start in range(0, max(1, len(text) - _OVERLAP), _WINDOW - _OVERLAP):
        yield text[start : start + _WINDOW]
