"""Rows: one labelled text, the table that many are gathered in, and the record of those left out."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any, NamedTuple

from .sample import Sample

TRAIN, VALIDATION, GOLDEN = "train", "validation", "golden"
_SHOWN_CHARS = 200
_DETAIL_CHARS = 1000


class Row(NamedTuple):
    """One labelled text, byte for byte as a source has it."""

    text: str
    label: str
    domain: str | None

    def sample(self, id: str) -> Sample:
        """The row as a sample: the text asked, the label the right answer."""
        tags = {} if self.domain is None else {"domain": self.domain}
        return Sample.of(id, self.text, self.label, tags=tags)


class Reason(StrEnum):
    """Why a row is not in the dataset."""

    LINE_TOO_LONG = "line_too_long"
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    EMPTY_TEXT = "empty_text"
    EMPTY_LABEL = "empty_label"
    DUPLICATE_ID = "duplicate_id"
    DUPLICATE_FIELD = "duplicate_field"
    GOLDEN_VERBATIM = "golden_verbatim"
    GOLDEN_NORMALISED = "golden_normalised"
    GOLDEN_NEAR_DUPLICATE = "golden_near_duplicate"
    GOLDEN_CONTAINED = "golden_contained"
    GOLDEN_MISSPELT = "golden_misspelt"
    GOLDEN_REORDERED = "golden_reordered"
    GOLDEN_GROUP = "golden_group"
    GOLDEN_MEANING = "golden_meaning"
    OWN_ANSWER = "own_answer"
    FILTER_LENGTH = "filter_length"
    FILTER_ENCODING = "filter_encoding"
    FILTER_REPETITION = "filter_repetition"
    FILTER_PROSE = "filter_prose"
    FILTER_WEB_PAGE = "filter_web_page"
    FILTER_PERSONAL_DATA = "filter_personal_data"
    FILTER_CONSENT = "filter_consent"
    FILTER_TOXICITY = "filter_toxicity"
    FILTER_SCRIPT = "filter_script"
    FILTER_LANGUAGE = "filter_language"
    CONFLICTING_LABEL = "conflicting_label"
    EXACT_DUPLICATE = "exact_duplicate"
    NORMALISED_DUPLICATE = "normalised_duplicate"
    NEAR_DUPLICATE = "near_duplicate"
    SEMANTIC_DUPLICATE = "semantic_duplicate"


@dataclass(frozen=True)
class Dropped:
    """One row left out: its number in its source (from 1), what it held, and why."""

    source: str
    row: int
    text: str
    label: str
    reason: Reason
    detail: str = ""
    lines: int = 1  # of the source, that the row takes in

    @classmethod
    def of(
        cls,
        source: str,
        row: int,
        text: object,
        label: object,
        reason: Reason,
        detail: str = "",
        lines: int = 1,
    ) -> Dropped:
        """A row of any values, as they are: what is hidden of them is hidden first, then `cut`."""
        shown = [
            value if isinstance(value, str) else "" if value is None else repr(value)
            for value in (text, label)
        ]
        safe = [value.encode(errors="backslashreplace").decode() for value in shown]
        return cls(source, row, safe[0], safe[1], reason, detail, lines)

    def cut(self) -> Dropped:
        """The row with no more of its texts than a person needs to know it again."""
        text, label, detail = self.text[:_SHOWN_CHARS], self.label[:_SHOWN_CHARS], self.detail[:_DETAIL_CHARS]
        return replace(self, text=text, label=label, detail=detail)

    def line(self) -> dict[str, Any]:
        """The row as its line in dropped.jsonl."""
        return {**asdict(self), "reason": str(self.reason)}
