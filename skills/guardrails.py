"""The `guardrails` skill: a NeMo Guardrails config becomes deployable once it does what it promises."""

from __future__ import annotations

import json
import shutil
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..core.artifact_refs import GuardrailRef
from ..core.contract import Cost, Effect, Finding, InputPath, Request, Result, StepContext, skill
from ..core.errors import AskError
from ..core.files import canonical_json
from ..core.install import not_installed

if TYPE_CHECKING:
    from ..core.machine import Machine
    from ..core.workspace import Workspace
    from ..serving.rails import RailDecision, Rails

_SHOWN_FAILURES = 10
_SLOWEST_MS = 250.0
# Repeated to the full length, these make patterns that backtrack badly take seconds instead of milliseconds.
_PROBES = ("n", "n ", "1 ", "n.", "--", "ignore all ", "you are the ", "x@")


class GuardrailsRequest(Request):
    """Which config, and what it must block and let pass."""

    config: InputPath | None = Field(
        None, description="Folder with config.yml and Colang 1 flows; empty: the shipped ones."
    )
    must_block: InputPath | None = Field(
        None, description="JSONL of texts to block (text, rail, direction); empty: the shipped one."
    )
    must_pass: InputPath | None = Field(
        None, description="JSONL of texts to let pass (text, direction); empty: the shipped one."
    )
    max_characters: Annotated[int, Field(ge=1, le=20_000)] | None = Field(
        None, description="Characters a text may have; empty: as the config says."
    )
    topics: tuple[Annotated[str, Field(min_length=3, max_length=60)], ...] = Field(
        (), description="More off-limits topics, each a word or phrase that is blocked verbatim."
    )


class GuardrailsResult(Result):
    """A config that held on both sets."""

    guardrails: GuardrailRef
    blocked: int = Field(description="Texts of the must-block set, all blocked by the rail they name.")
    passed: int = Field(description="Texts of the must-pass set, all let through.")
    check_p50_ms: float = Field(description="Median time of one check, in milliseconds.")
    load_seconds: float = Field(description="Time the config took to load, in seconds.")


