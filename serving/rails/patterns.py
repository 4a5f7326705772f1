"""What the rails look for, as data: lengths, patterns, topics and personal data; no server, no model."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from ...core.errors import AskError
from ...data.check_digits import iban_checks, luhn
from .readings import Sought, TextForms, read, views_of

Direction = Literal["input", "output"]
RailName = Literal["length", "injection", "topics", "pii"]
PiiKind = Literal["email", "card", "iban", "us_ssn", "phone", "secret"]


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"invalid regular expression '{pattern[:60]}': {error}") from error
    return pattern


Pattern = Annotated[str, Field(min_length=2), AfterValidator(_compiles)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LengthRail(_Part):
    """How long a text may be; an input must also say something."""

    max_characters: int = Field(2000, ge=1, le=20_000, description="Characters a text may have.")
    max_conversation_characters: int = Field(
        20_000, ge=1, le=200_000, description="Characters all texts of a conversation may have together."
    )
    message: str = Field("Please write one short question.", min_length=1)


class InjectionRail(_Part):
    """Patterns of attempts to change what the model was told to do."""

    patterns: tuple[Pattern, ...] = Field(min_length=1)
    message: str = Field("I can't follow that.", min_length=1)


class Topic(_Part):
    """One thing the endpoint does not talk about."""

    patterns: tuple[Pattern, ...] = Field(min_length=1)
    message: str | None = Field(None, min_length=1, description="Empty: the message of all topics.")


class TopicsRail(_Part):
    """What the endpoint does not talk about, by name."""

    off_limits: dict[str, Topic] = Field(min_length=1)
    message: str = Field("That is not something I can help with here.", min_length=1)


class PiiRail(_Part):
    """Which kinds of personal data and secrets are kept out, and what the user is told."""

    kinds: tuple[PiiKind, ...] = Field(("email", "card", "iban", "us_ssn", "phone", "secret"), min_length=1)
    message: str = Field("Please leave out personal data such as card numbers.", min_length=1)


@dataclass(frozen=True)
class Hit:
    """What a rail found: its name, what exactly (never the text itself), and what the user is told."""

    rail: str
    found: str
    message: str


class RailSet(_Part):
    """The rails of one config, and which of them each direction runs, in that order; length always first."""

    input: tuple[RailName, ...] = ("length", "injection", "topics", "pii")
    output: tuple[RailName, ...] = ("length", "pii")
    length: LengthRail = LengthRail()
    injection: InjectionRail | None = None
    topics: TopicsRail | None = None
    pii: PiiRail | None = PiiRail()

    @classmethod
    def read(cls, value: Any, where: str) -> RailSet:
        """The set that a config's `custom_data.rails` describes; AskError names each wrong entry."""
        try:
            rails = cls.model_validate(value)
        except ValidationError as error:
            faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise AskError(f"{where}: custom_data.rails is invalid ({faults}).") from error
        for direction, names in (("input", rails.input), ("output", rails.output)):
            if missing := [name for name in names if getattr(rails, name) is None]:
                raise AskError(
                    f"{where}: {direction} names the rail '{missing[0]}', which custom_data.rails does not "
                    f"describe. Describe it or take it out of {direction}."
                )
            if "length" not in names:
                raise AskError(f"{where}: {direction} must run 'length': it bounds what the others read.")
        return rails

    def find(self, direction: Direction, text: str) -> Hit | None:
        """The first hit of the direction's rails on a text, or on a conversation as `as_text` writes one."""
        views = views_of(text)
        if hit := self._length(direction, views):
            return hit
        readings = list(dict.fromkeys(one for view in views for one in read(view)))
        finders: dict[str, Callable[[Sequence[TextForms]], Hit | None]] = {
            "injection": self._injection,
            "topics": self._topics,
            "pii": self._pii,
        }
        names = self.input if direction == "input" else self.output
        return next((hit for name in names if name in finders and (hit := finders[name](readings))), None)

    def _length(self, direction: Direction, views: Sequence[Sequence[str]]) -> Hit | None:
        """No text of the last view, the user's, may be too long, nor all of the first together."""
        if direction == "input" and not any(text.strip() for text in views[-1]):
            return Hit("length", "empty", self.length.message)
        if any(len(text) > self.length.max_characters for text in views[-1]):
            return Hit("length", "too long", self.length.message)
        if len(views[0]) > 1 and sum(map(len, views[0])) > self.length.max_conversation_characters:
            return Hit("length", "conversation too long", self.length.message)
        return None

    def _injection(self, readings: Sequence[TextForms]) -> Hit | None:
        if self.injection is not None and any(one.meets_any(self._injections) for one in readings):
            return Hit("injection", "instructions to the model", self.injection.message)
        return None

    def _topics(self, readings: Sequence[TextForms]) -> Hit | None:
        if not any(one.meets_any(self._off_limits_sought) for one in readings):
            return None
        found = (topic for topic in self._off_limits if any(one.meets(topic[1]) for one in readings))
        return next(Hit("topics", name, message) for name, _, message in found)

    def _pii(self, readings: Sequence[TextForms]) -> Hit | None:
        if self.pii is None:
            return None
        forms = [form for one in readings for form in one.exact]
        marked = [form for form in forms if _PII_MARK.search(form)]
        for kind in self.pii.kinds:
            if any(has_pii(kind, form) for form in (forms if kind == "secret" else marked)):
                return Hit("pii", kind, self.pii.message)
        return None

    @cached_property
    def _injections(self) -> tuple[Sought, ...]:
        return tuple(Sought.of(pattern) for pattern in self.injection.patterns) if self.injection else ()

    @cached_property
    def _off_limits_sought(self) -> tuple[Sought, ...]:
        return tuple(sought for _, sought, _ in self._off_limits)

    @cached_property
    def _off_limits(self) -> tuple[tuple[str, Sought, str], ...]:
        if self.topics is None:
            return ()
        return tuple(
            (name, Sought.of(pattern), topic.message or self.topics.message)
            for name, topic in self.topics.off_limits.items()
            for pattern in topic.patterns
        )


