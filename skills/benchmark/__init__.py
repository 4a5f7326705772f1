"""The skill `benchmark`: how fast an endpoint answers under load, in the terms of the field's tools."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.artifact_refs import BenchmarkReportRef, BundleRef, CheckpointRef, PendingArtifact
from ...core.contract import Cost, Effect, Finding, StepContext, skill
from ...core.errors import AskError, OpswrightError
from ...core.files import sha256_json
from ...core.install import not_installed
from ...core.machine import Machine
from ...core.token_spending import most_tokens, usd_of
from ...core.workspace import Workspace
from .measuring import LoadTarget, count_tokens, measure, options_of
from .notes import notes_of
from .prompts import LoadPrompts, prompts_of
from .request import BenchmarkRequest, BenchmarkResult, LevelFigures

if TYPE_CHECKING:
    from ...evals.load.level import Level

__all__ = ["BenchmarkRequest", "BenchmarkResult", "LevelFigures", "benchmark"]


def _preflight(request: BenchmarkRequest, machine: Machine, workspace: Workspace) -> Sequence[Finding]:
    from ...evals.load.figures import check_goodput

    if finding := not_installed(["aiohttp", "httpx"], "serve"):
        return [finding]
    found = []
    try:
        for key in filter(None, (request.key, request.against_key)):
            key.resolve()
        check_goodput(request.goodput)
        for what in filter(None, (request.model, request.against)):
            found += _about(what, request, workspace)
        prompts = prompts_of(request, workspace)
        found.append(Finding(level="ok", message=f"{len(prompts.chats)} prompts of {prompts.source}."))
    except PendingArtifact as error:
        found.append(Finding(level="ok", message=f"checked when it runs: {error}."))
    except OpswrightError as error:
        found.append(Finding(level="stop", message=str(error)))
    return found


def _about(what: BundleRef | str, request: BenchmarkRequest, workspace: Workspace) -> list[Finding]:
    """What to know before a bundle is served, or an endpoint loaded."""
    if isinstance(what, BundleRef):
        if workspace.settings.serving.external.urls:
            message = "settings name Triton servers of somebody else: no benchmark loads models there."
            fix = "Deploy the bundle, and measure the endpoint's address."
            return [Finding(level="stop", message=message, fix=fix)]
        from ...serving.rollout.checks import engine_findings

        return engine_findings(workspace, what)
    sent = len(request.concurrency) * (request.requests + request.warmup)
    load = (
        f"{sent:,} requests are" if request.seconds is None else f"{request.seconds:g} s of load a level are"
    )
    message = f"{load} sent to {what}, {max(request.concurrency)} at a time."
    fix = "Make sure that it is yours to load, and what it costs."
    return [Finding(level="warn", message=message, fix=fix)]


def _estimate(request: BenchmarkRequest, machine: Machine, workspace: Workspace) -> Cost:
    """Minutes where levels last a given time, else unknown; tokens at most, and dollars where priced."""
    levels = len(request.concurrency) * (1 if request.against is None else 2)
    minutes = None if request.seconds is None else levels * (request.seconds + request.timeout_s / 4) / 60
    is_ours = all(isinstance(one, BundleRef | None) for one in (request.model, request.against))
    tokens, usd = (0, 0) if is_ours else _asked(request, workspace)
    return Cost(minutes=minutes, gpu_hours=0, disk_bytes=20_000_000, usd=usd, tokens=tokens)


def _asked(request: BenchmarkRequest, workspace: Workspace) -> tuple[float | None, float | None]:
    """Tokens that endpoints are asked for at most, warm-up too, and their US dollars; None: not known."""
    if request.seconds is not None:
        return None, None
    chats = prompts_of(request, workspace).chats
    asked = len(request.concurrency) * (request.requests + request.warmup)
    turns = 1 if request.against is None else request.turns
    asked += len(request.concurrency) * turns  # requests are shared out over turns, and rounded up
    read, written = asked * max(most_tokens([chat]) for chat in chats), asked * request.output_tokens
    named = ((request.model, request.endpoint_model), (request.against, request.against_model))
    remote = [(what, model) for what, model in named if not isinstance(what, BundleRef | None)]
    prices = [usd_of(workspace.settings, what, model, read, written) for what, model in remote]
    usd = None if None in prices else sum(filter(None, prices))
    return float(len(remote) * (read + written)), usd


@skill(
    effect=Effect.WRITES,
    summary="Measure how fast an endpoint answers under load: latencies, tokens per second, errors.",
    phrases=[
        "benchmark {model} with {suite}",
        "measure how fast {model} answers",
        "check how fast {model} answers",
        "test how fast {model} is",
        "stress {model}",
        "load test of {model} with {suite}",
        "load test of {model}",
        "speed test of {model}",
        "measure how many requests {model} takes",
        "how fast is {model} on {suite}",
        "load test {model} with {suite}",
        "benchmark {model}",
        "benchmark {model} against {against}",
        "measure how fast {model} is",
        "measure how fast is {model}",
        "check how fast {model} is",
        "see how fast {model} is",
        "find out how fast {model} is",
        "how fast is {model}",
        "how fast does {model} answer",
        "measure the speed of {model}",
        "measure the latency of {model}",
        "measure the throughput of {model}",
        "test the speed of {model}",
        "load test {model}",
        "stress test {model}",
        "compare the speed of {model} with {against}",
        "speed of {model} compared to {against}",
        "how fast is {model} compared to {against}",
        "how fast is {model} compared with {against}",
        "measure how fast {model} is compared to {against}",
        "speed of {model} compared with {against}",
        "measure how quick {model} is",
        "how quick is {model}",
        "test how fast {model} answers",
        "benchmark {model} under load",
        "put load on {model}",
        "throughput of {model}",
        "latency of {model}",
        "speed of {model}",
        "load test on {model}",
        "stress test on {model}",
        "stress test of {model}",
        "run a load test on {model}",
        "run a load test of {model}",
        "check the latency of {model}",
        "check the throughput of {model}",
        "check the speed of {model}",
        "measure latency of {model}",
        "measure throughput of {model}",
        "compare {model} with {against} for speed",
        "find out the latency of {model}",
        "how fast can {model} answer",
        "how quickly does {model} answer",
        "how quickly can {model} answer",
        "how many requests can {model} take",
        "how many requests can {model} handle",
        "how much load can {model} take",
        "how slow is {model}",
        "how does {model} hold up under load",
        "how does {model} do under load",
        "how does {model} behave under load",
        "how does {model} perform under load",
        "hammer {model}",
        "load {model} with requests",
        "measure {model} under load",
        "measure the response times of {model}",
        "measure the response time of {model}",
        "speed test {model}",
        "speed test on {model}",
        "measure the tokens per second of {model}",
        "benchmark of {model}",
        "which is faster {model} or {against}",
        "compare the latency of {model} with {against}",
        "compare the throughput of {model} with {against}",
        "compare the speed of {model} and {against}",
        "measure the speed and latency of {model}",
        "measure how many tokens per second {model} gives",
    ],
    preflight=_preflight,
    estimate=_estimate,
    reusable=False,  # a machine's speed is not what it was
)
def benchmark(request: BenchmarkRequest, ctx: StepContext) -> BenchmarkResult:
    """Stream answers at each concurrency; keep every request's times in a benchmark report.

    Without a suite or a dataset, a bundle is sent the validation prompts of what its model was trained on.
    A run that is stopped, or whose time is over, keeps what it has measured.

    Example: `/benchmark model=http://127.0.0.1:8000/v1 suite=suites/shop.yaml concurrency=1,8,32`
    """
    from ...evals.load.figures import check_goodput

    check_goodput(request.goodput)
    prompts = prompts_of(request, ctx.workspace)
    with ExitStack() as stack:
        targets = [_target(name, request, ctx, stack) for name in _names(request)]
        stopped = measure(request, targets, prompts.chats, ctx)
        count_tokens(targets, prompts.chats, ctx)
    if stopped is not None and not any(level.records for one in targets for level in one.levels):
        raise stopped
    saved = [_saved(one, request, ctx, prompts, is_complete=stopped is None) for one in targets]
    if stopped is not None:
        ctx.log(f"stopped: what was measured is kept as {', '.join(ref for ref, _, _ in saved)}")
        raise stopped
    ref, figures, note = saved[0]
    for line in filter(None, note.split("; ")):
        ctx.log(line)
    _tell(figures, ctx)
    return BenchmarkResult(
        report=ref,
        server=targets[0].identity.name,
        served_model=targets[0].identity.model,
        levels=tuple(map(_level, figures)),
        counted_by=" and ".join(sorted({by for one in figures for by in one["counted_by"]})),
        against=saved[1][0] if len(saved) > 1 else None,
        differences=_differences(saved[1][0], ref, ctx) if len(saved) > 1 else {},
        note=note,
    )


def _names(request: BenchmarkRequest) -> list[str]:
    return ["model", *(["against"] if request.against is not None else [])]


def _target(name: str, request: BenchmarkRequest, ctx: StepContext, stack: ExitStack) -> LoadTarget:
    """The endpoint that a field of the request names, or the bundle that it names, served."""
    from .served import served

    what: Any = getattr(request, name)
    model = request.endpoint_model if name == "model" else request.against_model
    secret = request.key if name == "model" else request.against_key
    if isinstance(what, BundleRef):
        url, key = stack.enter_context(served(what, name, ctx))
    else:
        url, key = what, None if secret is None else ctx.secret(secret)
    return LoadTarget(what, model, options_of(request, url, key))


def _differences(a: BenchmarkReportRef, b: BenchmarkReportRef, ctx: StepContext) -> dict[str, str]:
    """B over A in words; empty where too few answers came."""
    from ...evals.load.comparison import compare_load

    try:
        found = compare_load(ctx.artifacts.open(a), ctx.artifacts.open(b))
    except AskError as error:
        ctx.log(f"nothing is compared: {error}")
        return {}
    return {f"{row.name} at {row.concurrency}": row.in_words for row in found.rows}


def _saved(
    target: LoadTarget,
    request: BenchmarkRequest,
    ctx: StepContext,
    prompts: LoadPrompts,
    *,
    is_complete: bool,
) -> tuple[BenchmarkReportRef, list[dict[str, Any]], str]:
    """The report of one endpoint, its figures, and what to know of them."""
    from ...evals.load.figures import level_figures

    counted = [_counted(level, request, ctx) for level in target.levels]
    figures = [level_figures(level, request.goodput) for level in counted if level.records]
    note = "; ".join(notes_of(request, target.identity, figures))
    ref = _save(target, request, ctx, counted, figures, prompts, note, is_complete=is_complete)
    return ref, figures, note


def _counted(level: Level, request: BenchmarkRequest, ctx: StepContext) -> Level:
    """The level, with tokens counted by the tokenizer where the server's own count is none."""
    if request.tokenizer is None or all(one.counted_by != "chunks" for one in level.records):
        return level
    from transformers import AutoTokenizer

    folder = (
        ctx.artifacts.open(request.tokenizer).path
        if isinstance(request.tokenizer, CheckpointRef)
        else Path(request.tokenizer)
    )
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise AskError(f"{folder} has no tokenizer that can be read: {error}") from error
    for place, one in enumerate(level.records):
        if one.counted_by == "chunks":
            made = len(tokenizer(one.text, add_special_tokens=False)["input_ids"])
            level.records[place] = replace(one, tokens_out=max(1, made), counted_by="tokenizer")
    return level


