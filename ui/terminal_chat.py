"""The chat in a terminal: slash commands with completion, a line each."""

from __future__ import annotations

import sys

import typer

from ..agents.planner.slash import SlashPlanner
from ..core.errors import OpswrightError, did_you_mean
from .session import Session
from .show import console

WELCOME = "Type a command such as /leaderboard, /skills or /help; Tab completes; /quit leaves."


def talk(session: Session) -> None:
    """Read commands until the end of input; a wrong one is answered and leaves everything as it was."""
    planner = SlashPlanner(session.registry, session.workspace.artifacts)
    _complete_with(planner)
    if sys.stdin.isatty():
        console().print(WELCOME)
    while True:
        try:
            line = input("opswright> " if sys.stdin.isatty() else "").strip()
        except EOFError:
            return
        if line in ("/quit", "/exit"):
            return
        if line:
            _answer(session, planner, line)


def _answer(session: Session, planner: SlashPlanner, line: str) -> None:
    words = line.split()
    try:
        if words[0] in ("/help", "/skills"):
            _help(session, words[1:])
        elif not line.startswith("/"):
            names = [f"/{skill.name}" for skill in session.registry]
            nearest = did_you_mean(f"/{words[0]}", names)
            print(f"Commands start with '/': {', '.join(names)}.{nearest}")
        else:
            session.slash(line, as_json=False, yes=False, how="chat")
    except typer.Exit:
        pass  # the outcome was shown
    except OpswrightError as error:
        print(f"{error}")


def _help(session: Session, names: list[str]) -> None:
    from .skill_commands import default_words, type_words

    for name in names:
        skill = session.registry.get(name.lstrip("/"))
        print(f"/{skill.name}: {skill.says} It {skill.effect.in_words}. Example: {skill.example}")
        for field_name, field in skill.request.model_fields.items():
            print(f"  {field_name}={type_words(field)}  {field.description or ''} [{default_words(field)}]")
    if not names:
        for skill in session.registry:
            print(f"/{skill.name}: {skill.says}")
        print("/help SKILL shows a command's arguments.")


def _complete_with(planner: SlashPlanner) -> None:
    try:
        import readline
    except ImportError:
        return  # no completion on this terminal
    readline.set_completer_delims("\n")
    found: list[str] = []

    def complete(text: str, index: int) -> str | None:
        if index == 0:
            head = text.rpartition(" ")[0]
            found[:] = [f"{head} {word}".strip() for word in planner.complete(text)]
        return found[index] if index < len(found) else None

    readline.set_completer(complete)
    readline.parse_and_bind("tab: complete")
