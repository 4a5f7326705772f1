"""Commands: what a line typed into the chat means, and what it answers."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ....agents.planner import Ask
from ....agents.planner.slash import SlashPlanner
from ....agents.planner.values import check_named
from ....core.contract import Effect, Skill
from ....core.errors import AskError, did_you_mean
from ..auth.users import Person
from ..console import Console
from . import blocks
from .questions import ChatQuestions, is_question
from .run_service import RunService


@dataclass
class Reply:
    """What a command led to: blocks to show, or a run to show the card of."""

    blocks: list[blocks.Block] = field(default_factory=list)
    run: str | None = None
    is_card: bool = False


@dataclass(frozen=True)
class Call:
    """One command as it was typed, its words without the name, who typed it, and the runs shown before."""

    text: str
    person: Person
    runs: Callable[[], Sequence[str]] = lambda: ()  # those the conversation has shown, oldest first
    words: Sequence[str] = ()


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
        self._questions = ChatQuestions(console.workspace)

    def close(self) -> None:
        """Close what questions opened."""
        self._questions.close()

    @property
    def planner(self) -> SlashPlanner:
        """What reads a skill's command."""
        return SlashPlanner(self._console.registry, self._console.workspace)

    def names(self) -> dict[str, str]:
        """Every command's name with what it does, without the slash."""
        skills = {skill.name: skill.summary for skill in self._console.registry}
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
        self._skill(name)
        skill, arguments = self.planner.parse(text)
        skill.parse(arguments)
        for argument, value in arguments.items():
            check_named(argument, value)

    def answer(self, call: Call) -> Reply:
        """What a line leads to; errors of the family are for the person who typed it."""
        if not call.text.startswith("/"):
            return (
                Reply(self._questions.answer(call.text)) if is_question(call.text) else self._hint(call.text)
            )
        words = _words(call.text)
        if (command := self.builtin.get(words[0][1:])) is not None:
            return command.answer(replace(call, words=words[1:]))
        skill = self._skill(words[0][1:])
        outcome = self._run_service.start(call.person, Ask("slash", call.text))
        if skill.effect is not Effect.READS or outcome.status != "done":
            return Reply(run=outcome.run, is_card=True)
        found = [block for result in outcome.results.values() for block in blocks.result(result)]
        return Reply(found, run=outcome.run)

    def _skill(self, name: str) -> Skill[Any, Any]:
        if name in self._console.registry:
            return self._console.registry.get(name)
        near = did_you_mean(f"/{name.lower()}", [f"/{known}" for known in self.names()])
        raise AskError(f"unknown command '/{name}'.{near} /help lists them all.")

    def _hint(self, text: str) -> Reply:
        """A short answer to plain language that asks nothing: the nearest commands."""
        near = nearest(text, self.names(), {skill.name: skill.phrases for skill in self._console.registry})
        message = "Only commands and questions are understood here. Nothing was run."
        if not near:
            return Reply([blocks.text(f"{message} /help lists what there is.")])
        names = self.names()
        return Reply(
            [
                blocks.text(f"{message} These come nearest:"),
                blocks.commands({f"/{name}": names[name] for name in near}),
            ]
        )


def nearest(text: str, names: dict[str, str], phrases: dict[str, tuple[str, ...]]) -> list[str]:
    """At most three commands whose name, sentence or phrases share words with a text, nearest first."""
    asked = _stems(text)

    def score(name: str) -> float:
        about = _stems(" ".join((names[name], *phrases.get(name, ()))))
        return 3 * len(asked & _stems(name)) + len(asked & about)

    ranked = sorted(names, key=lambda name: (-score(name), name))
    return [name for name in ranked if score(name) > 0][:3]


_COMMON = """
a an and are at be can do for from has have how i in into is it its me my no not of on or our please show that
the there this to us was we what when where which with you
"""


def _stems(text: str) -> set[str]:
    """The words of a text without their endings, common ones left out."""
    words = "".join(c.lower() if c.isalnum() else " " for c in text).split()
    return {word[:5] for word in words if word not in _COMMON.split() and len(word) > 1}


def _words(text: str) -> list[str]:
    try:
        words = shlex.split(text.strip())
    except ValueError as error:
        raise AskError(f"cannot read the command: {error}. Quote values that hold spaces.") from error
    if not words or words[0] == "/":
        raise AskError("a command starts with '/' and a name, such as /help.")
    return words
