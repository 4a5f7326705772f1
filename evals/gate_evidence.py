"""What a gate looks at besides the report: the store, the training rows, and earlier verdicts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from ..core.artifact_refs import AdapterRef, ArtifactRef, CheckpointRef, ClassifierRef, DatasetRef, parse_ref
from ..core.artifacts import ArtifactStore
from ..core.errors import AskError, OpswrightError
from ..core.gate import GateSpec, SuiteBar
from ..core.suite_source import is_suite_file
from ..core.workspace import Workspace
from ..data.dataset import training_rows
from ..data.text import label_form
from ..record.index import LedgerIndex
from .contamination import MatchKind, find_leaks
from .gate_eval import GateEvidence, Incumbent
from .gate_power import StableFigures
from .gate_rows import RequiredReport
from .head_to_head import baseline_items
from .lineage import ancestors, built_from, report_lineage, training_dataset
from .report import BASELINES, read_report
from .runner import EvalResult
from .selection import chosen_by, selections_of
from .suites import load_suite, suite_names

_TRIVIAL = ("majority", "constant", "copy")  # in a report that does not say which baseline is trivial
_EXACT = "exact_match"
_OF_LABELS = (_EXACT, "guard_decision")
_MOST_FREQUENT = "most_frequent_answer"
_LOSSES = "validation.jsonl"


def collect(
    workspace: Workspace,
    spec: GateSpec,
    report: ArtifactRef,
    measured: EvalResult,
    incumbent: Incumbent | None,
) -> GateEvidence:
    """Everything that is known around a report."""
    store = workspace.artifacts
    facts = store.open(report).facts
    trivial = trivial_name(facts)
    answered, untold = _trivial(store, report, measured, trivial, spec.metric or measured.metric)
    earlier = _judged_before(workspace, report, measured)
    same = [one for one in earlier if one.digest == measured.suite_digest]
    mine = [one for one in earlier if one.model == measured.model]
    return GateEvidence(
        leaked=_leaked(store, measured, incumbent) if spec.leaked == "leave_out" else None,
        trivial=answered,
        trivial_stands_in=answered is not None and answered.model == _MOST_FREQUENT,
        trivial_unknown=untold,
        better_baselines=_better(facts, trivial, measured) | _classifiers_above(store, facts),
        own_answers=int(facts.get("own_answers", 0)),
        shortcuts={
            name: float(figures["value"])
            for name, figures in (facts.get("shortcuts") or {}).items()
            if not figures["beaten"]
        },
        suites={
            name: required_reports(
                store, measured.model, required_suite(name, bar), spec.leaked == "leave_out"
            )
            for name, bar in spec.suites.items()
        },
        answers_trained=_answers_trained(store, measured),
        losses=_losses(store, measured.model),
        chose_weights=_chose_weights(store, measured),
        candidates=len({one.model for one in same} | {measured.model}),
        looks=tuple(one.n for one in same if one.model == measured.model),
        looks_at_others=tuple(n for _, n in sorted({(o.digest, o.n) for o in mine if o not in same})),
    )


def trivial_name(facts: Mapping[str, Any]) -> str | None:
    """The baseline of a report's facts that any model must beat; None when it has none."""
    baselines = facts.get("baselines") or {}
    said = [name for name, figures in baselines.items() if figures.get("trivial")]
    named = [facts["trivial"]] if facts.get("trivial") in baselines else []
    return next(iter([*named, *said, *(name for name in _TRIVIAL if name in baselines)]), None)


def required_suite(name: str, bar: SuiteBar) -> str | Path:
    """The suite that a gate requires by a name: its file, or the name where that says which is meant.

    AskError for a file under the name of another suite, that Opswright or a package has.
    """
    if bar.suite is not None and is_suite_file(bar.suite) and name in suite_names():
        raise AskError(
            f"the gate requires suite '{name}', which is the name of an installed one, and {bar.suite} is "
            "another. Give the file another name."
        )
    return bar.suite or name


