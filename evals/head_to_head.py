"""Two models on the items that both answered: what one won and lost, and whether that shows a difference."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from statistics import fmean
from typing import Any

from ..core.artifact_refs import parse_ref
from ..core.artifacts import Artifact, ArtifactStore
from ..core.errors import AskError, IntegrityError, did_you_mean
from ..core.statistics import holm
from .gate_scores import drops_on, score_of
from .leaderboard import FORMATS, LeaderboardRow, markdown_table, short, text_table
from .report import BASELINES, read_report
from .runner import EvalResult, SampleResult

TEST = "two-sided exact McNemar test: wins and losses are equally likely"
GRADED_TEST = "two-sided t-test of the differences, with one made-up worst item"
ITEM_FORMATS = tuple(name for name in FORMATS if name != "csv")


@dataclass(frozen=True)
class AnswerPair:
    """One item and what each model made of it; None: no answer."""

    id: str
    text: str
    expected: str
    answer_a: str | None
    answer_b: str | None
    score_a: float
    score_b: float
    slices: tuple[str, ...]

    @property
    def right_a(self) -> bool:
        """Whether A has the full score."""
        return self.score_a >= 1

    @property
    def right_b(self) -> bool:
        """Whether B has the full score."""
        return self.score_b >= 1

    @property
    def outcome(self) -> str:
        """`won` when B has the higher score, `lost` when A has, else `both right` or `both wrong`."""
        if self.score_a == self.score_b:
            return "both right" if self.right_a else "both wrong"
        return "won" if self.score_b > self.score_a else "lost"


@dataclass(frozen=True)
class ComparisonRow:
    """All common items, or those of one slice; `difference` is B minus A with its 95 % interval.

    n: observations; items of one group are one.
    """

    name: str
    n: int
    value_a: float
    value_b: float
    won: int
    lost: int
    difference: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True)
class HeadToHead:
    """B against A. `left_out` counts items that one of them was not asked, or failed to answer.

    The p-values of `slices` are corrected for their number (Holm), the one of `whole` is not.
    """

    a: str
    b: str
    suite: str
    metric: str
    left_out: int
    test: str
    whole: ComparisonRow
    slices: tuple[ComparisonRow, ...]
    items: tuple[AnswerPair, ...]

    def document(self) -> dict[str, Any]:
        """The comparison as JSON holds it; of the items, those that only one of the two got right."""
        items = [{**asdict(item), "outcome": item.outcome} for item in self.items if item.outcome in DECISIVE]
        return {**asdict(self), "items": items}


DECISIVE = ("won", "lost")


def common_items(
    a: EvalResult, b: EvalResult, within: str | None = None
) -> list[tuple[SampleResult, SampleResult]]:
    """The items both models answered, matched by id; the slice is b's."""
    answered = {item.id: item for item in a.items if item.error is None}
    return [
        (answered[item.id], item) for item in b.within(within) if item.error is None and item.id in answered
    ]


def compare(a: EvalResult, b: EvalResult, metric: str | None = None) -> HeadToHead:
    """B against A, whole and by slice, by the suite's first scorer or another.

    Raises AskError for reports of different suites, or versions of one, and for no item in common.
    """
    if a.suite != b.suite:
        raise AskError(f"{short(a.model)} was measured on {a.suite}, {short(b.model)} on {b.suite}.")
    if a.suite_digest != b.suite_digest:
        raise AskError(
            f"the two were measured on different versions of suite {a.suite} ({a.suite_digest[:12]} and "
            f"{b.suite_digest[:12]}). Evaluate both on one."
        )
    metric = metric or b.metric
    pairs = common_items(a, b)
    if not pairs:
        raise AskError(f"{short(a.model)} and {short(b.model)} have no answered items in common.")
    slices = [_row(name, found, metric) for name in b.slices if (found := common_items(a, b, name))]
    corrected = holm([row.p_value for row in slices])
    asked = {item.id for item in chain(a.items, b.items)}
    return HeadToHead(
        a=a.model,
        b=b.model,
        suite=a.suite,
        metric=metric,
        left_out=len(asked) - len(pairs),
        test=TEST if drops_on(pairs, metric).binary else GRADED_TEST,
        whole=_row("all", pairs, metric),
        slices=tuple(replace(row, p_value=p) for row, p in zip(slices, corrected, strict=True)),
        items=tuple(
            AnswerPair(b.id, b.text, b.expected, a.got, b.got, _score(a, metric), _score(b, metric), b.slices)
            for a, b in pairs
        ),
    )


def _row(name: str, pairs: Sequence[tuple[SampleResult, SampleResult]], metric: str) -> ComparisonRow:
    drops = drops_on(pairs, metric)
    found = drops.difference()
    scores = [(_score(a, metric), _score(b, metric)) for a, b in pairs]
    return ComparisonRow(
        name=name,
        n=drops.n,
        value_a=fmean(a for a, _ in scores),
        value_b=fmean(b for _, b in scores),
        won=sum(b > a for a, b in scores),
        lost=sum(a > b for a, b in scores),
        difference=-found.mean,
        low=-found.high,
        high=-found.low,
        p_value=found.p_value,
    )


def _score(item: SampleResult, metric: str) -> float:
    """An item's score, 0 when it has none."""
    return score_of(item, metric) or 0.0


def open_measured(store: ArtifactStore, line: LeaderboardRow) -> EvalResult:
    """The items behind a line of the leaderboard; a baseline's answers are scored again from its report."""
    artifact = store.open(parse_ref(line.report))
    measured = read_report(artifact)
    if line.kind != "baseline":
        return measured
    return baseline_items(artifact, measured, line.model)


