"""Calls of tools: what only reads is done at once, anything else becomes a plan that waits for a person."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from ...agents.agent import RunOutcome
from ...agents.approvals import Consent
from ...agents.planner import Proposal
from ...core.contract import Effect, NullEvents, Skill
from ...core.errors import AskError, DeniedError, HeldError
from ...core.plan import Plan
from ..consent import approve_command
from .answers import RUNNING, WAITING, outcome_word, run_document, tool_result
from .callers import McpCaller
from .consent import ConsentDesk, PendingConsent
from .desk import McpDesk, proposed_by
from .following import RunFollower, is_over
from .tools import PROPOSE, RUN, STATUS, STOP

if TYPE_CHECKING:
    import mcp.types as types
    from mcp.server import ServerRequestContext

_QUESTION = "consent"  # the question's name among the inputs that a call waits for
_MOST_WAIT_S = 3600.0
_WAIT_S = 45.0
_LOOK_EVERY_S = 0.1

T = TypeVar("T")


class LatestProgress(NullEvents):
    """Events that keep how far the step is, for whoever looks."""

    def __init__(self) -> None:
        self.done = 0.0
        self.total: float | None = None
        self.unit = ""

    def progress(self, step: str, done: float, total: float | None, unit: str) -> None:
        """Keep it."""
        self.done, self.total, self.unit = done, total, unit


class McpCalls:
    """What each tool does. `consent` None: it is given elsewhere only."""

    def __init__(self, desk: McpDesk, follower: RunFollower, consent: ConsentDesk | None) -> None:
        self._desk = desk
        self._follower = follower
        self._consent = consent

    async def skill(
        self,
        ctx: ServerRequestContext[Any, Any],
        caller: McpCaller,
        skill: Skill[Any, Any],
        arguments: Mapping[str, Any],
    ) -> types.CallToolResult:
        """Call a skill: its result when it only reads, else its plan."""
        if skill.effect is not Effect.READS:
            proposal = await _in_thread(lambda: self._desk.skill_proposal(caller, skill, arguments))
            return await self._proposed(caller, skill.name, proposal)
        latest, cancelled = LatestProgress(), threading.Event()

        def work() -> RunOutcome:
            proposal = self._desk.skill_proposal(caller, skill, arguments)
            return self._desk.start(caller, proposal, latest, cancelled)

        outcome = await _while_telling(ctx, work, latest, cancelled)
        found = next(iter(outcome.results.values()), None) if outcome.exit_code == 0 else None
        is_error = outcome.exit_code not in (0, 3, 4)
        return tool_result(skill.name, {**run_document(outcome), "result": found}, is_error=is_error)

    async def project_skill(
        self,
        ctx: ServerRequestContext[Any, Any],
        caller: McpCaller,
        name: str,
        arguments: Mapping[str, Any],
    ) -> types.CallToolResult:
        """Propose a project skill's plan, verified as it is loaded."""

        def work() -> Proposal:
            skill = self._desk.project_skills.load(name)
            return self._desk.project_proposal(caller, skill, arguments)

        return await self._proposed(caller, name, await _in_thread(work))

    async def propose(self, caller: McpCaller, arguments: Mapping[str, Any]) -> types.CallToolResult:
        """Propose a plan file's plan."""
        text = _text(arguments, "plan")
        proposal = await _in_thread(lambda: self._desk.plan_proposal(caller, text))
        return await self._proposed(caller, PROPOSE, proposal)

    async def run(
        self,
        ctx: ServerRequestContext[Any, Any],
        caller: McpCaller,
        params: types.CallToolRequestParams,
    ) -> types.CallToolResult | types.InputRequiredResult:
        """Carry out a plan that somebody consented to, or ask the person at the client first."""
        arguments = params.arguments or {}
        wait_s = _seconds(arguments)
        plan_id = _text(arguments, "plan_id", "wait_s")
        run = await _in_thread(lambda: self._desk.run_of(caller, plan_id))
        outcome = await _in_thread(lambda: self._desk.agent(caller).outcome(run))
        if outcome.status == "waiting" and outcome.plan is not None:
            question = await self._consented(ctx, caller, params, outcome, outcome.plan)
            if question is not None:
                return question
            outcome = await _in_thread(lambda: self._desk.agent(caller).outcome(run))
        if is_over(outcome):
            return self._told(RUN, outcome, note="nothing was run now: the run is over. ")
        await _in_thread(lambda: self._desk.check_may_run(caller, run))
        return await self._carried_out(ctx, caller, run, wait_s)

    async def status(self, caller: McpCaller, arguments: Mapping[str, Any]) -> types.CallToolResult:
        """How a run stands."""
        run = _text(arguments, "run")

        def work() -> tuple[RunOutcome, dict[str, Any]]:
            self._desk.check_may_read(caller)
            outcome = self._desk.agent(caller).outcome(run)
            return outcome, self._follower.figures(run)

        outcome, figures = await _in_thread(work)
        return self._told(STATUS, outcome, figures, is_answer=True)

    async def stop(self, caller: McpCaller, arguments: Mapping[str, Any]) -> types.CallToolResult:
        """Stop a run of the caller's own."""
        run = _text(arguments, "run")

        def work() -> RunOutcome:
            if not proposed_by(self._desk.state(run), caller):
                raise DeniedError(f"run {run} was not proposed by {caller.principal.name} with this token.")
            self._follower.stop(caller, run)
            return self._desk.agent(caller).outcome(run)

        outcome = await _in_thread(work)
        told = {**run_document(outcome, "interrupted"), "exit_code": 130}
        return tool_result(STOP, {**told, "message": "the run was asked to stop; finished steps are kept"})

    async def _proposed(self, caller: McpCaller, name: str, proposal: Proposal) -> types.CallToolResult:
        outcome = await _in_thread(lambda: self._desk.start(caller, proposal))
        if outcome.status != "waiting" or outcome.plan is None:  # refused, or a plan that only reads
            return self._told(name, outcome)
        card = await _in_thread(lambda: self._desk.card(outcome))
        told = {**run_document(outcome, WAITING), "card": card}
        told["how_to_approve"] = self._how_to_approve(outcome.run, outcome.plan)
        return tool_result(name, told)

    def _how_to_approve(self, run: str, plan: Plan) -> list[str]:
        """What a person does; a model can do none of it through this server."""
        how = [approve_command(run, plan.id), f"in the console: /approve {run}"]
        if self._consent is not None:
            how.insert(0, "call run_plan: the person at this client is asked, where the client can ask")
        return how

    async def _consented(
        self,
        ctx: ServerRequestContext[Any, Any],
        caller: McpCaller,
        params: types.CallToolRequestParams,
        outcome: RunOutcome,
        plan: Plan,
    ) -> types.InputRequiredResult | None:
        """None once the person at the client consented; else the question, with which the call is repeated.

        HeldError when nobody can be asked here, the caller's role may not approve, or the answer was no.
        """
        run = outcome.run
        await _in_thread(lambda: self._check_may_approve(caller, outcome, plan))
        capabilities = ctx.session.client_capabilities
        mode = self._consent.mode(capabilities) if self._consent is not None and caller.attended else None
        if self._consent is None or mode is None:
            raise HeldError(
                f"plan {plan.id[:12]} waits for approval, and nobody can be asked through this client. A "
                f"person approves it: {'; or '.join(self._how_to_approve(run, plan)[-2:])}. Then call "
                "run_plan again."
            )
        answers, state = params.input_responses or {}, params.request_state
        if state is not None or answers:
            asked = self._consent.take(str(state), caller, run, plan.id)
            await self._answered(ctx, caller, asked, answers.get(_QUESTION))
            return None
        asked = self._consent.ask(caller, run, plan.id, mode)
        card = await _in_thread(lambda: self._desk.card(outcome))
        request = self._consent.request(asked, card)
        if _repeats_calls(ctx):
            from mcp.types import InputRequiredResult

            return InputRequiredResult(input_requests={_QUESTION: request}, request_state=asked.nonce)
        answer = await _elicited(ctx, request)
        asked = self._consent.take(asked.nonce, caller, run, plan.id)
        await self._answered(ctx, caller, asked, answer)
        return None

    def _check_may_approve(self, caller: McpCaller, outcome: RunOutcome, plan: Plan) -> None:
        agent, state = self._desk.agent(caller), self._desk.state(outcome.run)
        ruling = agent.policy.may_approve(agent.principal, plan, state.proposer, outcome.costs)
        if not ruling.allowed:
            needs = ", ".join(agent.approval(outcome.run).needs) or "nobody"
            raise HeldError(f"{ruling.message} The plan waits; who may approve it: {needs}.")

    async def _answered(
        self,
        ctx: ServerRequestContext[Any, Any],
        caller: McpCaller,
        asked: PendingConsent,
        answer: Any,
    ) -> None:
        """Record the person's answer; HeldError unless the plan is approved then."""
        action = getattr(answer, "action", "cancel")
        agent = self._desk.agent(caller)
        client = _client_name(ctx)
        if action == "decline":
            refusal = Consent(asked.plan, f"mcp elicitation in {client}", approved=False, why="declined")
            await _in_thread(lambda: agent.answer(asked.run, refusal))
            raise DeniedError(f"the person at the client refused plan {asked.plan[:12]}.")
        if action != "accept":
            raise HeldError(f"plan {asked.plan[:12]} still waits: the question was dismissed.")
        if asked.mode == "url":
            await self._approved_elsewhere(asked)
            return
        if self._consent is None:
            raise DeniedError("nobody was asked here, so no answer counts.")
        self._consent.check_code(asked, answer.content)
        await _in_thread(lambda: agent.answer(asked.run, Consent(asked.plan, f"mcp elicitation in {client}")))

    async def _approved_elsewhere(self, asked: PendingConsent) -> None:
        """Wait until the ledger holds somebody's approval: that the page was opened says nothing."""
        import anyio

        with anyio.move_on_after(_WAIT_S):
            while not (await _in_thread(lambda: self._desk.state(asked.run))).approvals:
                await anyio.sleep(5 * _LOOK_EVERY_S)
            return
        raise HeldError(f"plan {asked.plan[:12]} still waits: nobody approved it in the console yet.")

    async def _carried_out(
        self, ctx: ServerRequestContext[Any, Any], caller: McpCaller, run: str, wait_s: float
    ) -> types.CallToolResult:
        import anyio

        was_going = await _in_thread(lambda: self._follower.is_going(run))
        await _in_thread(lambda: self._follower.begin(caller, run))
        try:
            outcome = await self._follower.follow(caller, run, wait_s, ctx.session.report_progress)
        except anyio.get_cancelled_exc_class():
            if not was_going:  # else it is somebody else's call
                self._follower.stop(caller, run)
            raise
        going = await _in_thread(lambda: self._follower.is_going(run))
        figures = await _in_thread(lambda: self._follower.figures(run))
        return self._told(RUN, outcome, figures, going=going)

    def _told(
        self,
        name: str,
        outcome: RunOutcome,
        figures: Mapping[str, Any] | None = None,
        *,
        note: str = "",
        going: bool = False,
        is_answer: bool = False,
    ) -> types.CallToolResult:
        """How a run stands, as a tool's answer; `is_answer`: telling it is all that the tool does."""
        going = going or outcome.status == "running"
        word = RUNNING if going else WAITING if outcome.status == "waiting" else None
        told = {**run_document(outcome, word), "results": outcome.results}
        told["message"] = f"{note}{outcome.message}"
        if figures is not None:
            told["progress"] = dict(figures)
        if outcome_word(outcome.exit_code) == "failed":
            told["how_to_go_on"] = f"run_plan again, or `opswright resume {outcome.run}`"
        is_error = not is_answer and not going and outcome.exit_code not in (0, 3, 4)
        return tool_result(name, told, is_error=is_error)


