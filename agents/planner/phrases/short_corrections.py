"""Corrections of a few words: a switch, a number, a list of numbers, one more of a list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..base import PlannerReply
from .accounting import is_value
from .amounts import amounts_in, fits_unit, in_unit
from .drafts import PlanDraft
from .text import Token, words
from .word_values import flag_said
from .words import negations_in

if TYPE_CHECKING:
    from .message import Message

LEADS = words(
    """
    no nope actually sorry wait oops oh ah ugh argh well hmm um please but ok okay i meant mean rather
    instead make use take change set let us it that this to be should the with and also just only have
    want would like prefer better pick choose same thing again go try switch for lets hang on could can
    you we do
    """
)
_TRAILS = words("i we mean meant , of course obviously sorry")
RESUMES = words("and , use take try do make put go")
_TOO = words("too also and as well plus add please to the list topics put on in ,")


def switched_off(message: Message, draft: PlanDraft) -> PlannerReply | None:
    """The draft with a switch off that these words name and nothing else: "but without the baselines"."""
    tokens = [token for token in message.tokens if token.kind not in ("end", "mark")]
    if not negations_in([token.key for token in tokens]):
        return None
    for step in reversed(draft.steps):
        if (one := flag_said(tokens, message.lexicon.fields[step.skill.name])) is not None:
            step.arguments[one.name] = False
            return message.finished(draft)
    return None


def only_number(message: Message, draft: PlanDraft) -> PlannerReply | None:
    """The draft with its one number changed, where a number is all that is said: "500"."""
    tokens = [token for token in change_of(message.tokens) if token.kind != "end"]
    if len(tokens) != 1 or tokens[0].kind != "number" or message.before.asked is not None:
        return None
    set_now = [
        (step, one)
        for step in draft.steps
        for one in message.lexicon.fields[step.skill.name]
        if one.takes_number and not one.is_list and not one.kinds and one.name in step.arguments
    ]
    amount = next(iter(amounts_in(tokens, set())), None)
    if len(set_now) != 1 or amount is None or not fits_unit(amount, set_now[0][1]):
        return None
    set_now[0][0].arguments[set_now[0][1].name] = in_unit(amount, set_now[0][1])
    return message.finished(draft)


def only_numbers(message: Message, draft: PlanDraft) -> PlannerReply | None:
    """The draft with its one list of numbers changed, where numbers are all that is said: "10 and 40"."""
    tokens = [token for token in change_of(message.tokens) if token.kind != "end"]
    counts = [token for token in tokens if token.kind == "number"]
    if len(counts) < 2 or {token.key for token in tokens if token.kind != "number"} - words(", and then %"):
        return None
    set_now = [
        (step, one)
        for step in draft.steps
        for one in message.lexicon.fields[step.skill.name]
        if one.takes_number and one.is_list and one.name in step.arguments
    ]
    amounts = amounts_in(tokens, set())
    if len(set_now) != 1 or not all(fits_unit(amount, set_now[0][1]) for amount in amounts):
        return None
    set_now[0][0].arguments[set_now[0][1].name] = [in_unit(amount, set_now[0][1]) for amount in amounts]
    return message.finished(draft)


def one_more(message: Message, draft: PlanDraft) -> PlannerReply | None:
    """The draft with one more of its one list of texts: "religion too"."""
    said = [token for token in message.tokens if token.kind != "end" and token.key not in _TOO]
    more = len(said) < len([token for token in message.tokens if token.kind != "end"])
    if not more or not 0 < len(said) <= 3 or any(not token.is_word for token in said):
        return None
    if any(token.key in message.lexicon.known or is_value(token, message.around) for token in said):
        return None
    lists = [
        (step, one)
        for step in draft.steps
        for one in message.lexicon.fields[step.skill.name]
        if one.is_list and one.takes_text and not (one.kinds or one.values) and one.name in step.arguments
    ]
    if len(lists) != 1:
        return None
    step, one = lists[0]
    step.arguments[one.name] = [*step.arguments[one.name], " ".join(token.text for token in said)]
    return message.finished(draft)


def change_of(tokens: list[Token]) -> list[Token]:
    """What a correction comes to: without its opening, "instead of ..." and "not ... ,"."""
    tokens = [token for token in tokens if token.kind != "end"]
    keys = [token.key for token in tokens]
    for place in range(len(keys) - 1):
        if keys[place] in ("instead", "rather") and keys[place + 1] in ("of", "than"):
            ends = [at for at in range(place, len(keys)) if keys[at] in RESUMES]
            tokens = [*tokens[:place], *(tokens[ends[0] :] if ends else [])]
            keys = [token.key for token in tokens]
            break
    if "not" in keys and "," in keys[keys.index("not") :]:
        start = keys.index("not")
        end = keys.index(",", start)
        if end - start <= 4:
            tokens = tokens[:start] + tokens[end + 1 :]
    elif "not" in keys and keys.index("not") > 0 and len(keys) - keys.index("not") <= 3:
        tokens = tokens[: keys.index("not")]
    if tokens and tokens[0].key == "wrong" and "," in [token.key for token in tokens]:
        tokens = tokens[[token.key for token in tokens].index(",") + 1 :]  # "wrong suite, I meant ..."
    start = 0
    while start < len(tokens) and (tokens[start].key in LEADS or tokens[start].kind == "mark"):
        start += 1
    while tokens[start:] and tokens[-1].key in _TRAILS:
        tokens = tokens[:-1]
    keep = [token for token in tokens[start:] if token.key not in ("instead", "rather", "please", "then")]
    return keep
