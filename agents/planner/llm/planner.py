"""The planner with a model: it reads, asks, answers, and proposes; nothing that it says is consent.

Where the endpoint fails, a limit is reached or the model goes astray, the phrases planner's reply counts, and
it is said why.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ....core.contract import Effect
from ....core.data_block import data_block
from ....core.errors import AskError, BudgetError, DeniedError, NeedsError, OpswrightError
from ....core.files import sha256_json
from ....core.price_table import plain_address
from ....core.secrets import Redactor, secret_names
from ....core.text import escaped, one_line
from ..base import (
    Ask,
    Declined,
    PlannedBy,
    PlannerReply,
    PlannerSetup,
    PlanningEvent,
    Proposal,
    Question,
    RecordAnswer,
    Turn,
)
from ..phrases import PhrasesPlanner
from ..phrases.drafts import from_document
from .call_arguments import arguments_of, echo
from .charging import PlanningAccount
from .held_back import held_back
from .limits import PlanningMeter, with_table_prices
from .model_client import ModelCall, ModelClient, ModelFailed, ModelReply, PlanningStopped
from .plan_proposal import leads_beyond, plan_proposal
from .prompts import prompt
from .read_tools import ReadTools
from .timed import in_time
from .tool_schemas import ANSWER, ASK, DECLINE, DESCRIBE, ENDS, PROPOSE, described, plan_tools
from .window import OTHER, Message, conversation_messages, fitted, size_of

_REPAIRS = 2  # plans that the compiler refused and the model may mend
_FAULTS = 3  # calls that are no calls: bad JSON, unknown tools, text alone
_REPEATS = 2  # times that something is called again as it was
_LONGEST = 4_000  # characters of an answer
_CHOICES = 6
_FINAL = ("approval", "unseen")  # never a model's to read: consent in words, characters that hide


class _GaveUp(Exception):
    """The model's reply does not count; the text says why, in a clause."""


class LlmPlanner:
    """Plain language to a reply by a model behind an OpenAI-compatible endpoint."""

    def __init__(self, setup: PlannerSetup) -> None:
        self._setup = setup

    def propose(self, ask: Ask, conversation: Sequence[Turn]) -> PlannerReply:
        """The model's reply within its limits; else that of the phrases planner, which says so."""
        settings = self._setup.workspace.settings.planner
        if settings.base_url is None or settings.model is None:
            raise AskError("the planner llm needs planner.base_url and planner.model in opswright.toml.")
        plain = self._without_model(ask, conversation)
        if isinstance(plain, Declined) and plain.reason in _FINAL:
            return replace(plain, planned_by=PlannedBy("phrases"))
        thinking = _Thinking(self._setup, ask, conversation, plain)
        by = None
        try:
            reply = self._thought(thinking, plain)
            by = reply.planned_by
        finally:  # also where something breaks: else what is held would be held for good
            thinking.account.settle(thinking.meter.taken(), by or thinking.planned_by())
        if isinstance(reply, Proposal) and thinking.meter.turns:
            return replace(reply, cost=thinking.meter.taken())
        return reply

    def _thought(self, thinking: _Thinking, plain: PlannerReply) -> PlannerReply:
        """The model's reply, or why another one counts."""
        settings = self._setup.workspace.settings.planner
        try:
            return thinking.reply()
        except PlanningStopped:
            stopped = Declined("Stopped: nothing was run or proposed.", "stopped")
            return replace(stopped, planned_by=thinking.planned_by())
        except (_GaveUp, ModelFailed, BudgetError, DeniedError, NeedsError) as error:
            said = f"{settings.model} at {settings.base_url}: {one_line(str(error))}"
            why = escaped(thinking.redactor.text(said))
            self._setup.events(PlanningEvent("note", f"Planned without a model: {why}"))
            planned = thinking.planned_by(instead_of=why)
            if isinstance(plain, Proposal):
                return replace(plain, planned_by=planned, notes=(planned.in_words,))
            return replace(plain, planned_by=planned)

    def _without_model(self, ask: Ask, conversation: Sequence[Turn]) -> PlannerReply:
        """What the words come to by phrases alone."""
        try:
            planner = PhrasesPlanner(self._setup.registry, self._setup.workspace)
            return planner.propose(replace(ask, kind="phrases"), conversation)
        except OpswrightError as error:
            return Declined(str(error), "error")


