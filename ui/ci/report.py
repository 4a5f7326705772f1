"""What happened, in the terms that reports of continuous integration share: checks, findings, one outcome."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from ...core.exit_code import ExitCode
from ...core.gate import Check, Decision, Tier, Verdict
from ...core.text import escaped

if TYPE_CHECKING:
    from ...agents.agent import RunOutcome
    from ...core.contract import Impact
    from ...core.plan import Plan
    from ...record.run_state import RunState, StepState


class CheckState(StrEnum):
    """How a check stands."""

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    SKIPPED = "skipped"


_BY_DECISION = {
    Decision.GO: CheckState.PASSED,
    Decision.NO_GO: CheckState.FAILED,
    Decision.INCONCLUSIVE: CheckState.ERROR,
}


@dataclass(frozen=True)
class ReportedCheck:
    """One step, or one row of a gate: `group` says of what."""

    group: str
    name: str
    state: CheckState
    message: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class ReportedFinding:
    """What a reader should see at the plan's file: a stable rule name; error, warning or note."""

    rule: str
    level: str
    message: str


@dataclass(frozen=True)
class CiReport:
    """How one command ended, with everything behind it. `costs` is by step, `impacts` what users get."""

    title: str
    ended: ExitCode
    message: str
    run: str | None = None
    plan: Plan | None = None
    checks: tuple[ReportedCheck, ...] = ()
    findings: tuple[ReportedFinding, ...] = ()
    verdicts: tuple[tuple[str, Verdict], ...] = ()
    costs: Mapping[str, Any] | None = None
    impacts: Sequence[tuple[str, Impact]] = ()

    @property
    def is_good(self) -> bool:
        """Whether there is nothing left to do."""
        return self.ended is ExitCode.DONE


def report_of_error(title: str, error: BaseException, exit_code: int) -> CiReport:
    """A command that ended before there was a plan or a run to speak of."""
    ended, message = ExitCode.of(exit_code), escaped(str(error) or type(error).__name__, keep="\n\t")
    check = ReportedCheck("command", title, CheckState.ERROR, message)
    finding = ReportedFinding(f"command/{ended.name.lower()}", "error", message)
    return CiReport(title, ended, message, checks=(check,), findings=(finding,))


def report_of_reply(text: str, exit_code: int) -> CiReport:
    """What a planner answered without proposing a plan; anything but an answer is not done."""
    ended, message = ExitCode.of(exit_code), escaped(text, keep="\n\t")
    state = CheckState.PASSED if ended is ExitCode.DONE else CheckState.ERROR
    findings = () if ended is ExitCode.DONE else (ReportedFinding("command/reply", "error", message),)
    check = ReportedCheck("command", "agent", state, message)
    return CiReport("agent", ended, message, checks=(check,), findings=findings)


def report_of_plan(
    plan: Plan,
    exit_code: int,
    why: Sequence[str],
    findings: Sequence[Mapping[str, Any]],
    costs: Mapping[str, Any],
    impacts: Sequence[tuple[str, Impact]],
) -> CiReport:
    """A plan that was compiled and not run: whether it would be refused, and what it means."""
    ended = ExitCode.of(exit_code)
    message = "; ".join(why) or "nothing was run"
    stands = CheckState.PASSED if exit_code == 0 else CheckState.FAILED
    checks = [ReportedCheck("plan", plan.goal, stands, "" if exit_code == 0 else message)]
    checks += [ReportedCheck("step", f"{step.id} ({step.skill})", CheckState.SKIPPED) for step in plan.steps]
    told = list(_preflight(findings))
    if exit_code:
        told.append(ReportedFinding(f"plan/{ended.name.lower()}", "error", message))
    return CiReport(
        plan.goal,
        ended,
        message,
        plan=plan,
        checks=tuple(checks),
        findings=tuple(told),
        costs=costs,
        impacts=impacts,
    )