async def _while_telling(
    ctx: ServerRequestContext[Any, Any],
    work: Callable[[], T],
    latest: LatestProgress,
    cancelled: threading.Event,
) -> T:
    """The work's result from a thread, its progress told meanwhile; a cancelled call stops the work."""
    import anyio
    from anyio.to_thread import run_sync

    async def tell() -> None:
        told = 0.0
        while True:
            await anyio.sleep(_LOOK_EVERY_S)
            if latest.done > told:
                told = latest.done
                await ctx.session.report_progress(told, latest.total, latest.unit or None)

    try:
        async with anyio.create_task_group() as group:
            group.start_soon(tell)
            result = await run_sync(work, abandon_on_cancel=True)
            group.cancel_scope.cancel()
    except BaseExceptionGroup as found:
        if len(found.exceptions) == 1:  # the work's own
            raise found.exceptions[0] from None
        raise
    except anyio.get_cancelled_exc_class():
        cancelled.set()
        raise
    return result


async def _in_thread(work: Callable[[], T]) -> T:
    from anyio.to_thread import run_sync

    return await run_sync(work)


def _repeats_calls(ctx: ServerRequestContext[Any, Any]) -> bool:
    """Whether this protocol asks by an answer after which the client repeats its call (from 2026-07-28)."""
    from mcp.types.version import is_version_at_least

    return bool(is_version_at_least(ctx.protocol_version, "2026-07-28"))


