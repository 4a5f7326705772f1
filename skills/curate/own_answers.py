"""Finds rows whose answer one of the workspace's own endpoints wrote: learned again, errors grow.

A row is known by provenance (the id of a logged request, or the release that answered, as its id or a tag),
or by an answer like one in the traffic log. What is no evidence: an answer of few words, one that many
questions got, one that a caller had repeated, and one that the model has learned from its training set.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ...core.contract import StepContext
from ...core.errors import AskError
from ...data.batches import in_runs
from ...data.personal import mask
from ...data.sample import ASSISTANT, Sample, text_of
from ...data.text import fingerprint
from ...evals.contamination import JACCARD, OverlapFinder

if TYPE_CHECKING:
    from ...serving.gateway.traffic_log import TrafficRow

_FEWEST_WORDS, _FEWEST_CHARS = 8, 40  # people say shorter things in the same words
_UNSPACED_CHARS = 20  # a word as long as this, on average, is several, in a script without spaces
_QUESTIONS = 3  # from so many on, an answer is a set phrase
_BYTES_AN_ANSWER = 4096  # held for a logged request while it is read
_TEXTS_AT_ONCE = 2000
_COMPLETION = "chatcmpl-"  # before a request's id in what an endpoint answers
_DRAWN_ID = re.compile(r"[0-9a-f]{32}|v\d+-[0-9a-f]{8}")  # of a request or release; callers may choose others


class LoggedAnswer(NamedTuple):
    """What an endpoint answered to a request."""

    text: str
    where: str


class OwnAnswers:
    """What the endpoints of a workspace answered, and which samples have it from them.

    nearly: an answer also counts where it is nearly a logged one (Jaccard of 5-character shingles from 0.8),
    or holds one; else only where the two are the same but for case, white space and end marks. Both are
    compared with personal data masked, as the log has it. form: what was done to the samples' texts.
    memory_bytes: about what may be held; it limits how many requests are read.
    """

    def __init__(
        self,
        ctx: StepContext,
        memory_bytes: int,
        nearly: bool,
        form: Callable[[str], str] = lambda text: text,
    ) -> None:
        self._ids: dict[str, str] = {}
        self._answers: list[LoggedAnswer] = []
        self._read(ctx, max(1, memory_bytes // _BYTES_AN_ANSWER), lambda text: mask(form(text)))
        self._finder = OverlapFinder([one.text for one in self._answers], JACCARD if nearly else None)
        self._learned: set[int] = set()
        for texts in in_runs(_training_answers(ctx), _TEXTS_AT_ONCE) if self._answers else ():
            self._learned |= {item for _, item, _ in self._found([mask(form(text)) for text in texts])}

    def _read(self, ctx: StepContext, most: int, form: Callable[[str], str]) -> None:
        """Take in the newest requests of each endpoint's traffic log, at most so many of all."""
        from ...serving.gateway.traffic_log import read

        questions: defaultdict[str, set[str]] = defaultdict(set)
        where: dict[str, str] = {}
        folders = [path for path in sorted(ctx.workspace.endpoints.glob("*")) if path.is_dir()]
        for endpoint in (folder.name for folder in folders):
            share = 1 + most // len(folders)
            rows = read(ctx.workspace, endpoint, last=share, pulled=True)
            if len(rows) == share:
                ctx.log(
                    f"own answers: the newest {share:,} requests of {endpoint} are looked at, no older ones"
                )
            for row in rows:
                self._know(row, endpoint)
                text = form(row.output or "")
                if row.status == "ok" and _tells(text) and not _is_repeated(row):
                    questions[text].add(fingerprint(row.text))
                    where[text] = f"endpoint {endpoint}, request {row.id}"
        self._answers = [
            LoggedAnswer(text, where[text]) for text in where if len(questions[text]) < _QUESTIONS
        ]

    def _know(self, row: TrafficRow, endpoint: str) -> None:
        self._ids[f"{_COMPLETION}{row.id}"] = f"endpoint {endpoint}"
        for drawn in (row.id, row.release):
            if _DRAWN_ID.fullmatch(drawn):
                self._ids[drawn] = f"endpoint {endpoint}"

    def why(self, samples: Sequence[Sample]) -> list[str | None]:
        """For each sample how an endpoint's answer was found in it, in words; None where none was."""
        why = [self._provenance(sample) for sample in samples]
        answers = enumerate(samples) if self._answers else ()
        said = [(n, mask(text)) for n, sample in answers for text in _answers_in(sample)]
        for at, _, how in self._found([text for _, text in said]):
            n = said[at][0]
            why[n] = why[n] or how
        return why

    def _provenance(self, sample: Sample) -> str | None:
        for name, value in (("id", sample.id), *sample.tags.items()):
            if (where := self._ids.get(value.strip())) is not None:
                return f"its {name} is one of {where}"
        return None

    def _found(self, texts: Sequence[str]) -> Iterator[tuple[int, int, str]]:
        """Text, logged answer, and in words how the one has the other."""
        for one in self._finder.overlaps(texts) if self._answers else ():
            if one.item not in self._learned:
                how = f"{one.kind.replace('_', ' ')} ({one.score:.2f})"
                yield one.text, one.item, f"{how}: the answer of {self._answers[one.item].where}"


def _tells(answer: str) -> bool:
    """Whether an answer is long enough to say who wrote it."""
    if len(answer) < _FEWEST_CHARS:
        return False
    words = len(answer.split())
    return words >= _FEWEST_WORDS or (not answer.isascii() and len(answer) >= _UNSPACED_CHARS * words)


def _is_repeated(row: TrafficRow) -> bool:
    """Whether a caller had the answer said: nobody may have rows left out by asking for their text."""
    return fingerprint(row.output) in fingerprint(row.text)


def _answers_in(sample: Sample) -> Iterator[str]:
    """What the assistant says in a sample that is long enough to tell."""
    for message in sample.conversation:
        if message["role"] == ASSISTANT and _tells(text := text_of(message)):
            yield text


def _training_answers(ctx: StepContext) -> Iterator[str]:
    """What the endpoints' releases were trained to say."""
    from ...data.dataset import dataset_samples
    from ...evals.lineage import training_datasets
    from ...serving.releases import endpoint_names, read_state

    datasets = {
        ref
        for endpoint in endpoint_names(ctx.workspace)
        for release in read_state(ctx.workspace, endpoint).known
        for ref in training_datasets(ctx.artifacts, release.bundle)
    }
    for ref in sorted(datasets):
        try:
            dataset = ctx.artifacts.open(ref)
        except AskError:
            ctx.log(
                f"own answers: {ref.short} is gone, so what endpoints learned from it may be taken for theirs"
            )
            continue
        for sample in dataset_samples(dataset):
            yield from _answers_in(sample)
