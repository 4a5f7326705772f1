"""How plans, outcomes and verdicts look in a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..core.contract import Effect, Impact
from ..core.gate import Decision, Verdict
from ..core.plan import Plan
from ..core.text import escaped, escaped_json

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

    from ..agents.agent import RunOutcome

_PIPE_WIDTH = 140
_MOST_REASONS = 20
_COLOUR = {Effect.READS: "green", Effect.WRITES: "yellow", Effect.SERVES: "red"}
_DECISION = {Decision.GO: "green", Decision.NO_GO: "red", Decision.INCONCLUSIVE: "yellow"}


def print_json(document: Any) -> None:
    """Exactly one JSON document on stdout."""
    print(escaped_json(json.dumps(document, indent=2, ensure_ascii=False, default=str)))


def console(stderr: bool = False) -> Console:
    """A console on stdout, or on stderr for what is not a result."""
    from rich.console import Console

    terminal = (sys.stderr if stderr else sys.stdout).isatty()
    return Console(stderr=stderr, highlight=False, width=None if terminal else _PIPE_WIDTH)


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str | None = None) -> RenderableType:
    """A table of plain cells: text is never read as markup."""
    from rich.table import Table
    from rich.text import Text

    made = Table(title=title, title_justify="left", header_style="bold", box=_box(), pad_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text(_cell(cell)) for cell in row))
    return made


def _cell(value: Any) -> str:
    return "" if value is None else escaped(str(value), keep="\n\t")


def plain(value: Any, style: str = "", keep: str = "\n\t") -> Text:
    """A value as text to print: never read as markup, with escapes for what shows nothing or moves text.

    keep: characters that stay nevertheless; what follows a line break is indented, and so no line of ours.
    """
    from rich.text import Text

    return Text(escaped(str(value), keep).replace("\n", "\n  "), style=style)


def _box() -> Any:
    from rich import box

    return box.SIMPLE_HEAD


def show_plan(
    plan: Plan,
    findings: Sequence[Mapping[str, Any]] = (),
    costs: Mapping[str, Any] | None = None,
    impacts: Sequence[tuple[str, Impact]] = (),
) -> None:
    """The plan a person consents to: steps, effects in words, cost, gates, what users get, findings."""
    from rich.text import Text

    out = console(stderr=True)
    out.print(plain(f"Plan {plan.id[:12]}: {plan.goal}", "bold", keep=""))
    rows = []
    for step in plan.steps:
        minutes = (costs or {}).get(step.id, {}).get("minutes")
        rows.append(
            [
                step.id,
                step.skill,
                Text(step.effect.in_words, style=_COLOUR[step.effect]),
                "" if minutes is None else f"{minutes:.1f} min" if minutes >= 0.05 else "quick",
            ]
        )
    out.print(table(["step", "skill", "effect", "expected"], rows))
    for name, gate in plan.gates.items():
        out.print(plain(f"gate {name}: {gate_words(gate.model_dump())}", keep=""))
    if impacts:
        cells = [[step, seen.endpoint, seen.before, seen.after] for step, seen in impacts]
        out.print(table(["step", "endpoint", "its users get before", "and after"], cells))
    for finding in findings:
        if finding["level"] != "ok":
            told = f"{finding['level']}: {finding['step']}: {finding['message']} {finding['fix']}"
            out.print(plain(told, "" if finding["level"] == "note" else "yellow"))


def gate_words(gate: Mapping[str, Any]) -> str:
    """A gate's bars as a sentence."""
    bar = "" if gate["min"] is None else f" at least {gate['min']:.1%}"
    parts = [f"{gate['metric']} on {gate['suite']}{bar}", f"at least {gate['min_items']:,} items"]
    for name, bar in gate["slices"].items():
        if bar["min"] is not None:
            parts.append(f"{name} at least {bar['min']:.1%}")
        if bar["max_drop"] is not None:
            parts.append(f"{name} at most {bar['max_drop']:.1%} below stable")
    if gate["against"]:
        where = f" of endpoint {gate['endpoint']}" if gate["endpoint"] else ""
        parts.append(f"not significantly worse than stable{where} (alpha {gate['alpha']:g})")
    return ", ".join(parts)