def _save(
    target: LoadTarget,
    request: BenchmarkRequest,
    ctx: StepContext,
    levels: Sequence[Level],
    figures: Sequence[dict[str, Any]],
    prompts: LoadPrompts,
    note: str,
    *,
    is_complete: bool,
) -> BenchmarkReportRef:
    from ...evals.load.report import PAGE, PLOT, REPORT, REQUESTS, request_lines
    from .page import render_page, save_plot

    identity = target.identity
    plain = [[dict(message) for message in chat] for chat in prompts.chats]
    facts: dict[str, Any] = {
        "model": str(target.what),
        "session": ctx.idempotency_key if request.against is not None else "",
        "server": {**identity.document(), "name": identity.name},
        "prompts": prompts.source,
        "workload": {"prompts": sha256_json(plain), "output_tokens": request.output_tokens},
        "warmup": request.warmup,
        "fixed_length": identity.fixes_length,
        "goodput": dict(request.goodput),
        "levels": list(figures),
        "is_complete": is_complete,
        "note": note,
    }
    facts = ctx.redactor.plain(facts)  # some servers repeat the key they were sent
    requests = ctx.redactor.text(request_lines(levels).decode()).encode()
    with ctx.artifacts.staging() as folder:
        (folder / REPORT).write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        (folder / REQUESTS).write_bytes(requests)
        save_plot(figures, folder / PLOT)
        (folder / PAGE).write_text(render_page(facts, (folder / PLOT).read_bytes()), encoding="utf-8")
        parents = [target.what] if isinstance(target.what, BundleRef) else []
        return ctx.artifacts.save(BenchmarkReportRef, folder, facts, parents)


def _tell(figures: Sequence[dict[str, Any]], ctx: StepContext) -> None:
    """The report's figures as metrics of the step, at each concurrency."""
    for level in figures:
        at = f"at_{level['concurrency']}"
        for name in ("ttft_ms", "tpot_ms", "e2el_ms"):
            for label in ("p50", "p95"):
                if level[name] is not None:
                    ctx.metric(f"{name}.{label}.{at}", level[name][label])
        for name in ("output_tokens_per_s", "requests_per_s"):
            ctx.metric(f"{name}.{at}", level[name]["value"])
        ctx.metric(f"failed.{at}", level["requests"] - level["completed"])


def _level(level: dict[str, Any]) -> LevelFigures:
    from ...evals.load.figures import headline

    return LevelFigures(
        **headline(level),
        goodput_requests_per_s=level.get("goodput_requests_per_s"),
        errors=level["errors"],
    )
