"""What a question is limited to: kinds of passages, a run, an endpoint, a time."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ...core.errors import AskError, did_you_mean
from ...engines.vectors.collection import is_one_of
from ...record.index.criteria import Criteria
from ...record.index.lines import microseconds
from .passages import KINDS

LONGEST_QUESTION = 2_000
_HOW_TO = re.compile(
    r"\b(how (can|should|would|to|is .+ (set|configured|installed)|do(es)? (i|we|you|one|somebody|people))"
    r"|(can|may|should|must|do) (i|we|you|one|somebody|people)|what now|is it (safe|possible|allowed)"
    r"|which (settings?|options?|flags?|commands?)"
    r"|what (does .+ mean|is an?|are the (settings|options)|happens)"
    r"|where (do|can|is .+ (set|kept|documented))|explain)\b"
    r"|^(add|allow|avoid|cap|change|choose|configure|connect|create|delete|export|give|hide|import|install"
    r"|keep|let|limit|make|plug|prevent|protect|prove|read|resume|run|set|sign|start|stop|store|sync|take"
    r"|train|turn|undo|use|verify|write)\b"
    r"|^(how do|what do)\b"
)
_HAPPENED = re.compile(
    r"\b(was|were|did|has|have|had"
    r"|how (accurate|fast|good|large|many|much|often|old|well)|last|first|latest|newest|v\d+|record"
    r"|approved|denied|refused|rejected|deployed|promoted|trained|evaluated|served|measured|dropped)\b"
    r"|^(who|when|why)\b|\bhow long\b(?!.*\b(is|are)\b)"
)


@dataclass(frozen=True)
class QuestionFilters:
    """The passages that may answer: of these kinds, of a run, about an endpoint, since and before a time.

    Documentation has no run, endpoint or time, so that each of these leaves it out.
    """

    kinds: tuple[str, ...] = ()
    run: str | None = None
    endpoint: str | None = None
    since: str | None = None
    until: str | None = None

    @property
    def may_be_docs(self) -> bool:
        """Whether documentation may answer."""
        limited = (self.run, self.endpoint, self.since, self.until)
        return (not self.kinds or "docs" in self.kinds) and all(one is None for one in limited)

    @property
    def may_be_record(self) -> bool:
        """Whether anything but documentation may answer."""
        return set(self.kinds) != {"docs"}

    def condition(self) -> str:
        """The filters as Milvus reads them; AskError for an unknown kind, or a time that is none."""
        for kind in self.kinds:
            if kind not in KINDS:
                raise AskError(
                    f"unknown type '{kind[:60]}' (there are: {', '.join(KINDS)}).{did_you_mean(kind, KINDS)}"
                )
        terms = [is_one_of("kind", self.kinds)] if self.kinds else []
        terms += [is_one_of("run", [self.run])] if self.run is not None else []
        terms += [is_one_of("endpoint", [self.endpoint])] if self.endpoint is not None else []
        times = Criteria.of(since=self.since, until=self.until)
        terms += [f"time >= {microseconds(times.first)}"] if times.first is not None else []
        terms += [f"time < {microseconds(times.last)} and time > 0"] if times.last is not None else []
        return " and ".join(terms)


def checked_question(text: str) -> str:
    """The question without white space around it; AskError for an empty one, or one too long to be one."""
    text = text.strip()
    if not text:
        raise AskError('ask something, such as: opswright ask "why was v2 refused?"')
    if len(text) > LONGEST_QUESTION:
        raise AskError(
            f"the question is too long: {len(text):,} characters, the limit is {LONGEST_QUESTION:,}. Ask "
            "about one thing at a time."
        )
    return text


def prefers(text: str) -> str:
    """What a question in English is about by its form: "docs", "record", or "" where it does not say."""
    asked = " ".join(text.lower().split())
    if _HOW_TO.search(asked) and not re.search(r"\b(was|were|did)\b(?!.*\b(do|can) (i|we)\b)", asked):
        return "docs"
    return "record" if _HAPPENED.search(asked) else ""
