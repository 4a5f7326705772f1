"""The `retrain` skill: a drift alarm becomes a plan for a person to read, judge and run; it runs nothing."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from ..core.artifacts import CheckpointRef, DatasetRef, DriftReportRef, GuardrailRef
from ..core.contract import Cost, Effect, InputPath, Request, Result, StepContext, skill
from ..core.errors import AskError
from ..core.files import sha256_json, write_atomically
from ..core.gate import Share
from ..core.suite_source import SuiteSource, resolved
from ..data.read import Layout
from ..serving.releases import EndpointName

if TYPE_CHECKING:
    from ..core.artifacts import Artifact
    from ..core.machine import Machine
    from ..core.workspace import Workspace

_OLD, _NEW = "known", "new"  # slices: what the model knew, and what it is to learn


class RetrainRequest(Request):
    """Which alarm, what to learn from, and what the new model must reach."""

    alarm: DriftReportRef = Field(description="Drift report that raised the alarm.")
    new_data: InputPath = Field(description="File or folder with labelled texts of what is new.")
    layout: Layout = Field(Layout.AUTO, description="Layout of the new data.")
    split: str | None = Field(None, description="The new data's own split to read; empty: its default.")
    domains: tuple[str, ...] = Field(
        (), description="Domains of the new data to learn; they are also judged by themselves. Empty: all."
    )
    text_column: str = Field("text", min_length=1, description="Column or JSON key of the text.")
    label_column: str = Field("label", min_length=1, description="Column or JSON key of the label.")
    domain_column: str | None = Field(None, description="Column or JSON key of the domain, if there is one.")
    replay: DatasetRef | None = Field(
        None, description="Earlier dataset to mix in; empty: the one the alarm was measured against."
    )
    replay_ratio: float = Field(
        1.0, ge=0, le=100, description="Rows of the earlier dataset for each new row; 0 mixes in none."
    )
    base: CheckpointRef | None = Field(
        None, description="Checkpoint to start from; empty: the one behind the endpoint's stable release."
    )
    endpoint: EndpointName | None = Field(
        None, description="Endpoint to release to; empty: the one of the alarm."
    )
    suite: SuiteSource | None = Field(
        None, description="Suite that judges the new model; empty: the one its base was last measured on."
    )
    epochs: int = Field(3, ge=1, le=100, description="Passes over the mixed data.")
    target: str = Field("onnx-int8", min_length=1, description="Engine to build, as build-engine names it.")
    min_overall: Share | None = Field(None, description="Gate: least exact match over all items, 0 to 1.")
    min_new: Share = Field(0.7, description="Gate: least exact match on the new domains, 0 to 1.")
    max_drop: Share = Field(
        0.05,
        description="Gate: largest drop against the stable release, over all items and on the old "
        "domains, above 0 and below 1.",
    )
    canary_percent: Annotated[int, Field(ge=1, le=99)] = Field(
        10, description="Percent of sessions that meet the new model before it is promoted."
    )
    budget_minutes: Annotated[float, Field(gt=0)] | None = Field(
        30, description="Wall minutes the plan may take; empty: no limit."
    )
    force: bool = Field(False, description="Propose a plan although the report shows no alarm.")


class RetrainResult(Result):
    """The proposed plan; nothing has been run."""

    plan_file: str = Field(description="Where the plan lies, ready to read, change and run.")
    plan_id: str = Field(description="Id of the plan as it was written.")
    plan_yaml: str = Field(description="Its text.")
    message: str = Field(description="What to do next, in one sentence.")


def _estimate(request: RetrainRequest, machine: Machine, workspace: Workspace) -> Cost:
    return Cost(minutes=0.05, gpu_hours=0, disk_bytes=10_000, usd=0)


@skill(
    effect=Effect.WRITES,  # a plan file in the workspace, and nothing else: what it says runs only when asked
    summary="Propose a plan that retrains on new data after a drift alarm, judges, and releases as a canary.",
    phrases=["propose a retraining after {alarm}", "retrain {endpoint} on {new_data}"],
    estimate=_estimate,
    reusable=False,
)
def retrain(request: RetrainRequest, ctx: StepContext) -> RetrainResult:
    """Write a plan from a drift alarm: curate with replay, fine-tune, build, judge, guard, canary, promote.

    The plan is compiled before it is written, so it can be run unchanged. Raises AskError when the report
    shows no alarm (unless forced) or is of another endpoint.

    Example: `/retrain alarm=drift-report:1a2b3c new_data=new.csv domains=small_talk,meta`
    """
    alarm = ctx.artifacts.open(request.alarm)
    endpoint = _endpoint(request, alarm)
    stable = _stable(ctx.workspace, endpoint)
    if request.replay is None and alarm.facts["reference"] is None:
        raise AskError(
            f"{request.alarm.short} compared earlier traffic, and what the model learned from is not known. "
            "Name a dataset as `replay`."
        )
    replay = request.replay or DatasetRef(alarm.facts["reference"])
    old = [d for d in ctx.artifacts.open(replay).facts.get("domains", ()) if d not in request.domains]
    base = request.base or _base(ctx, endpoint, stable)
    suite = request.suite or _suite(ctx, base, stable)
    training = _training(ctx, base)
    plan = _Proposal(request, alarm, endpoint, replay, base, old, stable, suite, training)
    text = plan.text()
    plan_id = _compiled_id(text)
    folder = ctx.workspace.plans / "proposals"
    path = folder / f"retrain-{endpoint}-{sha256_json(text)[:12]}.yaml"
    write_atomically(path, text.encode())
    ctx.log(f"proposed {path}")
    return RetrainResult(
        plan_file=str(path),
        plan_id=plan_id,
        plan_yaml=text,
        message=f"nothing was run: read {path}, then `opswright run {path}`",
    )


def _endpoint(request: RetrainRequest, alarm: Artifact) -> str:
    watched = str(alarm.facts["endpoint"])
    if request.endpoint is not None and request.endpoint != watched:
        raise AskError(
            f"the report {request.alarm.short} is of endpoint '{watched}', not '{request.endpoint}'. "
            f"Leave `endpoint` out, or run drift on '{request.endpoint}'."
        )
    if not alarm.facts["alarm"] and not request.force:
        smallest = min(test["p_corrected"] for test in alarm.facts["tests"].values())
        raise AskError(
            f"{request.alarm.short} shows no alarm on '{watched}' (smallest corrected p {smallest:.2g}, "
            f"alarm at {alarm.facts['alpha']:g}), so there is nothing to retrain for. With `force=true` it "
            "proposes a plan anyway."
        )
    return watched


def _stable(workspace: Workspace, endpoint: str) -> Any:
    from ..serving.rollout import stable_release

    return stable_release(workspace, endpoint)


def _base(ctx: StepContext, endpoint: str, stable: Any) -> CheckpointRef:
    """The checkpoint behind the stable release."""
    if stable is None:
        raise AskError(
            f"endpoint '{endpoint}' has no stable release to start from. Name a checkpoint as `base`."
        )
    parents = ctx.artifacts.open(stable.bundle).parents
    found = next((ref for ref in parents if isinstance(ref, CheckpointRef)), None)
    if found is None:
        raise AskError(
            f"the stable release of '{endpoint}' does not say which checkpoint it is. Name it as `base`."
        )
    return found


def _suite(ctx: StepContext, base: CheckpointRef, stable: Any) -> str:
    """The suite that the base, or the bundle that is served, was measured on last, where it has a name."""
    from ..evals.suites import suite_names

    models = {str(base), str(stable.bundle) if stable else ""}
    for _, manifest in ctx.artifacts.list("eval-report"):  # newest first
        facts = manifest["facts"]
        if facts["model"] in models and facts["suite"] in suite_names():
            return str(facts["suite"])
    raise AskError(
        f"no report says by which suite {base.short} is judged. Name one as `suite`: its name, or its file."
    )


def _training(ctx: StepContext, base: CheckpointRef) -> dict[str, Any]:
    """How a checkpoint was trained, for the plan to show: method, and the settings of its own recipe.

    What its recipe does not say, `finetune` decides by the base.
    """
    from .finetune.base import own_recipe
    from .finetune.tuning import inherited

    checkpoint = ctx.artifacts.open(base)
    method = checkpoint.facts.get("method", "sft")
    if method not in ("sft", "lora", "qlora"):
        method = "sft"
    return {"method": method, **inherited(own_recipe(checkpoint.path) or {}, method != "sft")}


def _compiled_id(text: str) -> str:
    """The id of the plan's text; AskError, with its line, for what would not run."""
    from ..core.compile import compile_plan
    from ..core.plan_file import parse_plan
    from . import load_registry

    return compile_plan(parse_plan(text, "the proposed plan"), load_registry()).id


