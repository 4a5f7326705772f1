"""Consent through the client: asked of the person there, in a form or a page that no tool's answer shows.

A form holds a code made for this one question, which stands in nothing that a tool answers: who answers read
the card. The question is answered once, by the caller it was put to, and within ten minutes. What a client
does with the form is the client's: one that hands it to its model must not be given an attended token.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ...core.errors import HeldError
from ...core.text import escaped
from ..consent import approve_command
from ..show import gate_words
from .callers import McpCaller

if TYPE_CHECKING:
    from mcp.types import ClientCapabilities, ElicitRequest

ANSWER = "code"
_LASTS_S = 600.0
_MOST_WRONG = 3
_MOST_TEXT = 300  # of each thing by itself: a long one pushes no other out of sight
_MOST_KEPT = 1_000
_ALPHABET = "BCDFGHJKLMNPQRSTVWXZ23456789"  # no vowels: no words; nothing that looks like another letter
_LENGTH = 6

Mode = Literal["form", "url"]


@dataclass(frozen=True)
class PendingConsent:
    """A question that was put to a person."""

    nonce: str
    caller: tuple[str, str]
    run: str
    plan: str
    code: str
    mode: Mode
    ends: float


class ConsentDesk:
    """The questions that are open, in memory: a restart of the server forgets them."""

    def __init__(self, console_url: str | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._console_url = console_url
        self._clock = clock
        self._open: dict[str, PendingConsent] = {}
        self._wrong: dict[str, int] = {}  # by plan
        self._lock = threading.Lock()

    def mode(self, capabilities: ClientCapabilities | None) -> Mode | None:
        """How this client's person can be asked; None: not here."""
        able = capabilities.elicitation if capabilities is not None else None
        if able is None:
            return None
        if able.url is not None and self._console_url is not None:
            return "url"
        return "form" if able.form is not None or able.url is None else None

    def ask(self, caller: McpCaller, run: str, plan: str, mode: Mode) -> PendingConsent:
        """A new question; HeldError when too many wrong codes were given for the plan."""
        now = self._clock()
        with self._lock:
            if self._wrong.get(plan, 0) >= _MOST_WRONG:
                raise HeldError(
                    f"{_MOST_WRONG} wrong codes were given for plan {plan[:12]}: it can only be approved in "
                    f"the console or with `{approve_command(run, plan)}`."
                )
            kept = [one for one in self._open.values() if one.ends > now][-_MOST_KEPT:]
            code = "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
            made = PendingConsent(
                secrets.token_urlsafe(24), caller.key, run, plan, code, mode, now + _LASTS_S
            )
            self._open = {one.nonce: one for one in [*kept, made]}
        return made

    def take(self, nonce: str, caller: McpCaller, run: str, plan: str) -> PendingConsent:
        """The question that an answer is for, which counts once; HeldError for any other."""
        with self._lock:
            found = self._open.pop(nonce, None)
        is_right = found is not None and (found.caller, found.run, found.plan) == (caller.key, run, plan)
        if found is None or not is_right or found.ends <= self._clock():
            raise HeldError("this answer is for no open question: it was used, is too old, or is another's.")
        return found

    def check_code(self, asked: PendingConsent, content: Mapping[str, Any] | None) -> None:
        """HeldError when the form's code is not the one that the person was shown."""
        typed = str((content or {}).get(ANSWER, "")).strip().upper()
        if secrets.compare_digest(typed.encode(), asked.code.encode()):
            return
        with self._lock:
            self._wrong[asked.plan] = self._wrong.get(asked.plan, 0) + 1
        raise HeldError(f"the code typed is not the one shown: plan {asked.plan[:12]} is not approved.")

    def request(self, asked: PendingConsent, card: Mapping[str, Any]) -> ElicitRequest:
        """The question as the protocol has it."""
        from mcp.types import ElicitRequest, ElicitRequestFormParams, ElicitRequestURLParams

        if asked.mode == "url":
            message = f"{card_text(asked, card)}\n\nOpen the console and type: /approve {asked.run}"
            url = str(self._console_url)
            params = ElicitRequestURLParams(message=message, url=url, elicitation_id=asked.nonce)
            return ElicitRequest(params=params)
        message = f"{card_text(asked, card)}\n\nTo consent to exactly this plan, type {asked.code}"
        field = {"type": "string", "title": "Code", "description": "The code at the end of the message."}
        schema: dict[str, Any] = {"type": "object", "properties": {ANSWER: field}, "required": [ANSWER]}
        return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=schema))


def card_text(asked: PendingConsent, card: Mapping[str, Any]) -> str:
    """The plan as a person reads it before consenting: every argument, every gate; nothing in it hides."""
    lines = [f"Plan {asked.plan[:12]}: {_cut(card['goal'], asked)}", f"It {card['effect']}."]
    for step in card["steps"]:
        cost = step.get("expected") or {}
        minutes = cost.get("minutes")
        usd = f", ${cost['usd']:g}" if cost.get("usd") else ""
        expected = "" if minutes is None else f" (about {minutes:.1f} min{usd})"
        given = {name: one for name, one in step["arguments"].items() if one not in (None, "", [], {})}
        arguments = ", ".join(f"{name}={_cut(str(value), asked)}" for name, value in given.items())
        lines.append(f"- {step['id']}: {step['skill']}, {step['effect']}{expected}: {arguments}")
    lines += [f"- gate {name}: {_cut(gate_words(gate), asked)}" for name, gate in card["gates"].items()]
    lines += [f"- budget: {name} {value:g}" for name, value in card["budget"].items()]
    for one in card["users_get"]:
        lines.append(f"- users of {one['endpoint']} get: {one['before']} -> {one['after']}")
    lines += [f"- {one['level']}: {one['message']} {one['fix']}" for one in card["findings"]]
    return "\n".join(escaped(" ".join(line.split())) for line in lines)


def _cut(text: str, asked: PendingConsent) -> str:
    """A text from outside, which may have any length."""
    if len(text) <= _MOST_TEXT:
        return text
    return f"{text[:_MOST_TEXT]} [cut; all: opswright approvals show {asked.run}]"
