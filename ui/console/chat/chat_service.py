"""What the chat page asks of the server, apart from Gradio."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Any

from ....agents.planner import Turn
from ....core.errors import AskError, BackendError, OpswrightError, from_os_error
from .. import uploads
from ..auth.users import Person
from ..console import Console
from ..markup import render
from ..overview import overview
from ..pages.mlflow_pages import MlflowPages
from . import blocks
from .builtin_commands import make_commands
from .cards import Cards
from .commands import Call, Reply
from .completion import CommandCompletion
from .conversations import Conversations, Entry, turn_of
from .plan_edits import PlanEdits
from .planning import Plannings
from .run_service import RunService

_AT_ONCE_S = 0.2  # so long a command may take and still be answered in the same breath
_SHOWN = 200  # newest entries of a conversation that is opened
_HEARD = 100  # newest entries that a planner is given
_LONGEST = 20_000  # characters of a message
_LONGEST_SEARCH = 200


class ChatService:
    """One console's chat. It keeps nothing of a conversation in memory: everything is read from its file.

    What planners think aloud is no part of a conversation; it is shown while it lasts.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._conversations = Conversations(console.workspace)
        self.run_service = RunService(console)
        self._mlflow = MlflowPages(console.workspace)
        self._commands = make_commands(console, self.run_service, self._mlflow)
        self._completion = CommandCompletion(console, self.run_service, self._commands)
        self._cards = Cards(console, self.run_service)
        self._plans = PlanEdits(console, self.run_service)
        self._plannings = Plannings()
        self._threads = ThreadPoolExecutor(8, thread_name_prefix="chat")

    def close(self) -> None:
        """Release what only this console uses; runs continue."""
        self._plannings.stop_all()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self.run_service.close()
        self._mlflow.close()
        self._commands.close()

    def open(self, person: Person, name: str | None) -> dict[str, Any]:
        """A conversation from its start, or a new one, and the list of all; an empty one has the overview."""
        every = self._conversations.newest()
        if not name:
            name = self._conversations.new()
        entries, cursor = self._conversations.read(name)
        cut = max(0, len(entries) - _SHOWN)
        return {
            "conversation": name,
            "person": person.name,
            "role": str(person.role),
            "cursor": cursor,
            "left_out": cut,
            "entries": self._show(entries[cut:]),
            "conversations": [vars(one) for one in every],
            **({} if entries else self.overview(person)),
        }

    def overview(self, person: Person) -> dict[str, Any]:
        """Where the workspace stands, as the first screen shows it."""
        return {"overview": overview(self._console, person)}

    def new(self) -> str:
        """A name for a new conversation."""
        return self._conversations.new()

    def listed(self, words: str) -> dict[str, Any]:
        """The newest conversations, or those that hold some words."""
        words = words.strip()[:_LONGEST_SEARCH]
        every = self._conversations.search(words) if words else self._conversations.newest()
        return {"conversations": [vars(one) for one in every]}

    def rename(self, person: Person, name: str, title: str) -> None:
        """Give a conversation another name; HeldError for who may change nothing."""
        self._console.check_may_change(person, "rename a conversation")
        self._conversations.rename(name, title)

    def delete(self, person: Person, name: str) -> None:
        """Remove a conversation for everybody; HeldError for who may change nothing."""
        self._console.check_may_change(person, "delete a conversation")
        self._conversations.delete(name)

    def look(self, name: str, cursor: int, live: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
        """What was added beyond `cursor`, and which of the live entries (id: run, digest) look different."""
        if cursor and not self._conversations.is_there(name):
            raise AskError("this conversation was deleted. Begin a new one, or choose another.")
        entries, cursor = self._conversations.read(name, cursor)
        shown = self._show(entries)
        for entry_id, known in list(live.items())[:_SHOWN]:
            fresh = self._card(entry_id, str(known.get("run", "")))
            if fresh["digest"] != known.get("digest"):
                shown.append(fresh)
            elif fresh["running"]:
                shown.append({"id": entry_id, "running": True})
        answered = {entry.get("to") for entry in shown}
        shown += [one for one in self._plannings.entries(name) if one["message"] not in answered]
        return {"cursor": cursor, "entries": shown}

    def send(
        self, person: Person, name: str, text: str, cursor: int, live: Mapping[str, Mapping[str, str]]
    ) -> dict[str, Any]:
        """Take a message: AskError for a wrong command, which leaves nothing; else what there is to see."""
        text = text.strip()
        if not text:
            raise AskError("type a command first, such as /help.")
        if len(text) > _LONGEST:
            raise AskError(f"the message is too long: {len(text):,} characters, the limit is {_LONGEST:,}.")
        self._commands.check(text)
        if cursor and not self._conversations.is_there(name):
            raise AskError("this conversation was deleted. Begin a new one to say it there.")
        message = self._conversations.append(name, "said", by=person.name, text=text)
        work = self._threads.submit(self._answer, person, name, text, str(message["id"]))
        wait_for([work], timeout=_AT_ONCE_S)
        return {**self.look(name, cursor, live), "pending": None if work.done() else message["id"]}

    def introduce(self, person: Person, what: str, found: list[blocks.Block], command: str) -> str:
        """A new conversation that begins with what a person did elsewhere, and a command in their name."""
        name = self._conversations.new()
        self._conversations.append(name, "said", by=person.name, text=what)
        self._conversations.append(name, "answer", blocks=found)
        self.send(person, name, command, 0, {})
        return name

    def assist(self, line: str) -> dict[str, Any]:
        """Completion of a line, and its fault."""
        return self._completion.assist(line[:_LONGEST])

    def decide(self, person: Person, run: str, plan: str, approved: bool) -> None:
        """A click on Approve or Reject."""
        self.run_service.answer(person, run, plan, approved=approved)

    def plan_text(self, run: str) -> dict[str, Any]:
        """A run's plan as YAML, to be changed."""
        return {"text": self._plans.text(run)}

    def check_plan(self, person: Person, run: str, text: str) -> dict[str, Any]:
        """The id of the plan that a text is; AskError, with the line, for what is wrong in it.

        HeldError for who may propose nothing: a plan's id tells what is in the files that the text names.
        """
        self._console.check_may_propose(person, "change a plan")
        return {"plan": self._plans.check(run, text).id}

    def change_plan(self, person: Person, name: str, run: str, text: str) -> None:
        """Propose the changed plan in the conversation, as a run of its own."""
        self._console.check_may_propose(person, "change a plan")
        made = self._plans.propose(person, run, text)
        self._conversations.append(name, "said", by=person.name, text=f"edited the plan of run {run}")
        self._conversations.append(name, "run", run=made)

    def stop_planning(self, person: Person, name: str, message: str) -> None:
        """A click on Stop while a planner thinks."""
        self._plannings.stop(person, name, message)

    def keep(self, person: Person, name: str, received: Path, file_name: str, folder: Path) -> None:
        """Take an uploaded file into the workspace and say so in the conversation.

        HeldError for who may change nothing.
        """
        self._console.check_may_change(person, "upload a file")
        limit = int(self._console.settings.console.max_upload_mb * 1e6)
        kept = uploads.keep(self._console.workspace, received, file_name, folder, limit)
        self._conversations.append(name, "said", by=person.name, text=f"uploaded {file_name}")
        where = shlex.quote(str(kept))
        use = {f"/plan {where}": "show what it would do"} if kept.suffix in (".yaml", ".yml") else {}
        data = {f"/curate source={where}": "make a training set of it"} if not use else {}
        found = [
            blocks.text(f"Kept as {kept.name}, {kept.stat().st_size:,} bytes."),
            blocks.commands(use | data),
        ]
        self._conversations.append(name, "answer", blocks=found)

    def _answer(self, person: Person, name: str, text: str, to: str) -> None:
        """Carry a message out and keep its answer."""
        try:
            with self._plannings.of(person, name, to) as planning:
                call = Call(text, person, lambda: self._runs(name), turns=lambda: self._turns(name, to))
                reply = self._commands.answer(replace(call, planning=planning))
        except OpswrightError as error:
            reply = Reply([blocks.text(str(error), "bad")])
        except OSError as error:
            reply = Reply([blocks.text(str(from_os_error(error, "the command ran")), "bad")])
        except Exception as error:
            known = BackendError(f"the command failed: {type(error).__name__}: {error}")
            reply = Reply([blocks.text(str(known), "bad")])
        kept = {"draft": reply.draft} if reply.draft is not None else {}
        if reply.is_card:
            self._conversations.append(name, "run", run=reply.run, to=to, **kept)
        else:
            self._conversations.append(name, "answer", blocks=reply.blocks, run=reply.run, to=to, **kept)

    def _turns(self, name: str, until: str) -> list[Turn]:
        """The newest turns of a conversation before one of its messages."""
        entries = self._conversations.read(name)[0]
        before = [entry for entry in takewhile(lambda one: one["id"] != until, entries)]
        return [turn_of(entry) for entry in before[-_HEARD:]]

    def _runs(self, name: str) -> list[str]:
        """The runs a conversation has shown, oldest first."""
        return [str(entry["run"]) for entry in self._conversations.read(name)[0] if entry["kind"] == "run"]

    def _show(self, entries: list[Entry]) -> list[dict[str, Any]]:
        return [self._shown(entry) for entry in entries]

    def _shown(self, entry: Entry) -> dict[str, Any]:
        if entry["kind"] == "run":
            return {**self._card(str(entry["id"]), str(entry["run"])), "to": entry.get("to")}
        html = render("entry.html", entry={"run": None, **entry})
        return {"id": entry["id"], "html": html, "live": False, "to": entry.get("to")}

    def _card(self, entry_id: str, run: str) -> dict[str, Any]:
        card = self._cards.draw(run)
        digest = hashlib.sha256(card.html.encode()).hexdigest()[:16]
        return {
            "id": entry_id,
            "run": run,
            "html": card.html,
            "live": card.is_live,
            "running": card.is_running,
            "digest": digest,
        }
