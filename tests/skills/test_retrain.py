"""The `retrain` skill: an alarm becomes a plan that compiles, says why, and is never run by itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from opswright.core.artifact_refs import (
    BundleRef,
    CheckpointRef,
    DatasetRef,
    DriftReportRef,
    EvalReportRef,
    GuardrailRef,
)
from opswright.core.compile import compile_plan
from opswright.core.contract import StepContext
from opswright.core.errors import AskError
from opswright.core.plan_file import read_plan_file
from opswright.serving.releases import EndpointState, Release, write_state
from opswright.skills import load_registry
from opswright.skills.retrain import RetrainRequest, RetrainResult, retrain

Context = Callable[..., StepContext]


def keep(ctx: StepContext, ref: Any, facts: dict[str, Any], parents: tuple[Any, ...] = ()) -> Any:
    with ctx.artifacts.staging() as stage:
        (stage / "report.json").write_text("{}")
        return ctx.artifacts.save(ref, stage, facts, parents)


def alarm_on(ctx: StepContext, endpoint: str = "support", alarm: bool = True, **more: Any) -> DriftReportRef:
    trained = keep(ctx, DatasetRef, {"domains": ["banking", "travel"], "rows": 3})
    p = 0.002 if alarm else 0.6
    tests = {
        name: {"statistic": 0.1, "p": p / 4, "p_corrected": p, "alarm": alarm}
        for name in ("embedding", "length")
    }
    facts = {"endpoint": endpoint, "alarm": alarm, "n": 300, "alpha": 0.01, "reference": str(trained)}
    facts |= {"first": "2026-11-20T10:00:00Z", "last": "2026-11-20T10:05:00Z", "tests": tests}
    ref: DriftReportRef = keep(ctx, DriftReportRef, facts | more, (trained,))
    return ref


def base(ctx: StepContext) -> CheckpointRef:
    ref: CheckpointRef = keep(ctx, CheckpointRef, {"base": "tiny"})
    return ref


@pytest.fixture
def new_data(tmp_path: Path) -> Path:
    path = tmp_path / "new.csv"
    path.write_text("text,label\nhow are you,greeting\n")
    return path


def proposed(ctx: StepContext, new_data: Path, **more: Any) -> tuple[RetrainResult, dict[str, Any]]:
    arguments = {"alarm": alarm_on(ctx), "new_data": new_data, "domains": ("meta",), "base": base(ctx)}
    arguments |= {"suite": "clinc150", "min_new": 0.7}
    result = retrain(RetrainRequest(**(arguments | more)), ctx)
    return result, yaml.safe_load(Path(result.plan_file).read_text())


def test_the_plan_goes_from_data_to_promotion_and_compiles_to_the_id_it_names(
    context: Context, new_data: Path
) -> None:
    result, plan = proposed(context(), new_data)
    skills = [step["skill"] for step in plan["steps"].values()]
    assert skills == [
        "golden", "curate", "finetune", "evaluate", "build-engine", "deploy", "promote",
    ]  # fmt: skip
    compiled = compile_plan(read_plan_file(Path(result.plan_file)), load_registry())
    assert compiled.id == result.plan_id
    assert [step.id for step in compiled.steps] == [
        "golden", "data", "model", "eval", "eval.gate", "engine", "live", "promote",
    ]  # fmt: skip
    assert plan["steps"]["live"]["with"]["canary_percent"] == 10


def trained(ctx: StepContext, method: str, lr: float, start: str) -> CheckpointRef:
    """A checkpoint with the recipe that made it."""
    model = {"_target_": f"nemo_automodel.NeMoAutoModelForCausalLM.{start}"}
    recipe: dict[str, Any] = {"model": model, "optimizer": {"lr": lr}, "dataset": {"max_tokens": 1024}}
    saves = start != "from_config"
    recipe["step_scheduler"] = {"num_epochs": 7, "global_batch_size": 128, "validate_on_checkpoint": saves}
    if method != "sft":
        recipe["peft"] = {"dim": 8, "alpha": 12, "target_modules": "q_proj"}
    with ctx.artifacts.staging() as stage:
        (stage / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        return ctx.artifacts.save(CheckpointRef, stage, {"base": "x", "method": method})


def test_the_model_is_trained_again_as_it_was_trained(context: Context, new_data: Path) -> None:
    ctx = context()
    of = {"data": "${data.dataset}", "epochs": 7, "batch_size": 128, "max_tokens": 1024}
    for method, lr, start, more in (
        ("sft", 2e-5, "from_pretrained", {"learning_rate": 2e-5, "keep": "best"}),
        (
            "lora",
            2e-4,
            "from_pretrained",
            {
                "learning_rate": 2e-4,
                "keep": "best",
                "lora_rank": 8,
                "lora_alpha": 12,
                "lora_targets": ["q_proj"],
            },
        ),
        (
            "sft",
            2e-3,
            "from_config",
            {"learning_rate": 1e-3, "keep": "last"},
        ),  # half, after a start from nothing
    ):
        checkpoint = trained(ctx, method, lr, start)
        _, plan = proposed(ctx, new_data, base=checkpoint)
        assert plan["steps"]["model"]["with"] == {**of, "base": checkpoint, "method": method, **more}


def test_a_recipe_that_is_no_recipe_leaves_the_settings_to_the_base(context: Context, new_data: Path) -> None:
    ctx = context()
    with ctx.artifacts.staging() as stage:
        (stage / "recipe.yaml").write_text("optimizer: [1\n")
        checkpoint = ctx.artifacts.save(CheckpointRef, stage, {"base": "x", "method": "../../x"})
    _, plan = proposed(ctx, new_data, base=checkpoint)
    assert set(plan["steps"]["model"]["with"]) == {"data", "base", "method"}
    assert plan["steps"]["model"]["with"]["method"] == "sft"


def test_old_and_new_domains_are_judged_by_themselves_against_the_stable_release(
    context: Context, new_data: Path
) -> None:
    _, plan = proposed(context(), new_data)
    gate = plan["gates"]["release"]
    assert gate["against"] == "stable"
    assert gate["slices"] == {"earlier": {"max_drop": 0.05}, "new": {"min": 0.7}}
    assert plan["steps"]["eval"]["with"]["slices"] == {
        "earlier": {"domain": ["banking", "travel"]},
        "new": {"domain": ["meta"]},
    }


def test_the_earlier_data_is_what_the_alarm_was_measured_against_unless_another_is_named(
    context: Context, new_data: Path
) -> None:
    ctx = context()
    _, plan = proposed(ctx, new_data)
    curate = plan["steps"]["data"]["with"]
    assert (curate["replay"], curate["replay_ratio"]) == (
        ctx.artifacts.open(alarm_on(ctx)).facts["reference"],
        1.0,
    )
    _, naive = proposed(ctx, new_data, replay_ratio=0)
    assert "replay" not in naive["steps"]["data"]["with"]
    assert naive["steps"]["eval"]["with"]["slices"]["earlier"] == {"domain": ["banking", "travel"]}


def test_the_file_says_why_in_figures_a_person_can_read(context: Context, new_data: Path) -> None:
    text = proposed(context(), new_data)[0].plan_yaml
    header = [line for line in text.splitlines() if line.startswith("#")]
    assert any("drift on 'support' raised an alarm. 300 requests" in line for line in header)
    assert any(line.split() == ["#", "embedding", "p", "=", "0.002", "ALARM"] for line in header)
    assert "nothing of it has run" in header[0]


def test_nothing_runs(context: Context, new_data: Path) -> None:
    ctx = context()
    before = len(ctx.artifacts.list())
    proposed(ctx, new_data)
    made = {ref.kind for ref, _ in ctx.artifacts.list()}
    assert before == 0 and made == {"dataset", "drift-report", "checkpoint"}  # what the test itself kept
    assert not ctx.workspace.endpoints.exists()


def test_the_stable_release_gives_the_base_and_keeps_its_rails(context: Context, new_data: Path) -> None:
    ctx = context()
    served = base(ctx)
    bundle = keep(ctx, BundleRef, {"target": "onnx-int8"}, (served,))
    rails = keep(ctx, GuardrailRef, {"must_block": 1})
    release = Release(id="support-1", number=1, bundle=bundle, guardrails=rails, made="2026-11-20T10:00:00Z")
    write_state(ctx.workspace, EndpointState(endpoint="support", stable=release))
    _, plan = proposed(ctx, new_data, base=None)
    assert plan["steps"]["model"]["with"]["base"] == served
    assert plan["steps"]["live"]["with"]["guardrails"] == rails
    assert "rails" not in plan["steps"]


def test_without_a_stable_release_the_base_has_to_be_named(context: Context, new_data: Path) -> None:
    with pytest.raises(AskError, match="no stable release to start from"):
        proposed(context(), new_data, base=None)


def test_a_quiet_report_is_no_reason_unless_forced(context: Context, new_data: Path) -> None:
    ctx = context()
    quiet = alarm_on(ctx, alarm=False)
    with pytest.raises(AskError, match=r"shows no alarm on 'support' \(smallest corrected p 0.6"):
        proposed(ctx, new_data, alarm=quiet)
    result, _ = proposed(ctx, new_data, alarm=quiet, force=True)
    assert "raised NO alarm; this plan was forced" in result.plan_yaml


def test_a_report_of_another_endpoint_is_refused(context: Context, new_data: Path) -> None:
    with pytest.raises(AskError, match="is of endpoint 'support', not 'sales'"):
        proposed(context(), new_data, endpoint="sales")


def test_what_the_data_says_cannot_add_a_step(context: Context, new_data: Path) -> None:
    ctx = context()
    evil = "x\nsteps: {pwn: {skill: rollback}}\u2028steps: {}"
    alarm = alarm_on(ctx, last=evil)
    new_data.write_text(f'"{evil}",label\nhow are you,greeting\n')
    _, plan = proposed(ctx, new_data, alarm=alarm, text_column=evil)
    assert "pwn" not in plan["steps"] and plan["steps"]["data"]["with"]["text_column"] == evil


def test_a_plan_that_would_not_compile_is_not_proposed(context: Context, new_data: Path) -> None:
    ctx = context()
    with pytest.raises(AskError, match="the proposed plan, line"):
        proposed(ctx, new_data, target="onnx-int2")
    assert not (ctx.workspace.plans / "proposals").exists()


def test_the_same_alarm_gives_the_same_plan(context: Context, new_data: Path) -> None:
    ctx = context()
    assert proposed(ctx, new_data)[0] == proposed(ctx, new_data)[0]


def test_the_suite_is_the_one_the_base_was_measured_on_unless_another_is_named(
    context: Context, new_data: Path
) -> None:
    ctx = context()
    with pytest.raises(AskError, match="no report says by which suite"):
        proposed(ctx, new_data, suite=None)
    keep(ctx, EvalReportRef, {"model": str(base(ctx)), "suite": "clinc150", "suite_digest": "d"})
    _, plan = proposed(ctx, new_data, suite=None)
    assert plan["steps"]["golden"]["with"]["suite"] == plan["gates"]["release"]["suite"] == "clinc150"
