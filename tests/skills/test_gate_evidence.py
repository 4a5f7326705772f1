"""What a gate finds in the workspace: baselines, training rows, losses, other suites, earlier verdicts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from opswright.core.artifact_refs import CheckpointRef, DatasetRef, EvalReportRef
from opswright.core.errors import AskError
from opswright.core.gate import Decision, GateSpec
from opswright.core.principal import Principal
from opswright.core.workspace import Workspace
from opswright.data.sample import Sample
from opswright.evals.gate_eval import judge
from opswright.evals.gate_evidence import (
    collect,
    required_reports,
    stable_figures,
    trivial_name,
)
from opswright.evals.report import facts_of
from opswright.evals.runner import EvalResult, SampleResult, to_lines
from opswright.evals.selection import SELECTION, selection_document
from opswright.evals.suites import SHIPPED, Suite, load_suite
from opswright.record.ledger import Ledger, Phase
from opswright.skills.gate import GateRequest, gate

SPEC = GateSpec(suite="tones", min=0.5)


def result(model: str, right: int, n: int = 200, suite: str = "tones") -> EvalResult:
    """Of n texts, of which every fourth is angry and the others calm, the first are answered right."""
    items = []
    for i in range(n):
        label = "angry" if i % 4 == 0 else "calm"
        got = label if i < right else "?"
        scores = {"exact_match": float(i < right), "known_label": float(i < right)}
        items.append(SampleResult(f"t{i:04d}", f"text {i}", label, got, scores, ()))
    return EvalResult(model, suite, "d" * 64, (), tuple(items))


@pytest.fixture
def model(workspace: Workspace, tmp_path: Path) -> Any:
    """A checkpoint trained on rows, with the validation losses of its training."""
    import polars as pl

    def make(rows: list[tuple[str, str]], losses: tuple[float, ...] = (), base: Any = None) -> CheckpointRef:
        data = tmp_path / f"data-{len(list(tmp_path.iterdir()))}"
        data.mkdir()
        columns = {
            "text": [t for t, _ in rows],
            "label": [a for _, a in rows],
            "split": ["train"] * len(rows),
        }
        pl.DataFrame(columns).write_parquet(data / "rows.parquet")
        dataset = workspace.artifacts.save(DatasetRef, data, {})
        folder = tmp_path / f"model-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        lines = (json.dumps({"step": i, "val_loss": loss}) + "\n" for i, loss in enumerate(losses))
        (folder / "validation.jsonl").write_text("".join(lines))
        return workspace.artifacts.save(CheckpointRef, folder, {}, [dataset, *([base] if base else [])])

    return make


@pytest.fixture
def save(workspace: Workspace) -> Any:
    def one(found: EvalResult, baselines: Mapping[str, str] | None = None, **facts: Any) -> EvalReportRef:
        """A report; each baseline always gives one answer."""
        document = [
            {"name": name, "answers": [answer] * len(found.items), "fit_s": 0.0}
            for name, answer in (baselines or {}).items()
        ]
        values = {
            name: {"value": sum(item.expected == answer for item in found.items) / len(found.items)}
            for name, answer in (baselines or {}).items()
        }
        with workspace.artifacts.staging() as folder:
            (folder / "items.jsonl").write_bytes(to_lines(found.items))
            scores = {
                name: [{"exact_match": float(item.expected == answer)} for item in found.items]
                for name, answer in (baselines or {}).items()
            }
            ids = [item.id for item in found.items]
            whole = {"version": 2, "ids": ids, "baselines": document, "scores": scores}
            if baselines:
                (folder / "baselines.json").write_text(json.dumps(whole))
            known = facts_of(found, len(found.items), {}) | {"baselines": values} | facts
            return workspace.artifacts.save(EvalReportRef, folder, known)

    return one


def test_a_model_that_answers_as_the_majority_does_is_not_go(save: Any, context: Any, model: Any) -> None:
    trained = model([("a", "calm"), ("b", "angry")])
    items = result(str(trained), 0)
    calm = [
        SampleResult(i.id, i.text, i.expected, "calm", {"exact_match": float(i.expected == "calm")}, ())
        for i in items.items
    ]
    constant = EvalResult(items.model, items.suite, items.suite_digest, (), tuple(calm))
    baselines = {"tfidf_svc": "angry", "majority": "calm"}
    report = save(constant, baselines)
    found = gate(GateRequest(report=report, spec=SPEC), context())
    assert found.verdict.decision is Decision.INCONCLUSIVE
    assert [row.name for row in found.verdict.rows] == ["exact_match", "better than majority"]
    good = gate(GateRequest(report=save(result(str(trained), 190), baselines), spec=SPEC), context())
    assert good.verdict.decision is Decision.GO


@pytest.mark.parametrize("how", ["left out", "of other rows"])
def test_a_trivial_baseline_that_was_avoided_is_the_suites_most_frequent_answer(
    save: Any, context: Any, model: Any, how: str
) -> None:
    trained, others = str(model([("a", "calm"), ("b", "angry")])), str(DatasetRef.of("f" * 64))
    found = result(trained, 0)
    calm = tuple(
        replace(item, got="calm", scores={"exact_match": float(item.expected == "calm"), "known_label": 1.0})
        for item in found.items
    )

    def judged(one: EvalResult, **fields: Any) -> Any:
        baselines, facts = ({}, {}) if how == "left out" else ({"majority": "?"}, {"train_dataset": others})
        spec = GateSpec.model_validate({"suite": "tones", "min": 0.5, **fields})
        return gate(GateRequest(report=save(one, baselines, **facts), spec=spec), context()).verdict

    constant = judged(replace(found, items=calm))
    assert constant.decision is Decision.INCONCLUSIVE
    assert constant.rows[-1].name == "better than most_frequent_answer"
    assert judged(result(trained, 190)).decision is Decision.GO
    unknown = judged(replace(found, items=calm), metric="known_label")
    assert unknown.decision is Decision.INCONCLUSIVE
    assert "`train` left out" in unknown.rows[0].message


def test_a_baseline_on_the_rows_the_model_was_trained_on_is_kept(
    save: Any, workspace: Workspace, model: Any
) -> None:
    trained = model([("a", "calm")])
    (own,) = workspace.artifacts.open(trained).parents
    found = result(str(trained), 190)
    report = save(found, {"majority": "angry"}, train_dataset=str(own))
    known = collect(workspace, SPEC, report, found, None)
    assert known.trivial is not None and known.trivial.model == "majority"


def test_the_trivial_baseline_is_the_one_that_the_report_names() -> None:
    figures = {"majority": {"value": 0.3}, "nearest": {"value": 0.6, "trivial": True}, "copy": {"value": 0.1}}
    assert trivial_name({"baselines": figures}) == "nearest"
    assert trivial_name({"baselines": figures, "trivial": "copy"}) == "copy"
    del figures["nearest"]
    assert trivial_name({"baselines": figures}) == "majority"
    assert trivial_name({"baselines": {"tfidf_svc": {"value": 0.9}}}) is None and trivial_name({}) is None


def test_a_better_baseline_is_noted_unless_it_is_the_trivial_one(
    save: Any, workspace: Workspace, model: Any
) -> None:
    found = result(str(model([("a", "calm")])), 20)
    beaten = {name: {"value": 0.2, "beaten": name == "length"} for name in ("length", "keyword")}
    report = save(found, {"majority": "calm", "tfidf_svc": "calm", "weak": "?"}, shortcuts=beaten)
    known = collect(workspace, SPEC, report, found, None)
    assert known.better_baselines == {"tfidf_svc": 0.75} and known.shortcuts == {"keyword": 0.2}


def test_a_classifier_of_the_same_rows_that_does_better_is_noted(
    save: Any, workspace: Workspace, model: Any
) -> None:
    found = result(str(model([("a", "calm")])), 20)
    rows, kept = {"train_dataset": f"dataset:{'1' * 64}"}, "classifier:" + "a" * 64
    save(result(kept, 30), **rows)
    save(result("classifier:" + "b" * 64, 10), **rows)  # worse
    save(result("classifier:" + "c" * 64, 90), train_dataset=f"dataset:{'2' * 64}")  # of other rows
    save(result("classifier:" + "d" * 64, 90, n=100), **rows)  # on other items
    known = collect(workspace, SPEC, save(found, **rows), found, None)
    assert known.better_baselines == {f"classifier:{'a' * 12}": 0.15}
    notes = judge(SPEC, found, None, known).notes
    assert "below the baseline classifier:aaaaaaaaaaaa (15.0%); this is said and not judged" in notes
    own = result(kept, 30)
    assert collect(workspace, SPEC, save(own, **rows), own, None).better_baselines == {}


def test_items_in_any_training_behind_a_model_are_left_out_when_the_gate_says_so(
    save: Any, workspace: Workspace, model: Any, context: Any
) -> None:
    base = model([("TEXT  3", "calm"), ("other", "calm")])
    tuned = model([("text 5", "angry")], base=base)
    found = result(str(tuned), 190)
    spec = GateSpec(suite="tones", min=0.5, leaked="leave_out")
    report = save(found, leaked=1)
    known = collect(workspace, spec, report, found, None)
    assert set(known.leaked or ()) == {"t0003", "t0005"}
    verdict = gate(GateRequest(report=report, spec=spec), context()).verdict
    assert verdict.decision is Decision.GO and verdict.rows[0].n == 198
    assert collect(workspace, SPEC, report, found, None).leaked is None  # not asked for
    far = result("http://127.0.0.1:9/v1", 190)
    assert collect(workspace, spec, save(far), far, None).leaked is None  # an endpoint: not known


def test_answers_that_no_training_row_has_are_counted_for_labels_alone(
    save: Any, workspace: Workspace, model: Any
) -> None:
    found = result(str(model([("a", "joyful"), ("b", "Angry")])), 100)
    assert collect(workspace, SPEC, save(found), found, None).answers_trained == (1, 2)
    free = replace(found, task="generate")
    assert collect(workspace, SPEC, save(found), free, None).answers_trained is None


@pytest.mark.parametrize(
    ("losses", "known"), [((2.0, 1.0, 1.5), (2.0, 1.5)), ((1.0, 3.0), (1.0, 3.0)), ((1.0,), None), ((), None)]
)
def test_losses_are_the_first_and_last_of_the_training_behind_a_model(
    save: Any, workspace: Workspace, model: Any, losses: tuple[float, ...], known: Any
) -> None:
    found = result(str(model([("a", "calm")], losses)), 100)
    assert collect(workspace, SPEC, save(found), found, None).losses == known


def test_a_required_suite_is_found_by_the_models_newest_report(
    save: Any, workspace: Workspace, model: Any
) -> None:
    trained = str(model([("a", "calm")]))
    found = result(trained, 100)
    spec = GateSpec.model_validate({"suite": "tones", "min": 0.5, "suites": {"safety": {"min": 0.9}}})
    report = save(found)
    assert collect(workspace, spec, report, found, None).suites == {"safety": ()}
    save(result("checkpoint:" + "0" * 64, 200, suite="safety"))
    assert collect(workspace, spec, report, found, None).suites == {"safety": ()}  # another model's
    save(result(trained, 150, suite="safety"))
    (other,) = collect(workspace, spec, report, found, None).suites["safety"]
    assert other.measured.model == trained and other.of == 200


def test_a_required_suite_is_not_another_of_its_name_nor_a_part_of_it(
    save: Any, workspace: Workspace, model: Any
) -> None:
    trained = str(model([("a", "calm")]))
    found, real = result(trained, 100), result(trained, 150, suite="safety")
    spec = GateSpec.model_validate({"suite": "tones", "min": 0.5, "suites": {"safety": {"min": 0.9}}})
    report = save(found)
    save(real)
    save(replace(real, items=real.items[:20]), of=200)
    (whole,) = collect(workspace, spec, report, found, None).suites["safety"]
    assert len(whole.measured.items) == 200
    save(replace(real, suite_digest="e" * 64))
    assert len(collect(workspace, spec, report, found, None).suites["safety"]) == 2


def test_a_decoy_that_has_the_name_of_a_required_suite_alone_does_not_satisfy_it(
    save: Any, workspace: Workspace, model: Any, tmp_path: Path
) -> None:
    trained = str(model([("a", "calm")]))
    meant, decoy = tmp_path / "safety.yaml", tmp_path / "easy" / "safety.yaml"
    decoy.parent.mkdir()
    meant.write_text("samples: [{id: a, text: is it safe, target: 'no'}]")
    decoy.write_text("samples: [{id: a, text: say yes, target: 'yes'}]")
    found = result(trained, 150)
    report = save(found)
    digest = load_suite(decoy).digest
    save(replace(result(trained, 200, suite="safety"), suite_digest=digest), suite="safety")
    by_name = {"suite": "tones", "min": 0.5, "suites": {"safety": {"min": 0.9}}}
    by_file = {**by_name, "suites": {"safety": {"min": 0.9, "suite": str(meant)}}}
    for asked, decision in ((by_name, Decision.INCONCLUSIVE), (by_file, Decision.NO_GO)):
        spec = GateSpec.model_validate(asked)
        verdict = judge(spec, found, None, collect(workspace, spec, report, found, None))
        rows = {row.name: row for row in verdict.rows}
        assert next(row for name, row in rows.items() if "safety" in name).decision is decision
        assert verdict.decision is decision
    save(replace(result(trained, 200, suite="safety"), suite_digest=load_suite(meant).digest))
    spec = GateSpec.model_validate(by_file)
    verdict = judge(spec, found, None, collect(workspace, spec, report, found, None))
    assert next(row for row in verdict.rows if "safety" in row.name).decision is Decision.GO


def test_a_file_under_the_name_of_a_shipped_suite_is_refused(save: Any, workspace: Workspace) -> None:
    named = {"suite": "tones", "suites": {"clinc150": {"min": 0.9, "suite": "elsewhere/clinc150.yaml"}}}
    found = result("m", 100)
    with pytest.raises(AskError, match=r"name of an installed one, and elsewhere/clinc150\.yaml is another"):
        collect(workspace, GateSpec.model_validate(named), save(found), found, None)


def test_of_suites_with_one_name_the_shipped_one_is_meant(
    save: Any, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = "a" * 64
    monkeypatch.setitem(SHIPPED, "toy", lambda: SimpleNamespace(digest=shipped))
    real, decoy = (replace(result("m", 9, suite="toy"), suite_digest=d) for d in (shipped, "e" * 64))
    save(decoy)
    assert required_reports(workspace.artifacts, "m", "toy") == ()
    save(real)
    (only,) = required_reports(workspace.artifacts, "m", "toy")
    assert only.measured.suite_digest == shipped


def test_leaked_items_of_a_required_suite_are_known_by_the_training_rows(
    save: Any, workspace: Workspace, model: Any
) -> None:
    trained = str(model([("text 3", "calm")]))
    save(result(trained, 150, suite="safety"), leaked=1)
    (held,) = required_reports(workspace.artifacts, trained, "safety")
    (left,) = required_reports(workspace.artifacts, trained, "safety", leave_out=True)
    assert held.leaked is None and set(left.leaked or ()) == {"t0003"}


def test_items_of_a_required_suite_that_chose_the_weights_are_counted(
    save: Any, workspace: Workspace, tmp_path: Path
) -> None:
    (folder := tmp_path / "chosen").mkdir()
    told = selection_document(Suite("safety", (Sample.of("i", "Text 3", "calm"),)), [(1, 0.5)])
    (folder / SELECTION).write_text(json.dumps(told))
    chosen = str(workspace.artifacts.save(CheckpointRef, folder, {}, []))
    save(result(chosen, 150, suite="safety"))
    (report,) = required_reports(workspace.artifacts, chosen, "safety")
    assert report.chose.total() == 1


def test_what_stable_can_lose_is_read_from_its_reports(save: Any, workspace: Workspace, model: Any) -> None:
    trained = model([("a", "calm")])
    save(result(str(trained), 180), {"majority": "calm"})
    figures = stable_figures(workspace.artifacts, trained, "tones")
    assert figures.on(None) == 0.9 and figures.trivial == 0.75
    assert stable_figures(workspace.artifacts, trained, "other").on(None) is None


def test_a_damaged_loss_file_or_missing_rows_leave_a_finding_out(
    save: Any, workspace: Workspace, tmp_path: Path
) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    (folder / "validation.jsonl").write_text('{"val_loss": "high"}\nnot json\n')
    bare = workspace.artifacts.save(CheckpointRef, folder, {}, [DatasetRef.of("a" * 64)])
    found = result(str(bare), 100)
    known = collect(workspace, SPEC, save(found), found, None)
    assert known.losses is None and known.answers_trained is None


def test_earlier_verdicts_on_the_suite_are_counted_by_model_and_by_size(
    save: Any, workspace: Workspace, model: Any
) -> None:
    """Another model was judged, this one was on fewer items; a report that nobody judged does not count."""
    mine, other, third = (str(model([(name, "calm")])) for name in "abc")
    judged = [save(result(mine, 40, n=50)), save(result(other, 150))]
    save(result(third, 150))
    who: dict[str, Any] = {
        "principal": Principal("tester", ("releaser",), "test"),
        "step": "eval.gate",
        "skill": "gate",
    }
    for number, report in enumerate(judged):
        run = {**who, "run": f"run-{number}"}
        Ledger.of(workspace).append(Phase.INTENT, **run, request={"report": report})
        verdict = {"verdict": {"decision": "INCONCLUSIVE", "rows": []}}
        Ledger.of(workspace).append(Phase.DONE, **run, result=verdict)
    found = result(mine, 180)
    known = collect(workspace, SPEC, save(found), found, None)
    assert known.candidates == 2 and known.looks == (50,) and known.looks_at_others == ()
    elsewhere = result(mine, 180, suite="tones")
    moved = EvalResult(elsewhere.model, "tones", "e" * 64, (), elsewhere.items)
    version = collect(workspace, SPEC, save(moved), moved, None)  # another version of the suite
    assert version.candidates == 1 and version.looks == () and version.looks_at_others == (50,)