def show_verdict(verdict: Verdict) -> None:
    """The verdict and the rows behind it."""
    from rich.text import Text

    out = console()
    rows = []
    for row in verdict.rows:
        interval = f"{row.interval[0]:.1%} - {row.interval[1]:.1%}" if row.interval else ""
        rows.append(
            [
                row.name,
                Text(str(row.decision), style=_DECISION[row.decision]),
                "" if row.got is None else f"{row.got:.1%}",
                "" if row.bar is None else f"{row.bar:.1%}",
                interval,
                "" if row.n is None else f"{row.n:,}",
                row.message,
            ]
        )
    out.print(table(["check", "decision", "got", "bar", "95 % interval", "n", "meaning"], rows))
    out.print(Text(f"Verdict: {verdict.decision}", style=f"bold {_DECISION[verdict.decision]}"))


def show_outcome(outcome: RunOutcome) -> None:
    """How a run ended, each step's result in a few words, the verdict in full."""
    out = console()
    for step, result in outcome.results.items():
        if "verdict" in result:
            show_verdict(Verdict.model_validate(result["verdict"]))
            continue
        if isinstance(result.get("text"), str):  # what a skill laid out itself
            print(escaped(result["text"], keep="\n\t"))
            continue
        words = ", ".join(f"{name} {short(value)}" for name, value in result.items() if is_brief(value))
        out.print(plain(f"{step}: {words}"))
    style = "green" if outcome.exit_code == 0 else "yellow" if outcome.exit_code in (3, 4, 5, 6) else "red"
    out.print(plain(f"Run {outcome.run}: {outcome.status} ({outcome.message})", style))


def is_brief(value: Any) -> bool:
    """Whether a value fits a line."""
    return (
        isinstance(value, bool | int | float)
        or (isinstance(value, str) and len(value) <= 120)
        or _counts(value)
    )


def _counts(value: Any) -> bool:
    """Whether a value counts things by name, such as rows left out by reason."""
    if not isinstance(value, Mapping) or len(value) > _MOST_REASONS:
        return False
    return all(isinstance(count, int) and not isinstance(count, bool) for count in value.values())


def short(value: Any) -> str:
    """A value as a line shows it: references by 12 digits, figures by 4, counts by their sum and parts."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, str) and len(value.partition(":")[2]) == 64:
        return value[: value.index(":") + 13]
    if isinstance(value, Mapping):
        parts = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in value.items() if count)
        return f"{sum(value.values()):,}" + (f" ({parts})" if parts else "")
    return str(value)


def show_serving(status: Mapping[str, Any]) -> None:
    """What is served: the gateway, its server, and each endpoint's releases."""
    out = console()
    gateway, endpoints = status["gateway"], status["endpoints"]
    if gateway is not None:
        server = status.get("server") or {}
        words = " ".join(str(server[key]) for key in ("kind", "version") if server.get(key))
        out.print(plain(f"gateway {gateway['url']} (pid {gateway['pid']}){f' on {words}' if words else ''}"))
    elif endpoints:
        out.print("Nothing is running. `opswright serve` starts what is deployed.")
    if status.get("fault"):
        out.print(plain(status["fault"], "red"))
    if endpoints:
        rows = []
        for row in endpoints:
            canary = f"{row['canary']} at {row['canary_percent']} %" if row["canary"] else ""
            last = (row["last_request"] or "")[:19].replace("T", " ")
            rows.append([row["endpoint"], row["stable"], canary, "yes" if row["answers"] else "no", last])
        out.print(table(["endpoint", "stable", "canary", "answers", "last request (UTC)"], rows))
