"""A retraining where the endpoint's suite asks nothing of what is new: a part of the new rows joins it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from opswright.core.artifact_refs import BundleRef, CheckpointRef, DatasetRef, DriftReportRef, EvalReportRef
from opswright.core.compile import compile_plan
from opswright.core.contract import StepContext
from opswright.core.errors import AskError
from opswright.core.plan_file import read_plan_file
from opswright.core.principal import Principal
from opswright.data.golden import write_golden
from opswright.data.sample import Sample
from opswright.evals.judged_suite import judged_suite
from opswright.evals.report import facts_of
from opswright.evals.runner import EvalResult, SampleResult, to_lines
from opswright.evals.suites import load_suite
from opswright.evals.suites.extend import EARLIER_SLICE, NEW_SLICE
from opswright.record.ledger import Ledger, Phase
from opswright.serving.releases import EndpointState, Release, write_state
from opswright.skills import load_registry
from opswright.skills.curate import CurateRequest, curate
from opswright.skills.retrain import RetrainRequest, RetrainResult, retrain

Context = Callable[..., StepContext]
TINTS = ("red", "blue", "green", "white", "black", "amber", "ivory", "olive", "teal", "plum")
GOODS = ("mugs", "plates", "lamps", "chairs", "rugs", "clocks", "bowls", "vases", "desks", "trays")


def orders(verb: str, n: int, seed: int) -> list[tuple[str, str]]:
    """Requests in words, and the JSON they ask for."""
    drawn = random.Random(seed).sample([(k, t, g) for k in range(2, 60) for t in TINTS for g in GOODS], n)
    return [
        (f"please {verb} {k} {t} {g}", json.dumps({"do": verb, "count": k, "what": f"{t} {g}"}))
        for k, t, g in drawn
    ]


def write_rows(path: Path, rows: list[tuple[str, str]], names: tuple[str, str] = ("said", "call")) -> Path:
    lines = (json.dumps(dict(zip(names, row, strict=True))) for row in rows)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


@dataclass
class Shop:
    """An endpoint that is served, judged on its own suite and trained on its own data, and an alarm on it."""

    ctx: StepContext
    folder: Path
    suite: Path
    data: DatasetRef
    base: CheckpointRef
    bundle: BundleRef
    alarm: DriftReportRef

    def retrain(self, rows: list[tuple[str, str]], **more: Any) -> tuple[RetrainResult, dict[str, Any]]:
        new = write_rows(self.folder / "new.jsonl", rows)
        result = retrain(RetrainRequest(**({"alarm": self.alarm, "new_data": new} | more)), self.ctx)
        return result, yaml.safe_load(Path(result.plan_file).read_text())


def keep(ctx: StepContext, ref: Any, facts: dict[str, Any], *parents: Any, **files: bytes) -> Any:
    with ctx.artifacts.staging() as stage:
        (stage / "note.txt").write_text(json.dumps(facts))
        for name, data in files.items():
            (stage / name.replace("_", ".")).write_bytes(data)
        return ctx.artifacts.save(ref, stage, facts, parents)


def measured(ctx: StepContext, model: CheckpointRef, suite: Path, right: float) -> EvalReportRef:
    """A report on a suite in which so large a share is right."""
    loaded = load_suite(suite)
    items = tuple(
        SampleResult(
            one.id,
            one.question,
            one.answer or "",
            "x",
            {"json_exact": float(n < right * len(loaded.items))},
            (),
        )
        for n, one in enumerate(loaded.items)
    )
    found = EvalResult(
        str(model), loaded.name, loaded.digest, (), items, task="extract", scorers={"json_exact": True}
    )
    ref: EvalReportRef = keep(
        ctx, EvalReportRef, facts_of(found, len(items), {}), items_jsonl=to_lines(items)
    )
    return ref


def record(ctx: StepContext, report: EvalReportRef, suite: Path, verdict: str = "GO") -> None:
    """The records of a run that evaluated, and judged what it found."""
    who: dict[str, Any] = {
        "principal": Principal("tester", ("releaser",), "test"),
        "run": f"run-{suite.stem}",
    }
    ledger = Ledger.of(ctx.workspace)
    steps = [
        {"id": "eval", "skill": "evaluate", "effect": "writes"},
        {"id": "eval.gate", "skill": "gate", "effect": "reads"},
    ]
    ledger.append(
        Phase.PROPOSED,
        **who,
        plan="p" * 64,
        detail={"goal": "ship", "folder": str(suite.parent), "steps": steps},
    )
    asked = {"suite": suite.name, "max_new_tokens": 48}
    ledger.append(Phase.INTENT, **who, step="eval", skill="evaluate", request=asked)
    ledger.append(
        Phase.DONE, **who, step="eval", skill="evaluate", artifacts={"report": str(report)}, result={}
    )
    ledger.append(Phase.INTENT, **who, step="eval.gate", skill="gate", request={"report": str(report)})
    decided = {"verdict": {"decision": verdict, "rows": []}}
    ledger.append(Phase.DONE, **who, step="eval.gate", skill="gate", result=decided)


@pytest.fixture
def shop(context: Context, tmp_path: Path) -> Shop:
    ctx = context()
    rows = orders("order", 620, 1)
    source = write_rows(tmp_path / "orders.jsonl", rows[:500])
    columns = {"user": "said", "target": "call"}
    asked = {"source": source, "columns": columns, "task": "extract", "near_duplicate_jaccard": 1}
    request = CurateRequest(**asked, validation_fraction=0)
    data = curate(request, ctx).dataset
    samples = [Sample.of(f"golden-{n}", said, call) for n, (said, call) in enumerate(rows[500:])]
    write_golden(tmp_path / "golden.jsonl", samples, 0o600)
    suite = tmp_path / "shop.yaml"
    named = "samples: {file: golden.jsonl}\nscorers: [json_exact, json_valid]\n"
    suite.write_text(f"task: extract\n{named}max_new_tokens: 48\n")
    recipe = {"step_scheduler": {"num_epochs": 12, "global_batch_size": 32}, "dataset": {"max_tokens": 128}}
    base = keep(ctx, CheckpointRef, {"method": "sft"}, data, recipe_yaml=yaml.safe_dump(recipe).encode())
    bundle = keep(ctx, BundleRef, {"target": "onnx-fp32"}, base)
    release = Release(id="shop-1", number=1, bundle=bundle, engine="onnx-fp32", made="2026-11-20T10:00:00Z")
    write_state(ctx.workspace, EndpointState(endpoint="shop", stable=release))
    record(ctx, measured(ctx, base, suite, 0.9), suite)
    tests = {"embedding": {"statistic": 0.2, "p": 1e-4, "p_corrected": 2e-4, "alarm": True}}
    facts = {
        "endpoint": "shop",
        "alarm": True,
        "n": 300,
        "alpha": 0.01,
        "reference": str(data),
        "tests": tests,
    }
    facts |= {"first": "2026-11-20T10:00:00Z", "last": "2026-11-20T10:05:00Z"}
    said = {
        "texts": [
            {"text": "please cancel my red mugs", "output": "`{}`\n", "nearest": "please order 3 red mugs"},
            {"text": "# what\n- ever", "output": "", "nearest": "# what\n- ever"},
        ],
        "unknown_words": [["cancel", 40]],
    }
    alarm = keep(ctx, DriftReportRef, facts, data, examples_json=json.dumps(said).encode())
    return Shop(ctx, tmp_path, suite, data, base, bundle, alarm)


def test_a_part_of_the_new_rows_is_held_out_and_joins_the_endpoints_own_suite(shop: Shop) -> None:
    result, plan = shop.retrain(orders("cancel", 400, 2))
    suite = load_suite(Path(result.suite))
    assert (suite.name, suite.task, suite.specs[0].metric) == ("shop", "extract", "json_exact")
    assert suite.longest_answer == 48
    origins = [item.tags["origin"] for item in suite.items]
    assert origins.count("earlier") == 120 and origins.count("new") == result.new_samples >= 80
    assert set(suite.slices()) == {EARLIER_SLICE, NEW_SLICE}
    gate = plan["gates"]["release"]
    assert gate["suite"] == result.suite and gate["metric"] == "json_exact" and gate["against"] == "stable"
    assert set(gate["slices"]) == {EARLIER_SLICE, NEW_SLICE}
    assert plan["steps"]["golden"]["with"]["suite"] == result.suite


def test_stable_is_measured_on_the_same_items_before_the_gate_compares(shop: Shop) -> None:
    result, plan = shop.retrain(orders("cancel", 400, 2))
    stable, judged = plan["steps"]["stable"], plan["steps"]["eval"]
    assert stable["with"]["model"] == shop.base and stable["with"]["suite"] == result.suite
    assert judged["after"] == ["stable"] and judged["gate"] == "release"
    compiled = compile_plan(read_plan_file(Path(result.plan_file)), load_registry())
    assert compiled.id == result.plan_id
    order = [step.id for step in compiled.steps]
    assert order.index("stable") < order.index("eval") and order.index("eval.gate") == order.index("eval") + 1


def test_what_is_new_must_reach_three_quarters_of_what_stable_has_on_what_it_knows(shop: Shop) -> None:
    result, plan = shop.retrain(orders("cancel", 400, 2))
    bars = plan["gates"]["release"]["slices"]
    assert 0.5 < bars[NEW_SLICE]["min"] < 0.75 * 0.9
    assert bars[EARLIER_SLICE]["max_drop"] > 0.05  # 120 items cannot show 5 points
    assert "three quarters of stable's 90.0%" in result.plan_yaml
    asked = shop.retrain(orders("cancel", 400, 2), min_new=0.4, max_drop=0.1)[1]["gates"]["release"]
    assert asked["slices"] == {EARLIER_SLICE: {"max_drop": 0.1}, NEW_SLICE: {"min": 0.4}}


def test_everything_else_is_as_the_record_has_it(shop: Shop) -> None:
    _, plan = shop.retrain(orders("cancel", 400, 2))
    steps = {name: step.get("with", {}) for name, step in plan["steps"].items()}
    assert (
        steps["data"]["columns"] == {"user": "said", "target": "call"} and steps["data"]["task"] == "extract"
    )
    assert steps["data"]["near_duplicate_jaccard"] == 1 and steps["data"]["replay"] == shop.data
    wanted = {"base": shop.base, "epochs": 12, "batch_size": 32, "max_tokens": 128, "method": "sft"}
    assert steps["model"] == {"data": "${data.dataset}", **wanted}
    assert steps["engine"]["target"] == "onnx-fp32" and steps["engine"]["max_new_tokens"] == 48
    assert steps["eval"]["max_new_tokens"] == 48
    assert plan["budget"] == {"usd": 0} and "rails" not in plan["steps"]


def test_no_row_that_judges_was_learned_or_asked_before(shop: Shop) -> None:
    fresh = orders("cancel", 300, 2)
    known = orders("order", 620, 1)
    result, _ = shop.retrain([*fresh, *known])
    new = [item for item in load_suite(Path(result.suite)).items if item.tags["origin"] == "new"]
    assert len(new) > 40 and all(item.question.startswith("please cancel") for item in new)


def test_too_few_rows_to_judge_by_are_refused_and_leave_nothing(shop: Shop) -> None:
    with pytest.raises(AskError, match=r"gives 1\d rows to judge by .*; 20 are needed"):
        shop.retrain(orders("cancel", 45, 2))
    with pytest.raises(AskError, match="the proposed plan, line"):
        shop.retrain(orders("cancel", 400, 2), target="onnx-int2")
    with pytest.raises(AskError, match=r"no retraining could be shown good: .*cannot show a drop"):
        shop.retrain(orders("cancel", 400, 2), max_drop=0.01)
    assert not list((shop.ctx.workspace.plans / "proposals").glob("*"))


def test_rows_with_other_columns_are_read_by_their_names(shop: Shop) -> None:
    new = write_rows(shop.folder / "other.jsonl", orders("cancel", 400, 2), ("prompt", "completion"))
    result, plan = shop.retrain([], new_data=new)
    assert "columns" not in plan["steps"]["data"]["with"] and result.new_samples >= 80


def test_the_page_says_what_is_new_and_the_plan_quotes_no_user(shop: Shop) -> None:
    result, _ = shop.retrain(orders("cancel", 400, 2))
    page = Path(result.whats_new).read_text()
    assert "`please cancel my red mugs`" in page and "`cancel` (40)" in page
    assert "\n# what" not in page and "\n- ever" not in page  # what users wrote is no markup
    assert "cancel my red mugs" not in result.plan_yaml
    assert "Of the 2 texts that moved it most, 1 are more like a row of the new data" in result.plan_yaml


def test_the_next_retraining_counts_what_was_new_as_earlier(shop: Shop) -> None:
    first = Path(shop.retrain(orders("cancel", 400, 2))[0].suite)
    record(shop.ctx, measured(shop.ctx, shop.base, first, 0.9), first)
    assert judged_suite(shop.ctx.workspace, shop.bundle).source == first.as_posix()  # type: ignore[union-attr]
    result, _ = shop.retrain(orders("gift", 400, 3))
    items = load_suite(Path(result.suite)).items
    earlier = [item for item in items if item.tags["origin"] == "earlier"]
    assert len(earlier) == len(load_suite(first).items)
    assert any("cancel" in item.question for item in earlier)


def test_the_suite_is_the_one_a_gate_said_go_on_and_not_the_newest(shop: Shop) -> None:
    easy = shop.folder / "easy.yaml"
    easy.write_text(shop.suite.read_text())
    record(shop.ctx, measured(shop.ctx, shop.base, easy, 1.0), easy, "INCONCLUSIVE")
    found = judged_suite(shop.ctx.workspace, shop.bundle)
    assert found is not None and found.source == shop.suite.as_posix()
    assert found.arguments == {"max_new_tokens": 48} and found.value == 0.9


def test_a_suite_that_is_gone_is_said(shop: Shop) -> None:
    shop.suite.unlink()
    with pytest.raises(AskError, match=r"suite of eval-report.* cannot be read.*Name one as `suite`"):
        shop.retrain(orders("cancel", 400, 2))


def test_a_suite_with_an_origin_of_its_own_is_refused(shop: Shop) -> None:
    path = shop.folder / "golden.jsonl"
    items = load_suite(shop.suite).items
    write_golden(path, [replace(item, tags={"origin": "web"}) for item in items], 0o600)
    with pytest.raises(AskError, match="have a tag 'origin' of their own"):
        shop.retrain(orders("cancel", 400, 2), min_new=0.5)
