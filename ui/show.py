"""How plans, outcomes and verdicts look in a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..core.contract import Effect, Impact
from ..core.gate import Decision, GateSpec, Tier, Verdict
from ..core.plan import Plan
from ..core.text import escaped, escaped_json

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

    from ..agents.agent import RunOutcome
    from ..agents.changes import PlanChanges
    from ..agents.month_budget import MonthLeft
    from ..core.plan import StepCall
    from ..core.registry import Registry

_PIPE_WIDTH = 140
_MOST_REASONS = 20
_LONGEST_CHOSEN = 100  # characters of an argument's value in a plan's table
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
    registry: Registry,
    findings: Sequence[Mapping[str, Any]] = (),
    costs: Mapping[str, Any] | None = None,
    impacts: Sequence[tuple[str, Impact]] = (),
) -> None:
    """The plan a person consents to: steps with what was chosen, cost, gates, what users get, findings."""
    from rich.text import Text

    from .expected_cost import expected_cost

    out = console(stderr=True)
    out.print(plain(f"Plan {plan.id[:12]}: {plan.goal}", "bold", keep=""))
    rows = []
    for step in plan.steps:
        rows.append(
            [
                step.id,
                step.skill,
                Text(step.effect.in_words, style=_COLOUR[step.effect]),
                "" if costs is None else _expected(costs.get(step.id, {}).get("minutes")),
                _chosen(step, plan, registry),
            ]
        )
    out.print(table(["step", "skill", "effect", "expected", "with"], rows))
    out.print(plain(expected_cost(plan, costs or {}).in_words, keep=""))
    for name, gate in plan.gates.items():
        out.print(plain(f"gate {name}: {gate_words(gate.model_dump())}", keep=""))
    if impacts:
        cells = [[step, seen.endpoint, seen.before, seen.after] for step, seen in impacts]
        out.print(table(["step", "endpoint", "its users get before", "and after"], cells))
    for finding in findings:
        if finding["level"] != "ok":
            told = f"{finding['level']}: {finding['step']}: {finding['message']} {finding['fix']}"
            out.print(plain(told, "" if finding["level"] == "note" else "yellow"))


def _chosen(step: StepCall, plan: Plan, registry: Registry) -> str:
    """A step's arguments without the skill's defaults, and without a gate's, which is told below."""
    defaults = registry.get(step.skill).defaults if step.skill in registry else {}
    told = [gate.model_dump(mode="json") for gate in plan.gates.values()]
    given = {name: value for name, value in step.arguments.items() if defaults.get(name, ...) != value}
    return ", ".join(f"{name}={_brief(value)}" for name, value in given.items() if value not in told)


