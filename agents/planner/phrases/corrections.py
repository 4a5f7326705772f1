"""Corrections: what a message changes of the draft that was proposed before it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from ....core.contract import Effect
from ....core.errors import OpswrightError
from ..base import Declined, PlannerReply
from .accounting import ClauseReading, is_value
from .clauses import Clause, bar_of
from .drafts import OpenField, PlanDraft, StepDraft
from .short_corrections import LEADS, RESUMES, change_of, one_more, only_number, only_numbers, switched_off
from .slots import SlotFiller
from .text import Token, key_of_word, words
from .words import NEGATIONS, SMALL, negations_in

if TYPE_CHECKING:
    from .message import Message

_MARKS_CORRECTION = words("oh no nope actually sorry wait oops rather instead meant change make use")
_CONSENT = words(
    "yes yep yeah y ok okay go ahead do it sure please run proceed fine confirm confirmed ship agreed lgtm"
)
_LEAVE_OUT = words("skip without drop omit leave minus remove except")
_ORDINALS = {"first": 0, "second": 1, "third": 2, "fourth": 3, "1": 0, "2": 1, "3": 2, "4": 3}
_SHORT = 12
_VAGUE = re.compile(
    r"\b(?:something|anything|whatever|sth)(?: (?:else|different|other|new|similar|useful|nice))?"
    r"(?= (?:with|to|about|from) (?:it|that|this|them|these|those)\b| ?[.!?]*$)"
    r"|\b(?:differently|otherwise|(?:an|some) ?other way"
    r"|(?:a )?different(?:ly)? way|not like (?:that|this))\b"
)  # what is to be done is left open
_FILLERS = words(
    """
    the one . , please use take on to option number # i think would say go with pick choose that for mean it
    is
    """
)
_YES = words("yes yep yeah y ok okay sure right correct exactly")


def amended(message: Message, clauses: list[Clause]) -> PlannerReply | None:
    """The newest draft with what these words change of it; None where they change nothing."""
    before = message.before
    draft = before.draft
    wishes = [clause for clause in clauses if clause.kind == "wish"]
    if draft is None:
        return None
    if before.asked is None and message.tokens and set(message.keys) <= _CONSENT | {",", ".", "!"}:
        text = "Consent is not taken from a sentence: approve the plan's card, or type /approve."
        return Declined(text, "approval", ("/approve",))
    if wishes:
        return _with_wishes(message, draft, wishes)
    if _VAGUE.search(" ".join(message.keys)):
        return None
    if before.asked is None and len(message.tokens) > _SHORT and not _MARKS_CORRECTION & set(message.keys):
        return None
    if before.asked is not None and (chosen := _chosen(message, draft, before.asked)) is not None:
        return chosen
    if (smaller := _left_out(message, draft)) is not None:
        return smaller
    for changed in (switched_off, only_number, only_numbers, one_more, _in_place_of):
        if (found := changed(message, draft)) is not None:
            return found
    tokens = change_of(message.tokens)
    if not tokens or negations_in([token.key for token in tokens]):
        return None
    if (again := _again(message, draft, tokens)) is not None:
        return again
    for said in (tokens, _before_aside(message, tokens)):
        if said and (found := _other(message, draft, said) or _changed(message, draft, said)) is not None:
            return found
    return None


def _again(message: Message, draft: PlanDraft, tokens: list[Token]) -> PlannerReply | None:
    """The draft with its last step once more for another thing, "on reviews too"; never what serves."""
    last = draft.steps[-1] if draft.steps else None
    if last is None or last.skill.effect is Effect.SERVES or not _TOO & set(message.keys) or last.missing:
        return None
    said = [token for token in tokens if token.key not in _TOO | _ADDING | {"and"}]
    more = draft.add(last.skill)
    more.arguments = dict(last.arguments)
    filler = SlotFiller(message.lexicon, message.around, draft, message.before.at_hand)
    reading = filler.amend(more, said) if said else None
    needed = {one.name for one in message.lexicon.fields[last.skill.name] if one.is_required}
    left = reading is None or reading.unused or reading.unknown or reading.negations
    if left or reading is None or not needed & set(reading.placed) or more.arguments == last.arguments:
        draft.steps.remove(more)
        return None
    return message.finished(draft)


_TOO = words("too also")


def _in_place_of(message: Message, draft: PlanDraft) -> PlannerReply | None:
    """The draft with another value where one is named that it holds: "instead of tiny use ..."."""
    tokens = [token for token in message.tokens if token.kind != "end"]
    keys = [token.key for token in tokens]
    at = next((n for n in range(len(keys) - 1) if keys[n : n + 2] == ["instead", "of"]), None)
    if at is None:
        return None
    end = next((n for n in range(at + 2, len(keys)) if keys[n] in RESUMES), len(keys))
    old = [token for token in tokens[at + 2 : end] if token.key not in SMALL]
    new = change_of([*tokens[:at], *tokens[end:]])
    if len(old) != 1 or not new:
        return None
    for step in reversed(draft.steps):
        for one in message.lexicon.fields[step.skill.name]:
            held = step.arguments.get(one.name)
            named = isinstance(held, str) and old[0].key in (key_of_word(held), key_of_word(Path(held).stem))
            if named and (changed := _filled(message, draft, step, one.name, new)) is not None:
                return changed
    return None


def _before_aside(message: Message, tokens: list[Token]) -> list[Token]:
    """What stands before the first comma, where what is behind it names nothing: ", that one was cleaner"."""
    comma = next((at for at, token in enumerate(tokens) if token.key == ","), len(tokens))
    behind = tokens[comma + 1 :]
    named = any(is_value(token, message.around) for token in behind)
    asks = any(one.skill.effect is not Effect.READS for one in message.lexicon.matches(behind))
    denies = negations_in([token.key for token in behind])
    return [] if named or asks or denies or not behind else tokens[:comma]


def _with_wishes(message: Message, draft: PlanDraft, wishes: list[Clause]) -> PlannerReply | None:
    """The same step again ("no, evaluate on the other suite"), or one step more ("and then deploy it")."""
    lead = {token.key for token in message.tokens[:2]}
    matches = message.lexicon.matches(wishes[0].tokens)
    if wishes[0].tokens[0].key == "compare" and (compared := _compared(message, draft, wishes)) is not None:
        return compared
    same = next((step for step in draft.steps if matches and step.skill is matches[0].skill), None)
    if same is not None and len(wishes) == 1 and lead & (_MARKS_CORRECTION - {"make", "use"}):
        tokens = change_of(wishes[0].tokens[1:])
        if not tokens or negations_in([token.key for token in tokens]):
            return None
        short = _before_aside(message, wishes[0].tokens)
        return (
            _other(message, draft, tokens)
            or _changed(message, draft, tokens, same)
            or (_changed(message, draft, short, same) if short else None)
        )
    if same is not None and len(wishes) == 1 and _says_too_little(message, wishes[0]):
        short = _before_aside(message, wishes[0].tokens)
        found = _changed(message, draft, wishes[0].tokens, same)
        return found or (_changed(message, draft, short, same) if short else None)
    if len(wishes) == 1 and matches and wishes[0].tokens[0].key in _SETS and message.before.is_open:
        tokens = change_of(wishes[0].tokens[1:])
        if tokens and not negations_in([token.key for token in tokens]):
            found = _changed(message, draft, tokens)
            if found is not None:
                return found
    if message.before.is_open and message.before.asked is None and _goes_on(message, wishes):
        filler = SlotFiller(message.lexicon, message.around, draft, message.before.at_hand)
        readings = [filler.read(message.lexicon.matches(one.tokens)[0], one.tokens) for one in wishes]
        if any(one.negations or one.unused for one in readings):
            return None
        if any(s.skill.effect is Effect.SERVES for s in draft.steps) and any(one.unknown for one in readings):
            return None
        return message.finished(draft)
    return None


def _compared(message: Message, draft: PlanDraft, wishes: list[Clause]) -> PlannerReply | None:
    """The step that was proposed, against something else: "compare it with ..."; None where it takes none."""
    tokens = wishes[0].tokens
    at = next((n for n, token in enumerate(tokens) if token.key in ("with", "to", "against")), None)
    if at is None or len(wishes) > 1 or any(token.key not in _IT for token in tokens[1:at]):
        return None
    said = [Token("against", "word", "against"), *tokens[at + 1 :]]
    for step in reversed(draft.steps):
        fields = message.lexicon.fields[step.skill.name]
        if any(("against",) in one.names and one.kinds for one in fields):
            return _changed(message, draft, said, step)
    return None


_IT = words("it this that them the speed result results one")


def _says_too_little(message: Message, wish: Clause) -> bool:
    """Whether a wish names nothing of what its skill needs, so that it says more of the same step."""
    match = message.lexicon.matches(wish.tokens)[0]
    reading = SlotFiller(message.lexicon, message.around, PlanDraft(), []).read(match, wish.tokens)
    needed = {one.name for one in message.lexicon.fields[match.skill.name] if one.is_required}
    return not needed & set(reading.own) and bool(reading.own)


def _goes_on(message: Message, wishes: list[Clause]) -> bool:
    """Whether wishes add to what was proposed: "and then ...", "... from it afterwards"."""
    first = wishes[0].whole
    lead = {token.key for token in first[: max(3, len(first) - len(wishes[0].tokens))]}
    return bool(lead & _ADDING) or any(t.key in ("afterwards", "too") for one in wishes for t in one.tokens)


_SETS = words("give make put take set keep let use have")
_ADDING = words("and also then plus after afterwards next now additionally too")


def _chosen(message: Message, draft: PlanDraft, asked: tuple[str, str]) -> PlannerReply | None:
    """An answer to the question that is open."""
    step = next((one for one in draft.steps if one.id == asked[0]), None)
    if step is None:
        return None
    if asked[1] == "gate":
        return _as_gate(message, draft)
    left = step.missing.get(asked[1])
    if left is None:
        return None
    words = [key for key in message.keys if key not in _FILLERS]
    yes = set(words) & _YES
    words = [key for key in words if key not in _YES] or words
    if not words or set(words) & NEGATIONS:
        return None
    chosen = None
    if len(words) == 1 and words[0] in _ORDINALS and _ORDINALS[words[0]] < len(left.choices):
        chosen = left.choices[_ORDINALS[words[0]]]
    elif yes and len(left.choices) == 1:
        chosen = left.choices[0]
    if chosen is None and words[0] in ("last", "latest", "newest") and left.choices:
        chosen = left.choices[0]
    if chosen is not None:
        tokens = message.lexicon.read(chosen, message.around.names)
    else:
        tokens = [token for token in message.tokens if token.kind != "end"]
    return _filled(message, draft, step, asked[1], tokens)


def _filled(
    message: Message, draft: PlanDraft, step: StepDraft, name: str, tokens: list[Token]
) -> PlannerReply | None:
    """The draft with the open field filled from an answer, or None when the answer does not fit it."""
    fields = {one.name: one for one in message.lexicon.fields[step.skill.name]}
    if name not in fields:
        return None
    filler = SlotFiller(message.lexicon, message.around, draft, message.before.at_hand)
    kept = dict(step.missing)
    others = {key: value for key, value in step.arguments.items() if key != name}
    reading = filler.amend_field(step, fields[name], tokens)
    if reading is None or reading.unused or reading.negations or name not in step.arguments:
        step.missing, step.arguments = kept, others
        return None
    for one in draft.steps:
        filler.complete(one)
    return message.finished(draft)


def _as_gate(message: Message, draft: PlanDraft) -> PlannerReply | None:
    bar = bar_of(message.keys)
    measuring = [step for step in draft.steps if "suite" in step.arguments]
    if bar is None or len(measuring) != 1 or draft.steps[-1] is measuring[0]:
        return None
    draft.gates = {"release": {"suite": measuring[0].arguments["suite"], **bar}}
    measuring[0].gate = "release"
    return message.finished(draft)


def _left_out(message: Message, draft: PlanDraft) -> PlannerReply | None:
    """The draft without a step: "skip the evaluation"."""
    keys = [key for key in message.keys if key not in LEADS | {",", ".", "out", "step", "for", "now", "part"}]
    if message.keys[0] == "no" and len(keys) == 1 and message.keys[1:2] == keys:
        keys = ["without", *keys]  # "no evaluation please"
    if len(keys) != 2 or keys[0] not in _LEAVE_OUT or len(draft.steps) < 2:
        return None
    stem = keys[1][:5]
    gone = [
        step
        for step in draft.steps
        if any(
            head.startswith(stem)
            for found in message.lexicon.patterns.values()
            for one in found
            if one.skill is step.skill
            for head in (one.head, step.skill.name.replace("-", ""))
        )
    ]
    if len(gone) != 1:
        return None
    used = f"${{{gone[0].id}."
    if any(used in str(step.arguments) for step in draft.steps):
        return None
    draft.steps.remove(gone[0])
    if gone[0].gate:
        draft.gates = {}
    return message.finished(draft)


def _other(message: Message, draft: PlanDraft, tokens: list[Token]) -> PlannerReply | None:
    """The one there is besides what was proposed: "the other suite"."""
    keys = [token.key for token in tokens]
    if "other" not in keys or len(keys) > 6:
        return None
    for step in reversed(draft.steps):
        for one in message.lexicon.fields[step.skill.name]:
            named = any(name[-1] in keys for name in one.names) or (
                len(keys) == keys.index("other") + 2 and keys[-1] == "one"
            )
            if one.name not in step.arguments or not (
                named or any(k.split("-")[-1] in keys for k in one.kinds)
            ):
                continue
            now = str(step.arguments[one.name])
            if one.is_suite:
                every = message.around.own_suites or list(message.around.suites.values())
            elif one.is_endpoint:
                every = list(message.around.endpoints.values())
            elif one.kinds and now.partition(":")[0] in one.kinds:
                every = [str(ref) for ref in message.around.artifacts(now.partition(":")[0])]
            else:
                continue
            others = [value for value in every if value != now]
            if len(others) == 1:
                step.arguments[one.name] = others[0]
                if one.is_suite and step.gate in draft.gates:
                    draft.gates[step.gate or ""]["suite"] = others[0]
                return message.finished(draft)
            choices = tuple(
                value if ":" not in value else value[: value.index(":") + 13] for value in others[:6]
            )
            del step.arguments[one.name]
            step.missing[one.name] = OpenField(f"Which {one.name.replace('_', ' ')}?", choices)
            return message.finished(draft)
    return None


def _changed(
    message: Message, draft: PlanDraft, tokens: list[Token], only: StepDraft | None = None
) -> PlannerReply | None:
    """The draft with the last step changed that these words fit."""
    for step in [only] if only is not None else list(reversed(draft.steps)):
        filler = SlotFiller(message.lexicon, message.around, draft, message.before.at_hand)
        kept = (dict(step.arguments), dict(step.missing), dict(draft.budget), list(draft.steps))
        gate = step.gate
        try:
            reading: ClauseReading | None = filler.amend(step, tokens)
        except OpswrightError:
            reading = None
        serves = any(one.skill.effect is Effect.SERVES for one in draft.steps)
        most = 0 if serves or reading is None else min(2, len(reading.placed))
        same = (step.arguments, draft.budget, step.gate) == (kept[0], kept[2], gate)
        if reading is not None and same and reading.unknown:
            reading = None  # nothing of it was understood
        if reading is not None and not (reading.unused or reading.negations) and len(reading.unknown) <= most:
            suite = step.arguments.get("suite")
            if step.gate in draft.gates and isinstance(suite, str):
                draft.gates[step.gate or ""]["suite"] = suite
            return message.finished(draft)
        step.arguments, step.missing, draft.budget, draft.steps = kept
    return None