def report_of_run(
    outcome: RunOutcome, state: RunState | None, impacts: Sequence[tuple[str, Impact]] = ()
) -> CiReport:
    """A run as far as it came."""
    plan, steps = outcome.plan, state.steps if state is not None else {}
    title = plan.goal if plan is not None else f"run {outcome.run}"
    verdicts = [
        (name, Verdict.model_validate(result["verdict"]))
        for name, result in outcome.results.items()
        if "verdict" in result
    ]
    ended = ExitCode.of(outcome.exit_code)
    stands = CheckState.PASSED if ended is ExitCode.DONE else CheckState.ERROR
    whole = CheckState.FAILED if ended is ExitCode.NO_GO else stands
    checks = [ReportedCheck("run", title, whole, f"{ended.outcome}: {outcome.message}")]
    for step in plan.steps if plan is not None else ():
        checks.append(_of_step(f"{step.id} ({step.skill})", steps.get(step.id), dict(verdicts).get(step.id)))
    checks += [row for name, verdict in verdicts for row in _of_verdict(name, verdict)]
    findings = [*_preflight(outcome.findings), *_of_checks(checks)]
    if ended is not ExitCode.DONE and not any(one.level == "error" for one in findings):
        findings.append(ReportedFinding(f"run/{ended.name.lower()}", "error", outcome.message))
    return CiReport(
        title,
        ended,
        outcome.message,
        run=outcome.run,
        plan=plan,
        checks=tuple(checks),
        findings=tuple(findings),
        verdicts=tuple(verdicts),
        costs=outcome.costs,
        impacts=impacts,
    )


def _of_step(name: str, step: StepState | None, verdict: Verdict | None) -> ReportedCheck:
    end = step.outcome if step is not None else None
    if step is None or end is None:
        why = "begun, and nothing says how it ended" if step is not None and step.is_open else "not run"
        return ReportedCheck("step", name, CheckState.SKIPPED, why)
    seconds = float(end.detail.get("seconds", 0.0))
    if step.finished is None:
        message = escaped(str(step.error.get("message", end.phase)), keep="\n\t")
        return ReportedCheck("step", name, CheckState.ERROR, message, seconds)
    if verdict is not None:
        said = "" if verdict.is_go else f"the gate says {verdict.decision}"
        return ReportedCheck("step", name, _BY_DECISION[verdict.decision], said, seconds)
    return ReportedCheck("step", name, CheckState.PASSED, "", seconds)


def _of_verdict(name: str, verdict: Verdict) -> Iterator[ReportedCheck]:
    for row in verdict.rows:
        measured = f"got {row.in_words(row.got)}, bar {row.in_words(row.bar)}"
        message = f"{measured} {row.interval_in_words}".strip() + (f": {row.message}" if row.message else "")
        yield ReportedCheck(f"gate {name}", row.name, _of_row(row), f"{row.decision_in_words}: {message}")


def _of_row(row: Check) -> CheckState:
    """A row that decides nothing cannot fail, a supporting one only by being shown bad."""
    if row.tier is Tier.ADVISORY or (row.tier is Tier.SUPPORTING and row.decision is not Decision.NO_GO):
        return CheckState.PASSED
    return _BY_DECISION[row.decision]


def _of_checks(checks: Sequence[ReportedCheck]) -> Iterator[ReportedFinding]:
    for check in checks:
        if check.group != "run" and check.state in (CheckState.FAILED, CheckState.ERROR):
            level = "error" if check.group == "step" or check.state is CheckState.FAILED else "warning"
            rule = "step/failed" if check.group == "step" else "gate/criterion"
            yield ReportedFinding(rule, level, f"{check.group} {check.name}: {check.message}")


def _preflight(findings: Sequence[Mapping[str, Any]]) -> Iterator[ReportedFinding]:
    levels = {"stop": "error", "warn": "warning", "note": "note"}
    for one in findings:
        if one["level"] != "ok":
            message = f"{one['step']}: {one['message']} {one['fix']}".strip()
            yield ReportedFinding("preflight/finding", levels[one["level"]], message)