class RailCase(BaseModel):
    """One text and what the rails must do with it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = ""
    text: str
    direction: Literal["input", "output"] = "input"
    rail: str | None = Field(None, description="Rail that must object; only for texts to block.")
    source: str = ""


def _preflight(request: GuardrailsRequest, machine: Machine, workspace: Workspace) -> list[Finding]:
    if finding := not_installed(["nemoguardrails"], "guard"):
        return [finding]
    return [
        Finding(level="ok", message="NeMo Guardrails is installed; its rails run offline, without a model.")
    ]


def _estimate(request: GuardrailsRequest, machine: Machine, workspace: Workspace) -> Cost:
    return Cost(minutes=0.1, gpu_hours=0, disk_bytes=100_000, usd=0)


@skill(
    effect=Effect.WRITES,
    summary="Check a NeMo Guardrails config on what it must block and let pass, and make it deployable.",
    phrases=[
        "check the guardrails",
        "check the rails",
        "forbid questions about {topics}",
        "block anything about {topics}",
        "forbid anything about {topics}",
        "block any talk of {topics}",
        "block any talk about {topics}",
        "block talk of {topics}",
        "forbid talking about {topics}",
        "forbid that people speak about {topics}",
        "forbid that users talk about {topics}",
        "check the guardrails in {config}",
        "make guardrails from {config}",
        "make guardrails",
        "make the guardrails",
        "make rails from {config}",
        "build guardrails from {config}",
        "build guardrails",
        "create guardrails from {config}",
        "create guardrails",
        "set up guardrails",
        "add guardrails",
        "test the guardrails",
        "test the rails",
        "block talk about {topics}",
        "block {topics}",
        "block questions about {topics}",
        "forbid talk about {topics}",
        "forbid {topics}",
        "keep users from talking about {topics}",
        "validate the guardrails",
        "validate the rails",
        "check the guardrail config in {config}",
        "test the guardrails in {config}",
        "test the rails in {config}",
        "check the rails in {config}",
        "set up the rails",
        "add {topics} as an off-limits topic",
        "make {topics} off limits",
        "guardrails that block talk about {topics}",
        "guardrails that block {topics}",
        "guardrails which block {topics}",
        "guardrails that forbid {topics}",
        "guardrails that forbid questions about {topics}",
        "guardrails which forbid questions about {topics}",
        "guardrails that block questions about {topics}",
        "guardrails which forbid {topics}",
        "guardrails against {topics}",
        "guardrails from {config}",
        "ban {topics}",
        "ban questions about {topics}",
        "ban talk about {topics}",
        "ban any talk of {topics}",
        "prohibit {topics}",
        "prohibit questions about {topics}",
        "refuse questions about {topics}",
        "make guardrails against {topics}",
        "build guardrails against {topics}",
        "build guardrails that block {topics}",
        "set up guardrails against {topics}",
        "guardrails for {topics}",
        "guardrails blocking {topics}",
        "rails that block {topics}",
        "forbid the topics {topics}",
        "block the topics {topics}",
        "keep {topics} out of the chat",
        "off limits {topics}",
        "stop talk about {topics}",
        "stop users from talking about {topics}",
        "stop people from asking about {topics}",
        "stop questions about {topics}",
        "stop anything about {topics}",
        "prevent questions about {topics}",
        "prevent talk about {topics}",
        "reject questions about {topics}",
        "refuse talk about {topics}",
        "refuse anything about {topics}",
        "block anything on {topics}",
        "block questions on {topics}",
        "block talk on {topics}",
        "block messages about {topics}",
        "block texts about {topics}",
        "block conversations about {topics}",
        "forbid questions on {topics}",
        "ban anything about {topics}",
        "guardrails with the topics {topics}",
        "guardrails with topics {topics}",
        "make rails against {topics}",
        "make rails that block {topics}",
        "write guardrails against {topics}",
        "prepare guardrails from {config}",
        "prepare guardrails against {topics}",
        "put up guardrails against {topics}",
        "put rails up against {topics}",
        "verify the guardrails",
        "verify the rails",
        "check the guardrails config in {config}",
        "check the guardrails from {config}",
        "package the guardrails from {config}",
        "package the rails in {config}",
        "make the rails in {config} deployable",
        "make the guardrails in {config} deployable",
        "filter out {topics}",
        "disallow {topics}",
        "disallow questions about {topics}",
        "disallow talk about {topics}",
        "outlaw {topics}",
    ],
    preflight=_preflight,
    estimate=_estimate,
)
def guardrails(request: GuardrailsRequest, ctx: StepContext) -> GuardrailsResult:
    """Run a guardrails config on its must-block and must-pass sets; only one that holds becomes an artifact.

    A text blocked because a rail failed, or by another rail than it names, does not count as blocked.
    Raises AskError listing what did not hold, or when the config holds code.

    Example: `/guardrails max_characters=500`
    """
    from ..serving.rails import SHIPPED, load_rails, read_config

    source = request.config or SHIPPED / "config"
    read_config(source)
    must_block = _items(request.must_block or SHIPPED / "must_block.jsonl")
    must_pass = _items(request.must_pass or SHIPPED / "must_pass.jsonl")
    with ctx.artifacts.staging() as stage:
        shutil.copytree(source, stage / "config")
        _adjust(stage / "config", request)
        started = time.perf_counter()
        rails = load_rails(stage / "config")
        load_seconds = time.perf_counter() - started
        report, times_ms = _run(rails, must_block, must_pass, ctx)
        _refuse_failures(source, report)
        _refuse_slow(source, rails)
        (stage / "report.json").write_bytes(canonical_json(report))
        tests = {
            "must_block": [i.model_dump() for i in must_block],
            "must_pass": [i.model_dump() for i in must_pass],
        }
        (stage / "tests.json").write_bytes(canonical_json(tests))
        ref = ctx.artifacts.save(GuardrailRef, stage, _facts(rails, must_block, must_pass))
    p50_ms = statistics.median(times_ms)
    ctx.metric("check_p50_ms", p50_ms)
    return GuardrailsResult(
        guardrails=ref,
        blocked=len(must_block),
        passed=len(must_pass),
        check_p50_ms=round(p50_ms, 3),
        load_seconds=round(load_seconds, 2),
    )


def _items(path: Path) -> tuple[RailCase, ...]:
    """The items of a JSONL file; AskError names the first line that is none, or an empty file."""
    if not path.is_file():
        raise AskError(f"file {path} not found. Expected JSONL: one object with a `text` per line.")
    items = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if not line.strip():
            continue
        try:
            items.append(RailCase.model_validate_json(line))
        except ValidationError as error:
            fault = error.errors()[0]
            where = ".".join(map(str, fault["loc"])) or "the line"
            raise AskError(f"{path} line {number}: {where}: {fault['msg']}.") from error
    if not items:
        raise AskError(f"{path} is empty. Add at least one text.")
    return tuple(
        item if item.id else item.model_copy(update={"id": f"{n}"}) for n, item in enumerate(items, 1)
    )


def _adjust(folder: Path, request: GuardrailsRequest) -> None:
    """Write the request's own length and topics into the copied config."""
    if request.max_characters is None and not request.topics:
        return
    import re

    import yaml

    sheet = next(path for path in folder.iterdir() if path.suffix in (".yml", ".yaml"))
    raw = yaml.safe_load(sheet.read_text())
    rails = raw.setdefault("custom_data", {}).setdefault("rails", {})
    if request.max_characters is not None:
        rails.setdefault("length", {})["max_characters"] = request.max_characters
        rails["length"].pop("message", None)  # it names the config's own length
    if request.topics:
        topics = rails.setdefault("topics", {}).setdefault("off_limits", {})
        for phrase in request.topics:
            plain = " ".join(phrase.casefold().split())
            topics[plain] = {"patterns": [rf"(?<!\w){re.escape(plain)}(?!\w)"]}
        if "topics" not in rails.get("input", ["topics"]):
            rails["input"].append("topics")
    sheet.write_text(yaml.safe_dump(raw, sort_keys=False, allow_unicode=True, width=110))