def _brief(value: Any) -> str:
    """An argument's value in a table: references by 12 digits, of a mapping only what is set."""
    if isinstance(value, Mapping):
        value = {name: one for name, one in value.items() if one not in (None, "", [], {})}
    text = short(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_CHOSEN else f"{text[: _LONGEST_CHOSEN - 3]}..."


def show_changes(changes: PlanChanges) -> None:
    """What consent lets happen besides what the plan's table says: artifacts, and what differs."""
    out = console(stderr=True)
    if changes.makes:
        made = ", ".join(f"{one.kind} ({one.step}.{one.name})" for one in changes.makes)
        out.print(plain(f"makes: {made}", keep=""))
    if changes.earlier is None:
        out.print(plain("no earlier run has this goal"))
        return
    if not changes.differences:
        out.print(plain(f"the same plan as run {changes.earlier} had, on the same inputs"))
        return
    cells = [[one.where, one.before or "", one.now or ""] for one in changes.differences]
    out.print(table(["what differs", f"run {changes.earlier}", "this plan"], cells))


def show_month(left: Sequence[MonthLeft]) -> None:
    """What the month's budgets have left for the person who proposed a plan."""
    for one in left:
        console(stderr=True).print(plain(f"{one.in_words}: {one.left_in_words} left", keep=""))


def show_settings(plan: Plan, registry: Registry) -> None:
    """Every argument of every step, and which of them stand at a default that nobody chose."""
    rows = []
    for step in plan.steps:
        defaults = registry.get(step.skill).defaults
        for name, value in step.arguments.items():
            by_default = name in defaults and defaults[name] == value
            shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            rows.append([step.id, name, shown, "default" if by_default else "the plan"])
    console(stderr=True).print(table(["step", "setting", "value", "from"], rows))


def gate_words(gate: Mapping[str, Any]) -> str:
    """A gate's bars as a sentence."""
    spec = GateSpec.model_validate(gate)
    bar = "" if spec.min is None else f" at least {spec.min:.1%}"
    parts = [f"{spec.metric or 'score'} on {spec.suite}{bar}", f"at least {spec.min_items:,} items"]
    for name, one in spec.slices.items():
        if one.min is not None:
            parts.append(f"{name} at least {one.min:.1%}{_tier_words(one.tier)}")
        if one.max_drop is not None:
            points = f"{100 * one.max_drop:.3g} points"
            parts.append(f"{name} at most {points} below stable{_tier_words(one.tier)}")
    if spec.against:
        where = f" of endpoint {spec.endpoint}" if spec.endpoint else ""
        parts.append(f"at most {100 * spec.margin:.3g} points below stable{where}")
    for name, other in spec.suites.items():
        parts.append(f"{other.metric or 'score'} on {name} at least {other.min:.1%}{_tier_words(other.tier)}")
    if spec.latency is not None:
        parts.append(f"p95 at most {spec.latency.max_p95_ms:g} ms{_tier_words(spec.latency.tier)}")
    if spec.cost is not None:
        parts.append(f"at most ${spec.cost.max_usd_per_1000:g} for 1,000{_tier_words(spec.cost.tier)}")
    if spec.robustness is not None:
        points = f"{100 * spec.robustness.max_drop:.3g} points"
        altered = ", ".join(spec.robustness.alterations) or "altered items"
        parts.append(f"at most {points} lower with {altered}{_tier_words(spec.robustness.tier)}")
    looks = f", {spec.looks} looks" if spec.looks > 1 else ""
    return f"{', '.join(parts)} (alpha {spec.alpha:g}{looks})"


def _tier_words(tier: Tier) -> str:
    return "" if tier is Tier.CRITICAL else f" ({tier})"


def show_verdict(verdict: Verdict) -> None:
    """The verdict and the rows behind it."""
    from rich.text import Text

    out = console()
    rows = []
    for row in verdict.rows:
        rows.append(
            [
                row.name,
                Text(row.decision_in_words, style=_DECISION[row.decision]),
                row.in_words(row.got),
                row.in_words(row.bar),
                row.interval_in_words,
                "" if row.n is None else f"{row.n:,}",
                row.message,
            ]
        )
    out.print(table(["check", "decision", "got", "bar", "interval", "n", "meaning"], rows))
    for note in verdict.notes:
        out.print(plain(f"note: {note}"))
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
        note = note_of(result)
        figures = {name: value for name, value in result.items() if is_brief(value) and name != "note"}
        out.print(plain(f"{step}: " + ", ".join(f"{name} {short(value)}" for name, value in figures.items())))
        if note:
            out.print(plain(f"note: {note}", "yellow"))
        rows = result.get("rows")
        if isinstance(rows, list | tuple) and rows and all(isinstance(row, Mapping) for row in rows):
            columns = [name for name in rows[0] if any(_says_something(row.get(name)) for row in rows)]
            cells = [[short(row.get(name)) for name in columns] for row in rows]
            out.print(table([name.replace("_", " ") for name in columns], cells))
    style = "green" if outcome.exit_code == 0 else "yellow" if outcome.exit_code in (3, 4, 5, 6, 8) else "red"
    out.print(plain(f"Run {outcome.run}: {outcome.status} ({outcome.message})", style))


def _says_something(value: Any) -> bool:
    return value is not None and value not in ("", [], {})


def _expected(minutes: float | None) -> str:
    """How long a step is expected to take; what depends on a step before it is known later."""
    from .expected_cost import minutes_in_words

    return "known later" if minutes is None else minutes_in_words(minutes)


def cut(text: str, width: int = 64) -> str:
    """The text, or as much of it as a table's cell should hold."""
    return text if len(text) <= width else f"{text[: width - 1]}…"


def note_of(result: Mapping[str, Any]) -> str:
    """What a step says was not measured, or makes its figures worth less: shown whole, however long."""
    note = result.get("note")
    return note if isinstance(note, str) else ""


def is_brief(value: Any) -> bool:
    """Whether a value fits a line, and says something."""
    if value == "":
        return False
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


def size_in_words(size: int) -> str:
    """A number of bytes in the unit that shows it."""
    return f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size / 1e3:,.1f} kB"


def show_serving(status: Mapping[str, Any]) -> None:
    """What is served: the gateway, its server, and each endpoint's releases."""
    out = console()
    gateway, endpoints = status["gateway"], status["endpoints"]
    if gateway is not None:
        server = status.get("server") or {}
        words = " ".join(str(server[key]) for key in ("kind", "version") if server.get(key))
        pids = [str(one["pid"]) for one in gateway.get("workers", ()) if one["pid"]] or [str(gateway["pid"])]
        said = f"pid {pids[0]}" if len(pids) == 1 else f"{len(pids)} workers: pids {', '.join(pids)}"
        out.print(plain(f"gateway {gateway['url']} ({said}){f' on {words}' if words else ''}"))
    elif endpoints:
        out.print("Nothing is running. `opswright serve` starts what is deployed.")
    if status.get("fault"):
        out.print(plain(status["fault"], "red"))
    for alarm in status["alarms"]:
        out.print(plain(alarm, "red"))
    if endpoints:
        rows = []
        for row in endpoints:
            canary = f"{row['canary']} at {row['canary_percent']} %" if row["canary"] else ""
            last = (row["last_request"] or "")[:19].replace("T", " ")
            rows.append([row["endpoint"], row["stable"], canary, "yes" if row["answers"] else "no", last])
        out.print(table(["endpoint", "stable", "canary", "answers", "last request (UTC)"], rows))
