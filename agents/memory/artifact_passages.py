"""What an artifact says of itself, as sentences: its manifest's facts, a card, slices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from ...core.artifacts import Artifact
from .manifest import read_checked
from .passages import figure_words, in_words, quoted


class Told(NamedTuple):
    """One passage of an artifact. part: of the artifact; words: what `words_for` knows it by."""

    kind: str
    part: str
    title: str
    sentences: list[str]
    words: tuple[str, ...] = ()


Teller = Callable[[Artifact, Mapping[str, Any], Mapping[str, Any]], Iterator[Told]]

_SLICES_EACH = 12  # slices in a passage
_MODEL_SKIPS = frozenset({"recipe", "seed"})


def of_dataset(artifact: Artifact, request: Mapping[str, Any], result: Mapping[str, Any]) -> Iterator[Told]:
    """Its counts, why rows were left out with examples, and its labels."""
    short = artifact.ref.short
    facts = in_words(artifact.facts, frozenset({"suite_digest"}))
    source = request.get("source") or request.get("suite") or ""
    words = "dataset.golden" if artifact.facts.get("golden") is True else "dataset.facts"
    made = [f"Dataset {short} was made of {source}: {facts}."]
    yield Told("dataset", "facts", f"Dataset {short}", made, (words,))
    if "card.json" not in artifact.files:
        return
    card = read_checked(artifact, "card.json")
    yield _card(short, card, result)
    yield from _left_out(short, card)
    yield from _labels(short, card)


def _card(short: str, card: Mapping[str, Any], result: Mapping[str, Any]) -> Told:
    """Its rows, their lengths, and what was found of the golden set."""
    lengths = {name: card.get(name) for name in ("asked_chars", "answer_chars", "turns", "scripts")}
    return Told(
        "dataset",
        "card",
        f"Dataset card of {short}",
        [
            f"The card of dataset {short}: curate kept {card['rows']} rows for task {card['task']}, "
            f"{card['train_rows']} to train on, {card['validation_rows']} held out, "
            f"{card.get('masked_rows', 0)} masked, "
            f"{card.get('replay_rows', 0)} replayed.",
            f"Conflicts, the same text with two answers: {result.get('conflicts', 0)}.",
            f"{in_words({name: one for name, one in lengths.items() if one})}.",
            f"Found of the golden set: {sum(card['leaked'].values())} in all, {in_words(card['leaked'])}.",
        ],
        ("dataset.card",),
    )


def _left_out(short: str, card: Mapping[str, Any]) -> Iterator[Told]:
    """How many rows were left out, and for each reason some of them."""
    dropped = card.get("dropped") or {}
    total = sum(int(one["rows"]) for one in dropped.values())
    reasons = ", ".join(f"{one['rows']} {reason.replace('_', ' ')}" for reason, one in dropped.items())
    yield Told(
        "dataset",
        "dropped",
        f"Rows left out of {short}",
        [f"{total} rows were left out of dataset {short} (dropped, removed): {reasons or 'none'}."],
        ("dataset.dropped",),
    )
    for reason, one in dropped.items():
        shown = "; ".join(
            f"{row.get('where', '')}: {quoted(str(row.get('text', '')))} "
            f"because {quoted(str(row.get('why', '')))}"
            for row in one.get("examples", ())
        )
        yield Told(
            "dataset",
            f"dropped:{reason}",
            f"Rows left out of {short}: {reason}",
            [
                f"{one['rows']} rows were left out of dataset {short} for "
                f"{reason.replace('_', ' ')} ({reason}).",
                f"Examples: {shown}." if shown else "",
            ],
            ("dataset.reason",),
        )


def _labels(short: str, card: Mapping[str, Any]) -> Iterator[Told]:
    """How many labels there are, and the most frequent."""
    labels = card.get("labels") or {}
    if labels.get("different"):
        counts = ", ".join(f"{name} {n}" for name, n in list(labels["rows_of_label"].items())[:40])
        yield Told(
            "dataset",
            "labels",
            f"Labels of {short}",
            [
                f"Dataset {short} has {labels['different']} labels, the rarest with {labels['rarest']} rows.",
                f"Most frequent: {counts}.",
            ],
            ("dataset.labels",),
        )


def of_report(artifact: Artifact, request: Mapping[str, Any], result: Mapping[str, Any]) -> Iterator[Told]:
    """Its figures with their intervals, its baselines, its slices some at a time."""
    facts, short = artifact.facts, artifact.ref.short
    model = str(facts.get("model", ""))
    head = f"Evaluation {short}: how accurate {model} is, its score on suite {facts.get('suite')}"
    metrics = "; ".join(
        f"{name} {_interval(one)}"
        for name, one in facts.get("metrics", {}).items()
        if isinstance(one, Mapping)
    )
    told = in_words({k: facts.get(k) for k in ("of", "errors", "cut", "refused", "leaked", "latency_ms")})
    note = str(result.get("note") or "")
    figures = [f"{head}: {metrics}.", f"{told}.", note]
    yield Told("report", "figures", f"Evaluation of {model}", figures, ("report.figures",))
    baselines = "; ".join(f"{name} {_interval(one)}" for name, one in facts.get("baselines", {}).items())
    shortcuts = in_words(result.get("shortcuts") or {})
    if baselines:
        yield Told(
            "report",
            "baselines",
            f"Baselines beside {model}",
            [
                f"Baselines on suite {facts.get('suite')} beside {model}: {baselines}.",
                f"Best that learned nothing: {facts.get('trivial')}." if facts.get("trivial") else "",
                f"With shortcuts: {shortcuts}." if shortcuts else "",
            ],
            ("report.baselines",),
        )
    slices = list((facts.get("slices") or {}).items())
    for at in range(0, len(slices), _SLICES_EACH):
        some = "; ".join(f"{name} {_interval(one)}" for name, one in slices[at : at + _SLICES_EACH])
        yield Told(
            "report",
            f"slices:{at}",
            f"Slices of the evaluation of {model}",
            [f"{head}, {facts.get('metric')} by slice: {some}."],
            ("report.slices",),
        )


def of_drift(artifact: Artifact, request: Mapping[str, Any], result: Mapping[str, Any]) -> Iterator[Told]:
    """Whether it raised an alarm, and each test's figures; no text of the traffic."""
    facts = artifact.facts
    alarm = "raised an alarm" if facts.get("alarm") else "raised no alarm"
    told = in_words(facts, frozenset({"tests", "evidence_key", "seed"}))
    tests = "; ".join(
        f"{name} {'ALARM' if one.get('alarm') else 'quiet'}, {in_words(one, frozenset({'alarm'}))}"
        for name, one in facts.get("tests", {}).items()
    )
    head = f"Drift on endpoint {facts.get('endpoint')} {alarm}: {result.get('message', '')}."
    title = f"Drift report of {facts.get('endpoint')}: {alarm}"
    words = "drift.alarm" if facts.get("alarm") else "drift.quiet"
    yield Told("drift", "facts", title, [head, f"{told}."], (words,))
    yield Told("drift", "tests", f"{title}, tests", [head, f"Tests: {tests}."], (words, "drift.tests"))


