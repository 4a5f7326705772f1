"""Commands: what a line typed into the chat means, and what it answers."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ....agents.planner import PLAIN_LANGUAGE, Ask, Declined, Draft, Proposal, Question, RecordAnswer, Turn
from ....agents.planner.slash import SlashPlanner
from ....agents.planner.values import check_named
from ....agents.project_skills import ProjectSkills, project_proposal
from ....core.contract import Effect, Skill
from ....core.errors import AskError, did_you_mean
from ..auth.users import Person
from ..console import Console
from . import blocks
from .planning import Planning
from .questions import ChatQuestions, is_question
from .run_service import RunService

PLANS, COMPILED = (".yaml", ".yml"), (".json",)  # how plans' files and compiled ones end


@dataclass
class Reply:
    """What a command led to: blocks to show, or a run to show the card of."""

    blocks: list[blocks.Block] = field(default_factory=list)
    run: str | None = None
    is_card: bool = False
    draft: Draft | None = None  # what was proposed or asked about, for the next message


@dataclass(frozen=True)
class Call:
    """One line as it was typed, a command's words without the name, who typed it, and what came before."""

    text: str
    person: Person
    runs: Callable[[], Sequence[str]] = lambda: ()  # those the conversation has shown, oldest first
    words: Sequence[str] = ()
    turns: Callable[[], Sequence[Turn]] = lambda: ()  # the conversation before it
    planning: Planning | None = None  # who is told what a planner does, and may stop it


@dataclass(frozen=True)
class Command:
    """A command that is not a skill."""

    name: str
    usage: str
    summary: str
    answer: Callable[[Call], Reply]
    values: str = ""  # what its first word is completed with: skills, plans, compiled, runs, waiting, words
    words: tuple[str, ...] = ()
    most: int = 1  # words it takes
    least: int = 0
    check: Callable[[Sequence[str]], None] = lambda words: None  # AskError for what cannot be right


class Commands:
    """Every command of the chat: its own, and each skill by name."""

    def __init__(self, console: Console, run_service: RunService, builtin: list[Command]) -> None:
        self._console = console
        self._run_service = run_service
        self.builtin = {command.name: command for command in builtin}
        self._questions = ChatQuestions(console.workspace, console.registry)

    def close(self) -> None:
        """Close what questions opened."""
        self._questions.close()

    @property
    def planner(self) -> SlashPlanner:
        """What reads a skill's command."""
        return SlashPlanner(self._console.registry, self._console.workspace)

    @property
    def _project_skills(self) -> ProjectSkills:
        """The skills that somebody added; each is verified when it is listed or called."""
        return ProjectSkills(self._console.workspace, self._console.registry)

    def names(self) -> dict[str, str]:
        """Every command's name with what it does, without the slash."""
        skills = {skill.name: skill.summary for skill in self._console.registry}
        skills |= {one.name: f"Project skill. {one.summary}" for one in self._project_skills}
        return dict(sorted({**skills, **{one.name: one.summary for one in self.builtin.values()}}.items()))

    def check(self, text: str) -> None:
        """AskError for a line that cannot be sent, with the nearest thing that can."""
        if not text.startswith("/"):
            return
        words = _words(text)
        name = words[0][1:]
        if (command := self.builtin.get(name)) is not None:
            given = len(words) - 1
            if given < command.least:
                raise AskError(f"/{name} needs {command.usage.partition(' ')[2]}, as in {command.usage}.")
            if given > command.most:
                most = f"{command.most or 'no'} {'word' if command.most == 1 else 'words'}"
                raise AskError(f"/{name} takes {most}, found {given}: {command.usage}.")
            command.check(words[1:])
            return
        if name in self._project_skills:
            project_proposal(text, self._console.workspace, self._console.registry)
            return
        self._skill(name)
        skill, arguments = self.planner.parse(text)
        skill.parse(arguments)
        for argument, value in arguments.items():
            check_named(argument, value)

    def answer(self, call: Call) -> Reply:
        """What a line leads to; errors of the family are for the person who typed it."""
        if not call.text.startswith("/"):
            return self._plain(call)
        words = _words(call.text)
        if (command := self.builtin.get(words[0][1:])) is not None:
            return command.answer(replace(call, words=words[1:]))
        if words[0][1:] not in self._project_skills:
            self._skill(words[0][1:])
        proposal = self._run_service.propose(call.person, Ask("slash", call.text), call.turns())
        if not isinstance(proposal, Proposal):
            return replied(proposal, self.names())
        return self._started(call, proposal)

    def _plain(self, call: Call) -> Reply:
        """What plain language leads to: a card, a question, an answer from the record, or why not."""
        ask = Ask(PLAIN_LANGUAGE, call.text)
        found = self._run_service.propose(call.person, ask, call.turns(), call.planning)
        if isinstance(found, Proposal):
            made = self._started(call, found)
            if found.is_change and made.run is not None:
                self._run_service.replace(call.person, call.turns(), made.run)
            return made
        if isinstance(found, RecordAnswer) and self._questions.is_of_another_time(call.text, found):
            return Reply([*_planned(found), *self._questions.answer(call.text)])
        if isinstance(found, Declined) and found.reason != "stopped" and is_question(call.text):
            return Reply([*_planned(found), *self._questions.answer(call.text)])
        return replied(found, self.names())

    def _started(self, call: Call, proposal: Proposal) -> Reply:
        """The run of a proposal: its result when it only read, else the card that waits for approval."""
        outcome = self._run_service.start(call.person, proposal)
        if proposal.plan.effect is not Effect.READS or outcome.status != "done":
            return Reply(run=outcome.run, is_card=True, draft=proposal.draft)
        found = [block for result in outcome.results.values() for block in blocks.result(result)]
        return Reply(found, run=outcome.run, draft=proposal.draft)

    def _skill(self, name: str) -> Skill[Any, Any]:
        if name in self._console.registry:
            return self._console.registry.get(name)
        near = did_you_mean(f"/{name.lower()}", [f"/{known}" for known in self.names()])
        raise AskError(f"unknown command '/{name}'.{near} /help lists them all.")


def replied(reply: Question | RecordAnswer | Declined, names: Mapping[str, str]) -> Reply:
    """A planner's reply that runs nothing: what it says, where that stands, what could be typed."""
    if isinstance(reply, Question):
        choices = [blocks.commands(dict.fromkeys(reply.choices, ""))] if reply.choices else []
        return Reply([*_planned(reply), blocks.text(reply.text), *choices], draft=reply.draft)
    listed = {command: names.get(command.split()[0].lstrip("/"), "") for command in reply.commands}
    commands = [blocks.commands(listed)] if listed else []
    if isinstance(reply, Declined):
        return Reply([*_planned(reply), blocks.text(reply.text, "warn"), *commands])
    links = [blocks.link(f"record {seq}", f"/ledger?seq={seq}") for seq in reply.records[:_LINKS]]
    return Reply([*_planned(reply), blocks.text(reply.text), *links, *commands])


def _planned(reply: Question | RecordAnswer | Declined) -> list[blocks.Block]:
    """That a model was asked, and what came of it, for whoever reads the answer."""
    told = reply.planned_by.in_words if reply.planned_by is not None else ""
    return [blocks.text(told, "soft")] if told else []


_LINKS = 6


def _words(text: str) -> list[str]:
    try:
        words = shlex.split(text.strip())
    except ValueError as error:
        raise AskError(f"cannot read the command: {error}. Quote values that hold spaces.") from error
    if not words or words[0] == "/":
        raise AskError("a command starts with '/' and a name, such as /help.")
    return words
