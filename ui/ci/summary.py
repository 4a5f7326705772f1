"""A report as Markdown: for a job's summary page, or a comment on a pull request."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ...core.exit_code import ExitCode
from ...core.gate import Decision, Verdict
from ...core.text import escaped
from ..show import gate_words
from .report import CheckState, CiReport

_SIGNS = {
    CheckState.PASSED: "passed",
    CheckState.FAILED: "**failed**",
    CheckState.ERROR: "**not decided or failed**",
    CheckState.SKIPPED: "not run",
}
_MARKUP = {ord(character): f"&#{ord(character)};" for character in "&<>|`*_[]()#@!~\\$"}
_BARE_LINK = re.compile(r"(?i)(?<=[a-z]):(?=//)|(?<=www)\.")  # what makes a link of plain text
_LONGEST = 2_000  # characters of one message


def summary(report: CiReport) -> str:
    """Markdown in which nothing that a plan, a file name or a log says is markup."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: CiReport) -> Iterator[str]:
    yield f"## {markdown(report.title)}"
    yield ""
    is_only_planned = report.plan is not None and report.run is None and report.ended is ExitCode.DONE
    how = "planned" if is_only_planned else report.ended.outcome
    yield f"**{how}** (exit code {report.ended:d}): {markdown(report.message)}"
    yield ""
    if report.plan is not None:
        yield from _plan(report)
    if report.run is not None:
        yield f"Run `{report.run}`; `opswright audit list --run {report.run}` lists its records."
        yield ""
    steps = [check for check in report.checks if check.group == "step"]
    if steps and report.run is not None:
        rows = [[check.name, _SIGNS[check.state], f"{check.seconds:.1f}", check.message] for check in steps]
        yield from _table(["step", "how it ended", "seconds", "message"], rows)
    for name, verdict in report.verdicts:
        yield from _verdict(name, verdict)
    told = [finding for finding in report.findings if finding.rule.startswith("preflight/")]
    if told:
        yield "### Pre-flight"
        yield ""
        yield from (f"- {finding.level}: {markdown(finding.message)}" for finding in told)
        yield ""


def _plan(report: CiReport) -> Iterator[str]:
    plan = report.plan
    if plan is None:
        return
    yield f"Plan `{plan.id}`"
    yield ""
    if report.run is None:
        rows = []
        for step in plan.steps:
            minutes = (report.costs or {}).get(step.id, {}).get("minutes")
            unknown = "known later" if report.costs else ""
            expected = unknown if minutes is None else f"{minutes:.1f} min"
            rows.append([step.id, step.skill, step.effect.in_words, expected])
        yield from _table(["step", "skill", "effect", "expected"], rows)
    for name, gate in plan.gates.items():
        yield f"- gate {markdown(name)}: {markdown(gate_words(gate.model_dump()))}"
    if plan.gates:
        yield ""
    if report.impacts:
        rows = [[step, seen.endpoint, seen.before, seen.after] for step, seen in report.impacts]
        yield from _table(["step", "endpoint", "its users get before", "and after"], rows)
    if report.run is None and report.ended in (ExitCode.DONE, ExitCode.NEEDS_APPROVAL):
        yield f"To carry out exactly this plan: `opswright apply plan.json --approve {plan.id}`"
        yield ""


def _verdict(name: str, verdict: Verdict) -> Iterator[str]:
    said = str(verdict.decision) if verdict.decision is Decision.GO else f"**{verdict.decision}**"
    yield f"### Gate {markdown(name)}: {said}"
    yield ""
    rows = [
        [
            row.name,
            row.decision_in_words,
            row.in_words(row.got),
            row.in_words(row.bar),
            row.interval_in_words,
            "" if row.n is None else f"{row.n:,}",
            row.message,
        ]
        for row in verdict.rows
    ]
    yield from _table(["check", "decision", "got", "bar", "interval", "n", "meaning"], rows)
    for note in verdict.notes:
        yield f"- note: {markdown(note)}"
    yield ""


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    for row in rows:
        cells = (cell if cell in _SIGNS.values() else markdown(cell) for cell in row)
        yield f"| {' | '.join(cells)} |"
    yield ""


def markdown(text: str) -> str:
    """A text on one line, no character of it markup: no link, image, mention, table cell or HTML."""
    line = " ".join(escaped(text, keep="\n\t").split())
    cut = line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"
    plain = cut.translate(_MARKUP)
    return _BARE_LINK.sub(_as_entity, plain)


def _as_entity(found: re.Match[str]) -> str:
    return f"&#{ord(found[0])};"