def of_model(artifact: Artifact, request: Mapping[str, Any], result: Mapping[str, Any]) -> Iterator[Told]:
    """What made it and what came out; any kind of artifact has that much."""
    short = artifact.ref.short
    made = in_words(request, frozenset({"key"}))
    came = in_words({**result, **artifact.facts}, _MODEL_SKIPS)
    yield Told(
        "model",
        "facts",
        f"{artifact.ref.kind} {short}",
        [f"{artifact.ref.kind} {short}: {came}; {artifact.size_bytes:,} bytes.", f"Made with: {made}."],
        (f"model.{artifact.ref.kind}",),
    )


_TELLERS: dict[str, Teller] = {
    "dataset": of_dataset,
    "eval-report": of_report,
    "drift-report": of_drift,
}


def told_of(artifact: Artifact, request: Mapping[str, Any], result: Mapping[str, Any]) -> Iterator[Told]:
    """What an artifact of any kind says of itself."""
    yield from _TELLERS.get(artifact.ref.kind, of_model)(artifact, request, result)


def _interval(one: Mapping[str, Any]) -> str:
    value, low, high = one.get("value"), one.get("low"), one.get("high")
    if not isinstance(value, float | int):
        return "not scored"
    words = figure_words(float(value))
    if isinstance(low, float | int) and isinstance(high, float | int):
        words += f" [{low:.3f} to {high:.3f}]"
    return f"{words} n={one['n']}" if "n" in one else words