@dataclass
class _Thinking:
    """One message, while a model works on it."""

    setup: PlannerSetup
    ask: Ask
    conversation: Sequence[Turn]
    plain: PlannerReply
    redactor: Redactor = field(default_factory=Redactor)
    refused_plans: int = 0
    faults: int = 0
    repeats: int = 0

    def __post_init__(self) -> None:
        settings = self.setup.workspace.settings
        self.settings = with_table_prices(settings.planner, settings.prices)
        self.meter = PlanningMeter(self.settings)
        self.account = PlanningAccount(self.setup)
        self.rules = prompt("rules")
        self.reading = ReadTools(self.setup, self.redactor)
        self.tools = [*plan_tools(self.setup.registry), *self.reading.schemas()]
        own = ("", self.setup.principal.name if self.setup.principal is not None else "")
        self.conversation = [t if t.by in own else replace(t, speaker=OTHER) for t in self.conversation]
        self.words = "\n".join([*(t.text for t in self.conversation if t.speaker == "user"), self.ask.text])
        self.seen: dict[str, str] = {}

    def reply(self) -> PlannerReply:
        """What the model comes to."""
        key = self._know_secrets()
        base_url, model = str(self.settings.base_url), str(self.settings.model)
        retries, cancelled = self.settings.retries, self.setup.cancelled
        with ModelClient(base_url, model, key, retries, cancelled, self.redactor) as client:
            self.meter = PlanningMeter(self.settings)  # loading the client is not the model's time
            most = self.settings.window_tokens - self.settings.max_reply_tokens - size_of(self.tools)
            if most < size_of([self.rules.text, self.ask.text]):
                raise _GaveUp(
                    f"planner.window_tokens of {self.settings.window_tokens:,} does not hold the rules, the "
                    "tools and the message"
                )
            messages = conversation_messages(
                self.rules.text, self.conversation, self.ask, most, self.redactor
            )
            while True:
                said = self._call(client, fitted(messages, most))
                found = self._taken(said, messages)
                if found is not None:
                    return found

    @property
    def has_read(self) -> bool:
        """Whether the model was shown what others wrote: by a tool, or in the conversation."""
        return bool(self.reading.shown) or any(turn.speaker != "user" for turn in self.conversation)

    def planned_by(self, instead_of: str = "") -> PlannedBy:
        """What it took, for the record."""
        return PlannedBy(
            "phrases" if instead_of else "llm",
            str(self.settings.model),
            {self.rules.label: self.rules.digest, "tools": sha256_json(self.tools)},
            tuple(dict.fromkeys(self.reading.shown)),
            self.meter.turns,
            self.meter.tokens,
            self.meter.usd if self.meter.has_prices else None,
            self.meter.seconds,
            instead_of,
            plain_address(str(self.settings.base_url)),
            self.account.message,
        )

    def _know_secrets(self) -> str | None:
        """Have every secret that settings name hidden from the model and from answers; gives the key."""
        for name in secret_names(self.setup.workspace.settings):
            try:
                self.redactor.resolve(name)
            except NeedsError:  # not there: nothing to hide
                continue
        if self.settings.key is None:
            return None
        key = self.settings.key.resolve().strip()
        if not (key.isascii() and key.isprintable()):
            raise NeedsError("what planner.key names holds a line break or letters that no key has")
        return key

    def _call(self, client: ModelClient, messages: list[Message]) -> ModelReply:
        """One call of the model, paid for beforehand as far as it may go."""
        if self.setup.cancelled.is_set():
            raise PlanningStopped
        most, read = self.settings.max_reply_tokens, size_of(messages) + size_of(self.tools)
        self.account.reserve(self.meter.expected(read, most))
        self.meter.reserve(read, most)
        turn, usage, said = self.meter.turns, None, ""
        try:
            reply = client.complete(
                messages,
                self.tools,
                max_tokens=most,
                timeout_s=self.meter.seconds_left,
                on_text=lambda text: self._tell("thinking", self.redactor.text_so_far(text), turn),
            )
            if reply.text:
                self._tell("thinking", reply.text, turn)
            usage, said = reply.usage, reply.text + "".join(call.arguments for call in reply.calls)
        finally:
            self.meter.settle(usage, said)
        return reply

    def _tell(self, kind: Any, text: str, turn: int) -> None:
        shown = escaped(self.redactor.text(text), keep="\n")[:_LONGEST]
        self.setup.events(PlanningEvent(kind, shown, turn))

    def _taken(self, said: ModelReply, messages: list[Message]) -> PlannerReply | None:
        """The reply that a turn ends with; None when it goes on, with what it called answered."""
        calls = [{"id": c.id, "type": "function", "function": echo(c, self.redactor)} for c in said.calls]
        messages.append(
            {
                "role": "assistant",
                "content": self.redactor.text(said.text) or None,
                **({"tool_calls": calls} if calls else {}),
            }
        )
        if not said.calls:
            self._fault("no tool was called")
            messages.append({"role": "user", "content": f"Answer by one of the tools {', '.join(ENDS)}."})
            return None
        ends = [call for call in said.calls if call.name in ENDS]
        for call in said.calls:
            if len(ends) > 1 and call.name in ENDS:
                answer: str | PlannerReply = self._fault("only one of the tools that answer can be called")
            else:
                answer = self._called(call)
            if not isinstance(answer, str):
                return answer
            messages.append({"role": "tool", "tool_call_id": call.id, "content": answer})
        return None

    def _called(self, call: ModelCall) -> str | PlannerReply:
        """What a call gives: a text for the model, or the reply for the person."""
        try:
            arguments = arguments_of(call, self.redactor)
        except ValueError as error:
            return self._fault(str(error))
        known = f"{call.name} {json.dumps(arguments, sort_keys=True)}"
        if known in self.seen and call.name != PROPOSE:
            self.repeats += 1
            if self.repeats >= _REPEATS:
                raise _GaveUp(f"it went in a circle: {call.name} was called again and again")
            return f"error: called before as it is now; its result was: {self.seen[known]}"
        ended = {PROPOSE: self._proposed, ASK: self._asked, ANSWER: self._answered, DECLINE: self._declined}
        if call.name in ended:
            return ended[call.name](arguments)
        if call.name == DESCRIBE:
            result = self._described(arguments)
        elif call.name in self.reading:
            shown = f"{call.name} {json.dumps(arguments, ensure_ascii=False)}" if arguments else call.name
            self._tell("tool", shown[:300], self.meter.turns)
            limit = f"planner.max_seconds is {self.settings.max_seconds:g}, and {call.name} took longer"
            result = in_time(
                lambda: self.reading.call(call.name, arguments),
                self.meter.seconds_left,
                self.setup.cancelled,
                limit,
            )
        else:
            return self._fault(f"there is no tool '{self.redactor.text(call.name)[:60]}'")
        self.seen[known] = result
        return result

    def _fault(self, why: str) -> str:
        self.faults += 1
        if self.faults >= _FAULTS:
            raise _GaveUp(f"its replies cannot be used ({why})")
        return f"error: {why}"

    def _described(self, arguments: dict[str, Any]) -> str:
        names = arguments.get("skills")
        asked = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
        known = [name for name in asked if name in self.setup.registry]
        if not known:
            return self._fault("name skills that there are")
        return json.dumps([described(self.setup.registry.get(name)) for name in known[:3]], default=str)

    def _proposed(self, arguments: dict[str, Any]) -> str | PlannerReply:
        try:
            proposal = plan_proposal(self.setup, self.ask, arguments, self.words)
        except OpswrightError as error:
            self.refused_plans += 1
            shown = self.redactor.text(one_line(str(error)))[:1000]
            self._tell("note", f"The plan was refused: {shown}", self.meter.turns)
            if self.refused_plans > _REPAIRS:
                raise _GaveUp(f"its plan was refused {self.refused_plans} times, at last: {shown}") from None
            told = data_block("compiler", shown)  # it may quote what others named
            return f"error: the plan was refused. Mend it, or ask the person. {told}"
        held = held_back(proposal, self.plain, self.setup.registry, has_read=self.has_read)
        if held and isinstance(self.plain, Proposal):
            raise _GaveUp(f"its plan was held back: {held}")
        if held:
            text = f"Nothing is proposed: {held}. Say outright what is to be done now."
            commands = from_document(proposal.draft or {}, self.setup.registry).commands()
            if self.has_read and not self._are_of_the_words(proposal):  # others' words offer no command
                return Question(text, planned_by=self.planned_by())
            return Question(f"{text} The model read it as:", commands, planned_by=self.planned_by())
        planned = self.planned_by()
        notes = (planned.in_words, *proposal.notes, *self._told_by_words(proposal))
        return replace(proposal, planned_by=planned, notes=notes)

    def _are_of_the_words(self, proposal: Proposal) -> bool:
        """Whether a plan changes no endpoint, and each value in it is one that the person wrote."""
        said, draft = self.words.lower().split(), proposal.draft or {}
        values = [value for step in draft.get("steps", ()) for value in step["with"].values()]
        written = all(str(value).lower() in said for value in values)
        is_bare = not draft.get("gates") and not draft.get("budget")
        return written and is_bare and proposal.plan.effect is Effect.WRITES

    def _told_by_words(self, proposal: Proposal) -> list[str]:
        """What the words alone come to, where that is another plan: whoever approves compares them."""
        if not isinstance(self.plain, Proposal):
            return []
        own, models = (
            from_document(one.draft or {}, self.setup.registry).commands() for one in (self.plain, proposal)
        )
        if own == models:
            return []
        return [f"read without a model, your words come to: {'; '.join(own)[:600]}"]

    def _asked(self, arguments: dict[str, Any]) -> str | PlannerReply:
        text, choices = self._said(arguments.get("question")), arguments.get("choices")
        if not text:
            return self._fault("`question` must be a text")
        shown = [one_line(self._said(one))[:200] for one in choices] if isinstance(choices, list) else []
        kept = [one for one in shown if one and not self._puts_in_mouth(one)]
        step, open_field = (str(arguments.get(name) or "")[:64] for name in ("skill", "field"))
        before = next((turn.draft for turn in reversed(self.conversation) if turn.draft is not None), {})
        draft = {"steps": [], "gates": {}, "budget": {}, **before, "goal": self.ask.text}
        draft["asked"] = {"step": step, "field": open_field}
        return Question(text, tuple(kept[:_CHOICES]), draft, self.planned_by())

    def _puts_in_mouth(self, choice: str) -> bool:
        """Whether who takes a choice would say what only they may bring: a command, an address, a secret."""
        return choice.startswith("/") or any(leads_beyond(word, self.words) for word in choice.split())

    def _answered(self, arguments: dict[str, Any]) -> str | PlannerReply:
        text, records = self._said(arguments.get("text")), arguments.get("records") or []
        if not text or not isinstance(records, list):
            return self._fault("`text` must be a text and `records` a list of numbers")
        unknown = [one for one in records if not isinstance(one, int) or one not in self.reading.records]
        if unknown:
            return self._fault(f"no tool has shown record {str(unknown[0])[:20]}")
        if not self.reading.called and not records:
            return self._fault("an answer rests on what a tool returned; call one, or decline")
        lost = [one for one in re.findall(r"secret:\S+", text) if one not in self.words]
        if lost:
            return self._fault("an answer names no secret")
        return RecordAnswer(
            text,
            self.reading.about or "model",
            tuple(dict.fromkeys(records)),
            planned_by=self.planned_by(),
        )

    def _declined(self, arguments: dict[str, Any]) -> str | PlannerReply:
        text = self._said(arguments.get("why"))
        if not text:
            return self._fault("`why` must be a text")
        return Declined(f"Nothing was run or proposed: {text}", "model", planned_by=self.planned_by())

    def _said(self, value: object) -> str:
        """A text for the person: without secrets, without what hides, cut to a length."""
        text = value if isinstance(value, str) else ""
        return escaped(self.redactor.text(text.strip()), keep="\n")[:_LONGEST]
