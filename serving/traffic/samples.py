"""Traffic as data: requests that somebody labelled, and logged requests as samples."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from ...core.workspace import Workspace
from ...data.sample import Sample
from ..gateway.feedback import Feedback, FeedbackTail, latest_feedback, request_of
from ..gateway.traffic_log import TrafficRow, read


@dataclass(frozen=True)
class LabelledRequest:
    """A logged request of which somebody said whether its answer was right, or what is right."""

    row: TrafficRow
    feedback: Feedback

    @property
    def right_answer(self) -> str | None:
        """What is right, as far as it was said: the answer that was given, or the one with a thumb up."""
        if self.feedback.answer is not None:
            return self.feedback.answer
        return self.row.output if self.feedback.thumb == "up" else None

    @property
    def is_right(self) -> bool:
        """Whether the answer that users got was right, by what was said of it."""
        if self.feedback.answer is not None:
            return _plain(self.feedback.answer) == _plain(self.row.output)
        return self.feedback.thumb == "up"


def _plain(text: str) -> str:
    """A text by which answers are the same: but for case and spaces, and JSON however it is laid out."""
    with suppress(ValueError, RecursionError):
        if isinstance(value := json.loads(text), dict | list):
            return json.dumps(value, sort_keys=True).casefold()
    return " ".join(text.split()).casefold()


def labelled_requests(workspace: Workspace, endpoint: str, after: str | None = None) -> list[LabelledRequest]:
    """An endpoint's answered requests of which somebody said something, in the order they were answered.

    after: only requests answered later than this UTC time, ISO 8601. Of several things that a caller said of
    one request the last counts. Feedback to a request that is no longer kept is left out.
    """
    said = latest_feedback(workspace, endpoint, after)  # nobody speaks of an answer before it is given
    rows = _answered(workspace, endpoint, after) if said else []
    return [LabelledRequest(row, said[key]) for row in rows if (key := (row.id, row.caller)) in said]


class LabelledTail:
    """Answers of an endpoint that somebody said something of after a UTC time, as it is said."""

    def __init__(self, workspace: Workspace, endpoint: str, after: str) -> None:
        self._folder = workspace.endpoints / endpoint
        self._tail = FeedbackTail(workspace, endpoint, after)

    def labelled(self) -> Iterator[LabelledRequest]:
        """Those of which something was said since the last call; one that is no longer kept is left out."""
        for feedback in self._tail.said():
            row = request_of(self._folder, feedback.id, feedback.caller)
            if row is not None and row.status == "ok":
                yield LabelledRequest(row, feedback)


def _answered(workspace: Workspace, endpoint: str, after: str | None) -> list[TrafficRow]:
    """The answered requests; of those that share caller and id, the last."""
    found = read(workspace, endpoint, after=after, pulled=True)
    return list({(row.id, row.caller): row for row in found if row.status == "ok"}.values())


def traffic_samples(
    workspace: Workspace, endpoint: str, after: str | None = None, only_labelled: bool = False
) -> Iterator[Sample]:
    """An endpoint's answered requests as samples, with their right answers where somebody told them.

    One without has the endpoint's own answer as its target, and the id and release by which `curate` knows it
    and leaves it out. A labelled one has neither: what it teaches is a person's word. One of which is known
    only that its answer was wrong is left out.
    """
    said = latest_feedback(workspace, endpoint, after)
    for row in _answered(workspace, endpoint, after):
        tags = {"endpoint": endpoint} | ({"caller": row.caller} if row.caller else {})
        if (feedback := said.get((row.id, row.caller))) is not None:
            one = LabelledRequest(row, feedback)
            if one.right_answer is not None:
                tags["told_by"] = "answer" if one.feedback.answer is not None else "thumb"
                yield Sample.of(f"feedback-{row.id}", row.text, one.right_answer, tags=tags)
        elif not only_labelled:
            yield Sample.of(row.id, row.text, row.output, tags={**tags, "release": row.release})


def export_row(sample: Sample) -> dict[str, str]:
    """A sample of traffic as a row that `curate` and `retrain` read by the names of its columns."""
    return {"text": sample.question, "label": sample.answer or "", "id": sample.id, **sample.tags}


def share_right(labelled: Sequence[LabelledRequest]) -> float | None:
    """How many of the labelled answers were right, 0 to 1; None without any."""
    return sum(one.is_right for one in labelled) / len(labelled) if labelled else None
