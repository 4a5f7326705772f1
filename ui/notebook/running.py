"""Carry a run on from a notebook, and what came of it: a result, or the error that says who must act."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...core.contract import Result
from ...core.errors import (
    AskError,
    BackendError,
    BudgetError,
    DeniedError,
    HeldError,
    IntegrityError,
    StoppedError,
)
from ...core.exit_code import ExitCode
from ...core.text import escaped
from ..ci.summary import markdown
from ..show import is_brief, note_of, short

if TYPE_CHECKING:
    from ...agents.agent import Agent, RunOutcome
    from ...core.registry import Registry

_ERRORS = {
    ExitCode.USAGE: AskError,
    ExitCode.NEEDS_APPROVAL: HeldError,
    ExitCode.BUDGET: BudgetError,
    ExitCode.INTEGRITY: IntegrityError,
    ExitCode.DENIED: DeniedError,
    ExitCode.INTERRUPTED: StoppedError,
}
_ENDED_WELL = (ExitCode.DONE, ExitCode.NO_GO, ExitCode.INCONCLUSIVE)


@dataclass(frozen=True)
class NotebookRun:
    """A run as it stands: its status, what its gates said, and each finished step's result.

    outcome: as the command line's JSON has it ("done", "NO_GO", "needs approval"). verdict: GO, NO_GO,
    INCONCLUSIVE or None.
    """

    run: str
    status: str
    outcome: str
    message: str
    plan: str | None
    verdict: str | None
    results: Mapping[str, Result]

    @property
    def result(self) -> Result:
        """The result of the last step that finished; AskError when none did."""
        if not self.results:
            raise AskError(f"run {self.run} has no result: {self.message}.")
        return list(self.results.values())[-1]

    def _repr_html_(self) -> str:
        """How it ended, and each step's result in a few words."""
        rows = "".join(
            f"<tr><td>{safe(step)}</td><td style='text-align:left'>{safe(_brief(result))}</td></tr>"
            for step, result in self.results.items()
        )
        return f"<p>{safe(self._head())}</p><table><tr><th>step</th><th>result</th></tr>{rows}</table>"

    def _repr_markdown_(self) -> str:
        """The same as Markdown."""
        lines = [markdown(self._head()), ""]
        return "\n".join(
            [*lines, *(f"- {markdown(step)}: {markdown(_brief(r))}" for step, r in self.results.items())]
        )

    def _head(self) -> str:
        verdict = f", {self.verdict}" if self.verdict else ""
        return f"Run {self.run}: {self.status}{verdict} ({self.message})"


def safe(text: object) -> str:
    """A text as HTML shows it: no markup, and nothing unseen in it."""
    return html.escape(escaped(str(text), keep="\n\t"))


def _brief(result: Result) -> str:
    values = result.model_dump(mode="json")
    note = note_of(values)
    figures = (f"{n} {short(v)}" for n, v in values.items() if is_brief(v) and n != "note")
    return ", ".join([*figures, *([f"note: {note}"] if note else [])])


def as_it_stands(outcome: RunOutcome, registry: Registry) -> NotebookRun:
    """A run's outcome with each result as its skill's own type."""
    steps = {step.id: step.skill for step in outcome.plan.steps} if outcome.plan is not None else {}
    results = {
        name: registry.get(steps[name]).result.model_validate(result)
        for name, result in outcome.results.items()
        if name in steps
    }
    return NotebookRun(
        run=outcome.run,
        status=outcome.status,
        outcome=ExitCode.of(outcome.exit_code).outcome,
        message=outcome.message,
        plan=outcome.plan.id if outcome.plan is not None else None,
        verdict=outcome.verdict,
        results=results,
    )


def carry_on(agent: Agent, go: Callable[[], RunOutcome]) -> NotebookRun:
    """What came of a run; a verdict of any kind is a result, anything else that is not done raises.

    Who must act is the error's family, as on the command line: HeldError waits for somebody's approval,
    DeniedError for nobody's, BudgetError and IntegrityError, BackendError for a step that failed.
    It runs in a thread of its own, for a notebook's own loop runs in this one; an interrupt stops the run as
    Ctrl-C does, and the run can be resumed.
    """
    ended: Future[RunOutcome] = Future()
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="run")
    try:
        pool.submit(_settle, ended, go)
        outcome = ended.result()
    except KeyboardInterrupt:
        agent.cancelled.set()
        pool.shutdown()
        raise KeyboardInterrupt(_how_it_stands(ended)) from None
    finally:
        pool.shutdown()
    code = ExitCode.of(outcome.exit_code)
    if code in _ENDED_WELL:
        return as_it_stands(outcome, agent.registry)
    said = f"run {outcome.run} {outcome.status}: {outcome.message}."
    if code in _ERRORS:
        raise _ERRORS[code](said)
    raise BackendError(f"{said} When its cause is mended, .resume({outcome.run!r}) goes on where it stopped.")


def _settle(ended: Future[RunOutcome], go: Callable[[], RunOutcome]) -> None:
    """Run, and leave the outcome where an interrupt at any instant finds it."""
    try:
        ended.set_result(go())
    except BaseException as error:  # told in the thread that waits
        ended.set_exception(error)


def _how_it_stands(ended: Future[RunOutcome]) -> str:
    """What an interrupt came upon: no run yet, one that stopped for it, or one that had ended."""
    if not ended.done():
        return "nothing was run"
    outcome = ended.result()
    if ExitCode.of(outcome.exit_code) is ExitCode.INTERRUPTED:
        return f"run {outcome.run} was stopped; .resume({outcome.run!r}) goes on with it"
    return f"run {outcome.run} had ended: {outcome.status} ({outcome.message})"