async def _elicited(ctx: ServerRequestContext[Any, Any], request: types.ElicitRequest) -> types.ElicitResult:
    from mcp.shared.message import ServerMessageMetadata
    from mcp.types import ElicitResult

    metadata = ServerMessageMetadata(related_request_id=ctx.request_id)
    return await ctx.session.send_request(request, ElicitResult, metadata=metadata)


def _client_name(ctx: ServerRequestContext[Any, Any]) -> str:
    """What the client calls itself: for the record, and believed for nothing."""
    from ...core.text import escaped

    client = ctx.session.client_params
    return escaped(client.client_info.name)[:60] if client is not None else "an unnamed client"


def _text(arguments: Mapping[str, Any], name: str, *besides: str) -> str:
    """The one text that a tool takes; AskError for anything else."""
    unknown = set(arguments) - {name, *besides}
    if unknown:
        raise AskError(
            f"unknown argument '{sorted(unknown)[0][:80]}' (it takes: {', '.join((name, *besides))})."
        )
    value = arguments.get(name)
    if not isinstance(value, str) or not value:
        raise AskError(f"'{name}' is missing, or is no text.")
    return value


def _seconds(arguments: Mapping[str, Any]) -> float:
    value = arguments.get("wait_s", _WAIT_S)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise AskError("'wait_s' must be a number of seconds.")
    if not 0 <= value <= _MOST_WAIT_S:
        raise AskError(f"'wait_s' must be from 0 to {_MOST_WAIT_S:g}.")
    return float(value)