def required_reports(
    store: ArtifactStore, model: str, suite: str | Path, leave_out: bool = False
) -> tuple[RequiredReport, ...]:
    """A model's newest report on a suite; where only a name is known, which files may share, on each of it.

    A report on all items goes before one on some of them. AskError when the suite's file cannot be read.
    """
    meant = load_suite(suite).digest if is_suite_file(suite) else _digest_of(str(suite))
    found: dict[str, list[tuple[bool, int, ArtifactRef, int]]] = {}
    for age, (ref, manifest) in enumerate(store.list("eval-report")):
        facts = manifest["facts"]
        is_it = facts["suite"] == suite if meant is None else facts.get("suite_digest") == meant
        if facts["model"] == model and is_it:
            of = int(facts.get("of", 0))
            asked = len(read_report(store.open(ref)).items)
            found.setdefault(str(facts["suite_digest"]), []).append((asked < of, age, ref, of))
    reports = []
    for of_digest in found.values():
        _, _, ref, of = min(of_digest)
        measured = read_report(store.open(ref))
        leaked = _leaked(store, measured, None) if leave_out else None
        chose = _chose_weights(store, measured)
        reports.append(RequiredReport(measured, of, leaked, is_meant=meant is not None, chose=chose))
    return tuple(reports)


def _digest_of(suite: str) -> str | None:
    """The digest of a suite that has its name from Opswright or a package; None where none has it."""
    try:
        return load_suite(suite).digest
    except (OpswrightError, OSError):
        return None


def stable_figures(store: ArtifactStore, bundle: ArtifactRef, suite: str) -> StableFigures:
    """What reports say of a release on a suite, whichever of its forms was measured; the newest counts."""
    models = {str(bundle), str(built_from(store, bundle))}
    for _, manifest in store.list("eval-report"):
        facts = manifest["facts"]
        if facts["model"] in models and facts["suite"] == suite:
            trivial = trivial_name(facts)
            return StableFigures(
                whole=facts["value"],
                slices={name: figures["value"] for name, figures in facts["slices"].items()},
                trivial=None if trivial is None else facts["baselines"][trivial]["value"],
            )
    return StableFigures()


def _trivial(
    store: ArtifactStore, report: ArtifactRef, measured: EvalResult, name: str | None, metric: str
) -> tuple[EvalResult | None, str]:
    """The answers that any model must beat, or why there are none.

    A baseline that was left out, or fitted on rows that are not the model's, is not the asker's to choose:
    then the suite's own most frequent right answer takes its place.
    """
    artifact = store.open(report)
    kept = name is not None and BASELINES in artifact.files
    rows, own = artifact.facts.get("train_dataset"), _last_dataset(store, measured.model)
    if name is not None and kept and rows in (None, own):
        return baseline_items(artifact, measured, name), ""
    if metric in _OF_LABELS:
        return most_frequent_answer(measured, metric), ""
    if name is not None and kept and own is None:
        return baseline_items(artifact, measured, name), ""
    fix = "evaluate again with `baselines: true`, and with `train` " + (
        "naming the rows it was trained on" if own is None else "left out"
    )
    return None, f"no trivial baseline on the model's training rows says what {metric} is worth: {fix}"


def most_frequent_answer(measured: EvalResult, metric: str = _EXACT) -> EvalResult:
    """The suite's most frequent right answer, given to every item: what a model that learned nothing says.

    metric: one of those for which an answer is right when it is the expected one.
    """
    form = label_form if measured.task == "classify" else str.strip
    met = Counter(form(item.expected) for item in measured.items)
    answer = min(met, key=lambda one: (-met[one], one), default="")
    items = (
        replace(
            item,
            got=answer,
            scores={metric: float(form(item.expected) == answer)},
            faults={},
            latency_ms=None,
            error=None,
            finish="stop",
        )
        for item in measured.items
    )
    return replace(measured, model=_MOST_FREQUENT, items=tuple(items), leaked=None)


def _last_dataset(store: ArtifactStore, model: str) -> str | None:
    """The dataset a model was last trained on; None where it is not known."""
    try:
        found = training_dataset(store, parse_ref(model))
    except (OpswrightError, OSError):
        return None
    return None if found is None else str(found)


def _better(facts: Mapping[str, Any], trivial: str | None, measured: EvalResult) -> dict[str, float]:
    """The other baselines above the model by the report's own metric."""
    own = facts.get("value")
    return {
        name: float(figures["value"])
        for name, figures in (facts.get("baselines") or {}).items()
        if name != trivial and own is not None and figures.get("value") is not None and figures["value"] > own
    }