_PII_MARK = re.compile(r"[@\d]")  # what each kind but a secret has
_PII: dict[str, re.Pattern[str]] = {
    "email": re.compile(r"[a-z0-9._%+-]+@(?:[a-z0-9-]+\.)+[a-z]{2,}"),
    "card": re.compile(
        r"(?<![\d-])(?:[2-6]\d{3}([ -]?)\d{4}\1\d{4}\1\d{1,7}|3\d{3}([ -]?)\d{6}\2\d{4,5})(?![ -]?\d)"
    ),
    "iban": re.compile(r"\b[a-z]{2}\d{2}(?: ?[a-z0-9]{4}){2,7}(?: ?[a-z0-9]{1,4})?\b"),
    "us_ssn": re.compile(r"(?<![\d-])(?!000|666|9\d\d)\d{3}([ -])(?!00)\d{2}\1(?!0000)\d{4}(?![\d-])"),
    "phone": re.compile(
        r"(?<![\w+])(?:\+\d{1,3}[ .-]?)?(?:\(\d{3}\) ?|\d{3}[ .-])\d{3}[ .-]\d{4}(?!\d)"
        r"|(?<![\w+])\+\d{1,3}(?:[ .-]?\(?\d{2,4}\)?){2,5}(?!\d)"
    ),
    "secret": re.compile(
        r"\b(?:sk-[a-z0-9_-]{20,}|gh[pousr]_[a-z0-9]{36,}|akia[0-9a-z]{16}|nvapi-[a-z0-9_-]{20,}"
        r"|xox[abprs]-[a-z0-9-]{10,}|hf_[a-z0-9]{30,})|-----begin [a-z ]*private key-----"
    ),
}


def has_pii(kind: PiiKind, plain: str) -> bool:
    """Whether a plain text (see plain_form) holds personal data of that kind; check digits must fit."""
    check = {"card": luhn, "iban": iban_checks}.get(kind)
    return any(check is None or check(match.group()) for match in _PII[kind].finditer(plain))