def _run(
    rails: Rails, must_block: Sequence[RailCase], must_pass: Sequence[RailCase], ctx: StepContext
) -> tuple[list[dict[str, Any]], list[float]]:
    """Every item's decision, and each check's milliseconds."""
    rows: list[dict[str, Any]] = []
    times_ms: list[float] = []
    total = len(must_block) + len(must_pass)
    for wanted, item in _both(must_block, must_pass):
        started = time.perf_counter()
        check = rails.check_input if item.direction == "input" else rails.check_output
        decision = check(item.text)
        times_ms.append((time.perf_counter() - started) * 1000)
        rows.append(
            {
                "id": item.id,
                "must": wanted,
                "direction": item.direction,
                "text": item.text,
                "allowed": decision.allowed,
                "rail": decision.rail,
                "found": decision.found,
                "ok": _holds(wanted, item, decision),
            }
        )
        ctx.progress(len(rows), total, "texts")
    return rows, times_ms


def _both(must_block: Sequence[RailCase], must_pass: Sequence[RailCase]) -> Iterator[tuple[str, RailCase]]:
    yield from (("block", item) for item in must_block)
    yield from (("pass", item) for item in must_pass)


def _holds(wanted: str, item: RailCase, decision: RailDecision) -> bool:
    if wanted == "pass":
        return decision.allowed
    return not decision.allowed and decision.error is None and item.rail in (None, decision.rail)


def _refuse_failures(source: Path, report: Sequence[dict[str, Any]]) -> None:
    failed = [row for row in report if not row["ok"]]
    if not failed:
        return
    lines = [
        f"  {row['id']}: must {row['must']}, was "
        + ("let pass" if row["allowed"] else f"blocked by {row['rail']} ({row['found']})")
        + f": {json.dumps(row['text'][:70], ensure_ascii=False)}"
        for row in failed[:_SHOWN_FAILURES]
    ]
    more = [f"  and {len(failed) - _SHOWN_FAILURES} more"] if len(failed) > _SHOWN_FAILURES else []
    raise AskError(
        "\n".join(
            [
                f"the guardrails config {source} fails {len(failed)} of {len(report)} tests, so it cannot be "
                "deployed. Change its patterns, or the sets if they ask for the wrong thing:",
                *lines,
                *more,
            ]
        )
    )


def _refuse_slow(source: Path, rails: Rails) -> None:
    length = rails.what.length.max_characters
    for piece in _PROBES:
        started = time.perf_counter()
        rails.check_input((piece * length)[:length])
        took_ms = (time.perf_counter() - started) * 1000
        if took_ms > _SLOWEST_MS:
            raise AskError(
                f"the guardrails config {source} takes {took_ms:.0f} ms for {length} characters of "
                f"'{piece}' (at most {_SLOWEST_MS:.0f}): a pattern backtracks. Simplify it or lower "
                "length.max_characters."
            )


def _facts(rails: Rails, must_block: Sequence[RailCase], must_pass: Sequence[RailCase]) -> dict[str, Any]:
    from importlib.metadata import version

    what = rails.what
    return {
        "must_block": len(must_block),
        "must_pass": len(must_pass),
        "input": list(what.input),
        "output": list(what.output),
        "max_characters": what.length.max_characters,
        "topics": sorted(what.topics.off_limits) if what.topics else [],
        "pii": list(what.pii.kinds) if what.pii else [],
        "engine": f"nemoguardrails {version('nemoguardrails')}, Colang 1.0",
    }