def _classifiers_above(store: ArtifactStore, facts: Mapping[str, Any]) -> dict[str, float]:
    """Classifiers of the same training rows that did better than a model on the same items, by share."""
    alike = ("suite_digest", "train_dataset", "n", "metric")
    own, is_one = facts.get("value"), ClassifierRef.kind + ":"
    if own is None or facts.get("train_dataset") is None or str(facts["model"]).startswith(is_one):
        return {}
    found: dict[str, float] = {}
    for _, manifest in store.list("eval-report"):  # newest first
        other = manifest["facts"]
        if str(other["model"]).startswith(is_one) and all(other.get(one) == facts.get(one) for one in alike):
            found.setdefault(parse_ref(other["model"]).short, float(other["value"]))
    return {name: value for name, value in found.items() if value > own}


def _leaked(store: ArtifactStore, measured: EvalResult, incumbent: Incumbent | None) -> frozenset[str] | None:
    """Items that are in the training rows of the model, or of stable; None when the rows are not known."""
    sides = [
        measured,
        *([incumbent.report] if incumbent is not None and incumbent.report is not None else []),
    ]
    found: set[str] = set()
    for side in sides:
        datasets = _datasets_behind(store, side.model)
        if not datasets and side is measured:
            return None
        leaks = find_leaks(store, datasets, [(item.text, item.group) for item in side.items])
        found |= {side.items[place].id for place in leaks}
    return frozenset(found)


def _answers_trained(store: ArtifactStore, measured: EvalResult) -> tuple[int, int] | None:
    """Of a suite's different labels, how many are in the training rows; None where answers are no labels."""
    rows = _rows_behind(store, measured.model) if measured.task == "classify" else None
    if rows is None:
        return None
    wanted = {label_form(item.expected) for item in measured.items}
    return len(wanted & {label_form(label) for _, label in rows}), len(wanted)


def _rows_behind(store: ArtifactStore, model: str) -> list[tuple[str, str]] | None:
    """All rows a model was trained on, in this training or one before it; None when none is known."""
    return [row for one in _datasets_behind(store, model) for row in training_rows(store.open(one))] or None


def _datasets_behind(store: ArtifactStore, model: str) -> list[DatasetRef]:
    """The datasets of every training behind a model; none when one of them cannot be read."""
    try:
        parents = [parent for one in _checkpoints(store, model) for parent in store.open(one).parents]
        datasets = list(dict.fromkeys(one for one in parents if isinstance(one, DatasetRef)))
        for one in datasets:
            store.open(one)
    except (OpswrightError, OSError):
        return []
    return datasets


def _checkpoints(store: ArtifactStore, model: str) -> list[CheckpointRef | AdapterRef | ClassifierRef]:
    """The checkpoint, adapters or classifier a model is or was built from, then what those were trained from.

    AskError for a URL.
    """
    ref = parse_ref(model)
    trained = CheckpointRef | AdapterRef | ClassifierRef
    return [one for one in (ref, *ancestors(store, ref)) if isinstance(one, trained)]


def _chose_weights(store: ArtifactStore, measured: EvalResult) -> Counter[MatchKind]:
    """Items that chose the weights of the model, or of one that it was made of; none where none is known."""
    try:
        made_of = [store.open(one) for one in _checkpoints(store, measured.model)]
    except (OpswrightError, OSError):
        return Counter()
    return chosen_by(selections_of(made_of), [item.text for item in measured.items])


def _losses(store: ArtifactStore, model: str) -> tuple[float, float] | None:
    """First and last validation loss of the training behind a model; None when it has fewer than two."""
    try:
        trained = store.open(_checkpoints(store, model)[0])
        lines = (trained.path / _LOSSES).read_text(encoding="utf-8").splitlines()
        losses = [float(json.loads(line)["val_loss"]) for line in lines]
    except (OpswrightError, OSError, LookupError, ValueError, TypeError):
        return None
    return (losses[0], losses[-1]) if len(losses) > 1 else None


class _Judged(NamedTuple):
    """A model that a gate judged: on which version of the suite, and on how many items."""

    model: str
    digest: str
    n: int


def _judged_before(workspace: Workspace, report: ArtifactRef, measured: EvalResult) -> list[_Judged]:
    """What gates judged on a suite of this name, in whichever version, but for this report."""
    on_suite = {
        str(ref): _Judged(facts["model"], facts["suite_digest"], int(facts["n"]))
        for ref, manifest in workspace.artifacts.list("eval-report")
        if (facts := manifest["facts"])["suite"] == measured.suite and ref != report
    }
    lineage = report_lineage(LedgerIndex.of(workspace), list(on_suite))
    return [on_suite[ref] for ref, found in lineage.items() if found.verdict is not None]
