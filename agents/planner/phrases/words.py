"""Words that mean the same whatever the skills are: manners, small words, what keeps it from acting."""

# ruff: noqa: RUF001  # quotation marks and dashes of every kind are what it is about
from __future__ import annotations

import re
from collections.abc import Callable

from .text import Token, words
from .wording import any_of, sections, word_list

SMALL = word_list("small")
PREPOSITIONS = words(
    "on to with of as from for in into at by behind against through after than using onto via"
)
ARTICLES = words("a an the my our your this that these those its some any")

_PREFIX = any_of(sections("manners")[""], before="^", after=r"(?:\b|(?<= ))\s*(?:,\s*)?")
LIGHT = words("do make run perform start launch kick trigger execute begin give get show")


def without_manners(keys: list[str], fit: Callable[[int], float]) -> int:
    """How many tokens at the start are politeness or filler, so that what is left begins with what to do.

    fit: how well a phrase fits from a place on, 0 where none does.
    """
    start = 0
    while start < len(keys):
        rest = " ".join(keys[start:])
        found = _PREFIX.match(rest)
        if keys[start] in (",", ":", "-", "–", "—", "(", "*", "•", ">", "→"):
            start += 1
            continue
        if found is None or not found.group().strip():
            return start
        count = len(found.group().replace(",", " , ").split())
        if (here := fit(start)) and here >= fit(start + count):
            return start
        start += max(1, count)
    return start


SETTING = words(
    """
    and oh also then please it that this just but so keep limit cap restrict allow hold use set make give take
    let put leave add include start begin begins should must may can has have need needs to be with only
    where shall would
    """
)


def without_setting(tokens: list[Token]) -> list[Token]:
    """The tokens without the words that only say that something is set: "and keep it under", "start with"."""
    start = 0
    while start < len(tokens) and (tokens[start].key in SETTING or tokens[start].kind == "mark"):
        start += 1
    return tokens[start:]


NEGATIONS = word_list("negations")
_NOT_NEGATIVE = re.compile(
    r"\b(?:no|not) (?:\w+ ){0,3}?(?:more|later|less|fewer|longer|greater|higher|bigger|over"
    r"|above|exceed)(?: than)? (?=[$\d]|one|two|three|four|five|six|ten|half|an? )"
    r"|\b(?:no|not) (?:more|later|less|fewer|longer|greater|higher|bigger) than\b"
    r"|\b(?:no (?:surprise|wonder|doubt|big deal|kidding|pressure|sweat|need to (?:hurry|rush)))\b"
    r"|\bhold (?:it|them|this|that) to (?:at least )?(?=\d)"
    r"|\bwithout (?:any |an )?(?:improvement|improving|progress|getting better)\b"
    r"|\b(?:i|we) (?:will |can )?wait here\b"
    r"|\bstop(?:ping)? (?:it |training |the training )?(?:after|at) (?=\d)"
    r"|\bhold(?:ing)? out\b|\bstop early\b|\bnot only\b|\bno (?:problem|worries)\b"
    r"|\b(?:why not|no hurry|no rush|if not yet done|do not forget to|don not forget to)\b"
)
CONTRAST = words("but just only instead simply")

# What makes a whole message something else than a wish: patterns over its keys, by reason.
CUES = {reason: any_of(patterns, r"\b", r"\b") for reason, patterns in sections("cues").items()}
SOFT = any_of(sections("soft")[""], r"\b")
CONDITIONAL = re.compile(
    r"\b(?:if|unless|provided|as long as|as soon as|only when|when|whenever|until(?! \d)|depending|in case"
    r"|pending (?!plans?\b|approvals?\b|runs?\b)(?=\w)"
    r"|the moment|(?<!at )(?<!for )once(?! more\b| again\b| a\b| per\b))\b"
)
_SOMEBODY = r"(?:that )?(?:(?!(?:is|are|was|has|have)\b)\w+ ){1,4}?"
AWAITED = re.compile(
    r"\b(?:only (?:after|upon|with)|not (?:before|until)|upon|subject to|pending|contingent (?:on|upon)"
    r"|^while (?!(?:you|we) (?:are|re) at (?:it|that)\b)"
    r"|on (?:the |one )?condition|given that|assuming|by the time"
    r"|with (?:the |our |my )?\w+ (?:approval|consent)"
    rf"|(?:after|following|now that) {_SOMEBODY}(?:has|have|had|agree[sd]?|approve[sd]?"
    r"|confirm(?:s|ed)?|signs?|signed"
    r"|oks?|okays?|okayed|consents?|consented|returns?|returned|comes?|came|ends?|ended|pass(?:es|ed)?|allows?"
    r"|allowed|permits?|permitted|gives?|gave|nods?|nodded|reads?|checks?|checked|reviews?|reviewed)\b)"
)
"""Where what is wanted waits for somebody: "only after the head of care has agreed"."""
ASKED_WHETHER = re.compile(
    r"\b(?:check|see|look|out|test|know|control|verify|tell|say)"
    r"(?: (?:please|pls|kindly|me|us))? (?:if|when)\b"
)
SEQUENCE = re.compile(
    r"\b(?:when|once|after|as soon as) (?:it|that|this|the \w+|training|\w+ing|everything|all)"
    r"(?: \w+)?(?: is| are| has| was| have| been| gets)* ?"
    r"(?:done|finished|trained|ready|built|complete|completed|over|finishes|ends|there|clean|cleaned|evaluated"
    r"|ended|completes)\b"
)


def sequence_in(text: str, known: frozenset[str]) -> re.Match[str] | None:
    """Where words say that a step comes after another one of the message: "once it is trained, ..." .

    What ends a sentence so is a condition, and so is what is none of `known`: "as soon as the audit is done".
    """
    for match in SEQUENCE.finditer(text):
        named = re.search(r"\bthe (\w+)", match.group())
        follows = text[match.end() :].lstrip(" ,")
        if follows and follows[0].isalpha() and (named is None or named.group(1) in known):
            return match
    return None


def cues_in(keys: list[str], *, softly: bool = False) -> dict[str, str]:
    """What in a message keeps it from being a wish: each reason with the words that tell.

    softly: for what changes nothing that users get, a hedged number and a question of politeness are no cue.
    """
    text = SOFT.sub(" ", " ".join(keys)) if softly else " ".join(keys)
    found = {}
    for reason, pattern in CUES.items():
        match = pattern.search(text)
        if match is not None:
            found[reason] = match.group()
    return found


def negations_in(keys: list[str]) -> list[int]:
    """The places of words that negate; "no more than" and the like do not."""
    text = " ".join(keys)
    excused = {word for match in _NOT_NEGATIVE.finditer(text) for word in range(*_places(text, match))}
    return [place for place, key in enumerate(keys) if key in NEGATIONS and place not in excused]


def _places(text: str, match: re.Match[str]) -> tuple[int, int]:
    before = text[: match.start()].count(" ")
    return before, before + match.group().count(" ") + 1