def baseline_items(report: Artifact, measured: EvalResult, name: str) -> EvalResult:
    """What a baseline of a report answered, as if it were the model; measured: the report's items.

    Raises AskError for a report made without baselines, IntegrityError when it has none of that name.
    """
    if BASELINES not in report.files:
        raise AskError(f"{report.ref.short} holds no answers of its baselines: it was made without them.")
    document = report.read_json(BASELINES)
    for one in document["baselines"]:
        if one["name"] == name:
            if "scores" not in document:
                raise AskError(f"{report.ref.short} is of an earlier version: evaluate its model again.")
            scores = document["scores"][name]
            answered = dict(zip(document["ids"], zip(one["answers"], scores, strict=True), strict=True))
            return _answered_by(measured, name, answered)
    raise IntegrityError(f"{report.ref.short} names the baseline {name}, but holds no answers of it.")


def _answered_by(
    measured: EvalResult, name: str, answered: Mapping[str, tuple[str, Mapping[str, float]]]
) -> EvalResult:
    """The report's items with a baseline's answers and their scores."""
    items = []
    for item in measured.items:
        got, scores = answered[item.id]
        items.append(
            replace(item, got=got, scores=scores, faults={}, latency_ms=None, error=None, finish="stop")
        )
    return replace(measured, model=name, items=tuple(items), leaked=None)


def find_line(lines: Sequence[LeaderboardRow], text: str) -> LeaderboardRow:
    """The line of the leaderboard that a text names; AskError when none or several are meant.

    A model's or baseline's name, or `REPORT/BASELINE`; a reference may be cut after 6 or more digits.
    """
    report, _, baseline = text.partition("/") if text.startswith("eval-report:") else ("", "", "")
    found = [
        line
        for line in lines
        if text == line.model
        or (line.kind != "baseline" and _begins(text, line.model, line.report))
        or (line.kind == "baseline" and line.model == baseline and _begins(report, line.report))
    ]
    if len(found) == 1:
        return found[0]
    if found:
        several = ", ".join(line.short_id for line in found[:6])
        raise AskError(f"'{text}' is ambiguous: it matches {len(found)} leaderboard rows ({several}).")
    names = list(dict.fromkeys(line.name for line in lines))
    known = (
        f"it has: {', '.join(names[:12])}"
        if names
        else "it is empty; `opswright evaluate model=REF suite=NAME` fills it"
    )
    raise AskError(f"'{text}' is not on the leaderboard ({known}).{did_you_mean(text, names)}")


def _begins(text: str, *references: str) -> bool:
    return len(text.partition(":")[2]) >= 6 and any(ref.startswith(text) for ref in references)


def render(found: HeadToHead, form: str = "table", most_items: int = 20) -> str:
    """The comparison in one of ITEM_FORMATS; table and md show the first `most_items` lost and won items."""
    if form == "json":
        return json.dumps(found.document(), indent=2, sort_keys=True, ensure_ascii=False)
    if form not in ITEM_FORMATS:
        raise AskError(f"unknown format '{form}' (there are: {', '.join(ITEM_FORMATS)}).")
    table = text_table if form == "table" else markdown_table
    decisive = [item for item in found.items if item.outcome in DECISIVE]
    shown = sorted(decisive, key=lambda item: (item.outcome != "lost", item.id))[:most_items]
    parts = [
        f"A: {short(found.a)}\nB: {short(found.b)}" if form == "table" else _names(found),
        f"{sentence(found)}",
        table(_HEAD, [_cells(row) for row in (found.whole, *found.slices)]),
    ]
    if shown:
        parts.append(f"{len(shown)} of {len(decisive)} items that only one of the two got right:")
        rows = [(i.outcome, i.text, i.expected, _said(i.answer_a), _said(i.answer_b)) for i in shown]
        parts.append(table(("B", "text", "expected", "A's answer", "B's answer"), rows))
    return "\n\n".join(parts)


_HEAD = ("items", "n", "A", "B", "B won", "B lost", "B - A", "95% interval", "p")


def _cells(row: ComparisonRow) -> tuple[str, ...]:
    return (
        row.name,
        str(row.n),
        f"{row.value_a:.1%}",
        f"{row.value_b:.1%}",
        str(row.won),
        str(row.lost),
        points(row.difference),
        f"{points(row.low)} to {points(row.high)}",
        p_words(row.p_value),
    )


def _names(found: HeadToHead) -> str:
    return markdown_table(("", "model"), [("A", short(found.a)), ("B", short(found.b))])


def _said(answer: str | None) -> str:
    return "(no answer)" if answer is None else answer


def sentence(found: HeadToHead) -> str:
    """What the comparison shows, in a sentence that claims no more than the test does."""
    row = found.whole
    if row.p_value >= 0.05:
        verdict = "No difference is shown"
    else:
        verdict = "B is better" if row.difference > 0 else "B is worse"
    left = f" {found.left_out} items that only one of them answered are left out." if found.left_out else ""
    return (
        f"{verdict}: on {row.n} common items of {found.suite} B won {row.won} and lost {row.lost}, "
        f"{points(row.difference)} points ({points(row.low)} to {points(row.high)}), "
        f"p {p_words(row.p_value, sign=True)} ({found.test}).{left}"
    )


def points(share: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    return f"{100 * share:+.1f}"


def p_words(p: float, sign: bool = False) -> str:
    """A p-value to two digits, `< 0.0001` below that."""
    if p < 0.0001:
        return "< 0.0001"
    return f"{'= ' if sign else ''}{p:.2g}"
