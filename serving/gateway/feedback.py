"""What users say of answers: a thumb, the right answer; kept beside the traffic log, joined by id."""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from ...core.errors import AskError
from ...core.workspace import Workspace
from . import traffic_log
from .privacy import PLAIN, Privacy
from .segments import Retention, SegmentTail, SegmentWriter, earlier, json_line, newest_first
from .traffic_log import TrafficRow, as_logged

_PREFIX = "feedback"
_COMPLETION = "chatcmpl-"  # before a request's id in what the gateway answers
_LONGEST_ID = len(_COMPLETION) + 128

Thumb = Literal["up", "down"]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=8192)]


class UnknownRequestError(AskError):
    """The log has no request of that id and caller."""


class FeedbackRequest(BaseModel):
    """What `/v1/feedback` takes: whose answer it is about, and a thumb, the right answer, or both."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(min_length=1, max_length=_LONGEST_ID)
    model: str = Field(min_length=1, max_length=200)
    thumb: Thumb | None = None
    answer: Text | None = None
    comment: str = Field("", max_length=2000)

    @model_validator(mode="after")
    def _says_something(self) -> FeedbackRequest:
        if self.thumb is None and self.answer is None:
            raise ValueError("expected a thumb (up or down), the right answer, or both")
        return self

    @property
    def request_id(self) -> str:
        """The id of the request it is about, as the traffic log has it."""
        return self.id.removeprefix(_COMPLETION)


def parse_feedback(body: bytes) -> FeedbackRequest:
    """The feedback in a body; AskError names the first field that is wrong."""
    try:
        return FeedbackRequest.model_validate_json(body)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(map(str, fault["loc"])) or "body"
        raise AskError(f"{where}: {fault['msg']}") from error


@dataclass(frozen=True)
class Feedback:
    """What somebody said of the answer to a request."""

    time: str
    id: str
    thumb: Thumb | None
    answer: str | None
    comment: str = ""
    caller: str = ""


_FEEDBACK = TypeAdapter(Feedback)


class FeedbackLog:
    """What is said of the answers of one endpoint, as one worker of a gateway writes it."""

    def __init__(self, folder: Path, privacy: Privacy = PLAIN, keep: Retention | None = None) -> None:
        self.folder = folder
        self._segments = SegmentWriter(folder, _PREFIX, keep=keep)
        self._privacy = privacy

    @classmethod
    def of(cls, workspace: Workspace, endpoint: str) -> FeedbackLog:
        """The log of an endpoint, as the settings want it."""
        settings = workspace.settings.serving.traffic
        return cls(workspace.endpoints / endpoint, Privacy.of(settings), Retention.of(settings))

    def append(self, feedback: Feedback) -> bool:
        """Write one down, masked; False when it was lost."""
        say = self._privacy
        answer = None if feedback.answer is None else say.text(feedback.answer)
        feedback = replace(
            feedback, id=say.id(feedback.id), answer=answer, comment=say.text(feedback.comment)
        )
        return self._segments.append(json_line(vars(feedback)), feedback.time)

    def knows(self, request_id: str, caller: str) -> bool:
        """Whether this caller made a request of that id, as far as the traffic log goes back."""
        return request_of(self.folder, self._privacy.id(request_id), caller) is not None

    def sync(self) -> None:
        """Flush to disk what was written; once a minute, remove what is too old."""
        self._segments.sync()

    def close(self) -> None:
        """Put what was written on disk and close the segment."""
        self._segments.close()


class FeedbackTail:
    """What is said of an endpoint's answers after a time, as it comes."""

    def __init__(self, workspace: Workspace, endpoint: str, after: str) -> None:
        self._tail = SegmentTail(workspace.endpoints / endpoint, _PREFIX, after)
        self._after = after

    def said(self) -> Iterator[Feedback]:
        """What was said since the last call, in its order."""
        for line in self._tail.lines():
            feedback = _parsed(line)
            if feedback is not None and feedback.time > self._after:
                yield feedback


def request_of(folder: Path, request_id: str, caller: str) -> TrafficRow | None:
    """The last logged request of an id and caller; None when it is no longer kept, or never was."""
    return next((row for row in _rows_of(folder, request_id) if row.caller == caller), None)


def _rows_of(folder: Path, request_id: str) -> Iterator[TrafficRow]:
    """The logged requests of an id, newest segment first: found as bytes, since a log may be long."""
    # a quote within a text is escaped, so these bytes stand nowhere but at a row's own id
    wanted = f'"id":{json.dumps(request_id, ensure_ascii=False)},'.encode()
    for path in reversed(traffic_log.segments(folder)):
        with (
            suppress(FileNotFoundError, ValueError),  # too old a moment ago; empty
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            at = data.rfind(wanted)
            while at >= 0:
                start, end = data.rfind(b"\n", 0, at) + 1, data.find(b"\n", at)
                row = traffic_log.row_of(data[start : end if end >= 0 else None])
                if row is not None and row.id == request_id:
                    yield row
                at = data.rfind(wanted, 0, start)


def latest_feedback(
    workspace: Workspace, endpoint: str, after: str | None = None
) -> dict[tuple[str, str], Feedback]:
    """The last that each caller said of each request, by id and caller; `after`: only what was said later.

    What was said to other hosts, and was brought here, counts too.
    """
    start = as_logged(after)
    first = None if start is None else earlier(start)
    found: dict[tuple[str, str], Feedback] = {}
    for line in newest_first(workspace.endpoints / endpoint, _PREFIX, pulled=True):
        feedback = _parsed(line)
        if feedback is None:
            continue
        if first is not None and feedback.time <= first:
            break
        key = (feedback.id, feedback.caller)
        if (start is None or feedback.time > start) and (key not in found or feedback.time > found[key].time):
            found[key] = feedback
    return found


def _parsed(line: bytes) -> Feedback | None:
    """What a line says; None for one that is none: cut, or altered."""
    try:
        return _FEEDBACK.validate_json(line, strict=True)
    except ValueError:
        return None
