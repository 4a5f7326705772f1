"""Rows: one labelled text, the table that many are gathered in, and the record of those left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from .sample import Sample

if TYPE_CHECKING:
    import polars as pl

TRAIN, VALIDATION = "train", "validation"
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
    GOLDEN_VERBATIM = "golden_verbatim"
    GOLDEN_NORMALISED = "golden_normalised"
    GOLDEN_NEAR_DUPLICATE = "golden_near_duplicate"
    CONFLICTING_LABEL = "conflicting_label"
    EXACT_DUPLICATE = "exact_duplicate"
    NORMALISED_DUPLICATE = "normalised_duplicate"
    NEAR_DUPLICATE = "near_duplicate"


@dataclass(frozen=True)
class Dropped:
    """One row left out: its number in its source (from 1), what it held, and why."""

    source: str
    row: int
    text: str
    label: str
    reason: Reason
    detail: str = ""

    @classmethod
    def of(
        cls, source: str, row: int, text: object, label: object, reason: Reason, detail: str = ""
    ) -> Dropped:
        """A row of any values, of which no more is kept than a person needs to know it again."""
        shown = [
            value if isinstance(value, str) else "" if value is None else repr(value)
            for value in (text, label)
        ]
        safe = [value[:_SHOWN_CHARS].encode(errors="backslashreplace").decode() for value in shown]
        return cls(source, row, safe[0], safe[1], reason, detail[:_DETAIL_CHARS])

    def line(self) -> dict[str, Any]:
        """The row as its line in dropped.jsonl."""
        return {**asdict(self), "reason": str(self.reason)}


@dataclass
class Gathered:
    """Rows as columns, word for word as the source has them, and what of the source is not among them."""

    source: list[str] = field(default_factory=list)
    row: list[int] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    label: list[str] = field(default_factory=list)
    domain: list[str | None] = field(default_factory=list)
    tied: list[str | None] = field(default_factory=list)  # the value of the group column
    dropped: list[Dropped] = field(default_factory=list)
    unused: Counter[str] = field(default_factory=Counter)  # fields that are not taken, with their rows

    def take(
        self, source: str, row: int, text: object, label: object, domain: object = None, tied: object = None
    ) -> bool:
        """Take a row byte for byte, or record why it is left out; whether it was taken."""
        if not isinstance(text, str) or not isinstance(label, str):
            what = "text" if not isinstance(text, str) else "label"
            kind = type(text if what == "text" else label).__name__
            self.leave(source, row, Reason.WRONG_TYPE, f"{what} is {kind}, not a string", text, label)
            return False
        if not text.strip() or not label.strip():
            reason = Reason.EMPTY_LABEL if text.strip() else Reason.EMPTY_TEXT
            self.leave(source, row, reason, "", text, label)
            return False
        if not (_is_unicode(text) and _is_unicode(label)):
            detail = "half of a surrogate pair, which no file can hold"
            self.leave(source, row, Reason.NOT_UTF8, detail, ascii(text), ascii(label))
            return False
        self.source.append(source)
        self.row.append(row)
        self.text.append(text)
        self.label.append(label)
        self.domain.append(None if domain is None else str(domain))
        self.tied.append(None if tied is None else str(tied))
        return True

    def leave(
        self, source: str, row: int, reason: Reason, detail: str, text: object = "", label: object = ""
    ) -> None:
        """Record a row that is left out."""
        shown = [value if isinstance(value, str) else repr(value) for value in (text, label)]
        self.dropped.append(
            Dropped(source, row, shown[0][:_SHOWN_CHARS], shown[1][:_SHOWN_CHARS], reason, detail)
        )

    def leave_fields(self, names: Iterable[str]) -> None:
        """Count fields of one row that hold something and are not taken."""
        self.unused.update(names)

    def frame(self) -> pl.DataFrame:
        """The rows: source, row, text, label, domain, tied."""
        import polars as pl

        return pl.DataFrame(
            {
                "source": self.source,
                "row": self.row,
                "text": self.text,
                "label": self.label,
                "domain": self.domain,
                "tied": self.tied,
            },
            schema={
                "source": pl.String,
                "row": pl.Int64,
                "text": pl.String,
                "label": pl.String,
                "domain": pl.String,
                "tied": pl.String,
            },
        )


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