class _Proposal:
    """The parts of one plan file, each with the sentence a reader needs."""

    def __init__(
        self,
        request: RetrainRequest,
        alarm: Artifact,
        endpoint: str,
        replay: DatasetRef,
        base: CheckpointRef,
        old_domains: Sequence[str],
        stable: Any,
        suite: str | Path,
        training: Mapping[str, Any],
    ) -> None:
        from ..evals.suites import load_suite

        self.suite, self.metric = resolved(suite), load_suite(suite).specs[0].metric
        self.request, self.alarm, self.endpoint, self.replay, self.base = (
            request,
            alarm,
            endpoint,
            replay,
            base,
        )
        self.training = training
        self.slices = {_OLD: list(old_domains), _NEW: list(request.domains)}
        self.slices = {name: domains for name, domains in self.slices.items() if domains}
        self.guardrails: GuardrailRef | None = stable.guardrails if stable else None

    def text(self) -> str:
        """The plan file."""
        top: dict[str, Any] = {"goal": f"Retrain {self.endpoint} after a drift alarm"}
        if self.request.budget_minutes is not None:
            top["budget"] = {"minutes": self.request.budget_minutes}
        steps = "".join(
            textwrap.indent(_yaml({name: step}, message), "  ") for name, step, message in self._steps()
        )
        return "".join(
            [
                self._why(),
                _yaml(top),
                _yaml({"gates": {"release": self._gate()}}, "Fixed before training; what it says is final."),
                f"steps:\n{steps}",
            ]
        )

    def _why(self) -> str:
        """The header: figures only, for what users wrote has no place in a plan."""
        facts = self.alarm.facts
        verdict = "raised an alarm" if facts["alarm"] else "raised NO alarm; this plan was forced"
        lines = [
            "Proposed by `retrain`; nothing of it has run. Read, change, then: opswright run <this file>",
            "",
            f"Why: drift on '{self.endpoint}' {verdict}. {facts['n']} requests, {facts['first']} to "
            f"{facts['last']},",
            f"against {DatasetRef(facts['reference']).short}; alarm where the corrected p-value is at most "
            f"{facts['alpha']:g}:",
            *(
                f"  {name:<11} p = {test['p_corrected']:<9.2g} {'ALARM' if test['alarm'] else 'quiet'}"
                for name, test in facts["tests"].items()
            ),
            f"The texts that moved it are in examples.json of {self.alarm.ref.short}.",
        ]
        return "".join(f"# {_one_line(line)}".rstrip() + "\n" for line in lines)

    def _gate(self) -> dict[str, Any]:
        slices: dict[str, Any] = {}
        if _OLD in self.slices:
            slices[_OLD] = {"max_drop": self.request.max_drop}
        if _NEW in self.slices:
            slices[_NEW] = {"min": self.request.min_new}
        gate: dict[str, Any] = {"suite": self.suite, "metric": self.metric, "against": "stable"}
        gate |= {"endpoint": self.endpoint, "alpha": 0.05, "max_drop": self.request.max_drop}
        if self.request.min_overall is not None:
            gate["min"] = self.request.min_overall
        return gate | ({"slices": slices} if slices else {})

    def _steps(self) -> list[tuple[str, dict[str, Any], str]]:
        request = self.request
        rails: Any = self.guardrails or "${rails.guardrails}"
        steps = [
            ("golden", _step("golden", suite=self.suite), "What the gate asks must not be learnt."),
            ("data", _step("curate", **self._curate()), self._says_of_data()),
            (
                "model",
                _step(
                    "finetune", data="${data.dataset}", base=self.base, epochs=request.epochs, **self.training
                ),
                "Goes on from the checkpoint that is served, as that was trained.",
            ),
            (
                "eval",
                _step("evaluate", model="${model.checkpoint}", suite=self.suite, slices=self.slices)
                | {"gate": "release"},
                "NO_GO ends the plan here.",
            ),
            (
                "engine",
                _step(
                    "build-engine",
                    model="${model.checkpoint}",
                    target=request.target,
                    parity_suite=self.suite,
                ),
                "Must answer as the checkpoint that was judged.",
            ),
            ("rails", _step("guardrails"), "The endpoint has no rails yet."),
            (
                "live",
                _step(
                    "deploy",
                    bundle="${engine.bundle}",
                    guardrails=rails,
                    endpoint=self.endpoint,
                    canary_percent=request.canary_percent,
                ),
                f"A canary: {request.canary_percent} % of sessions meet it; the rails stay as they are."
                if self.guardrails
                else f"A canary: {request.canary_percent} % of sessions meet it.",
            ),
            (
                "promote",
                _step("promote", endpoint=self.endpoint) | {"after": ["live"]},
                "For everybody, once its probes hold against the stable release.",
            ),
        ]
        return [step for step in steps if step[0] != "rails" or self.guardrails is None]

    def _curate(self) -> dict[str, Any]:
        request = self.request
        arguments: dict[str, Any] = {"source": Path(request.new_data).resolve().as_posix()}
        arguments |= {"layout": request.layout.value, "golden": "${golden.dataset}"}
        for name in ("split", "domain_column"):
            if (value := getattr(request, name)) is not None:
                arguments[name] = value
        for name, usual in (("text_column", "text"), ("label_column", "label")):
            if (value := getattr(request, name)) != usual:
                arguments[name] = value
        if request.domains:
            arguments["domains"] = list(request.domains)
        if request.replay_ratio > 0:
            arguments |= {"replay": self.replay, "replay_ratio": request.replay_ratio}
        return arguments

    def _says_of_data(self) -> str:
        if self.request.replay_ratio > 0:
            return f"New data, and {self.request.replay_ratio:g} earlier rows for each new one."
        return "New data alone: expect the model to forget what it knew; replay_ratio mixes earlier rows in."


def _one_line(text: str) -> str:
    """A comment's line: what does not print could end the comment and begin a step."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _step(name: str, /, **arguments: Any) -> dict[str, Any]:
    return {"skill": name} | ({"with": arguments} if arguments else {})


def _yaml(value: Mapping[str, Any], message: str = "") -> str:
    """A part of a plan as YAML, below its sentence."""
    import yaml

    plain = yaml.safe_dump(_plain(value), sort_keys=False, width=110)
    return (f"# {message}\n" if message else "") + plain


def _plain(value: Any) -> Any:
    """The value without the string types of references, which YAML would tag."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return str(value) if isinstance(value, str) else value
