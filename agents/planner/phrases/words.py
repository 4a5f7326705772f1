"""Words that mean the same whatever the skills are: manners, small words, and what keeps a sentence from acting."""

from __future__ import annotations

import re
from collections.abc import Callable

SMALL = frozenset(
    """a an the my our your this that these those its of on to with as from for in into at by behind against
    through after and or is are it them out there be than up over under off me us you i we so also too just
    please pls plz kindly now then again some any all one ones using use via onto within about between it's
    who which what how was were been am do does did have has had get got will would can could new latest last
    only both each every same own more most here it'll afterwards next first finally lastly right away asap thx thanks
    thank quickly quick soon possible real very bit hi hello hey ok okay well time once back down
    everything things thing stuff file files folder set called named name like such still yet already let go ahead
    start running run make making made give take put want need should job work task step steps result results output
    version percent percents per minutes minute hours hour seconds second days day him her their they he she
    """.split()
)
PREPOSITIONS = frozenset(
    "on to with of as from for in into at by behind against through after than using onto via".split()
)
ARTICLES = frozenset("a an the my our your this that these those its some any".split())

_PREFIX = re.compile(
    r"""^(?:
    (?:hi|hello|hey|ok|okay|so|well|now|right|alright|good|great|fine|nice|cool|perfect|thanks|thank\ you|thx|hmm|um|uh
      |morning|evening|afternoon|day|there|team|all|everyone|opswright|agent|bot|assistant|friend|dear|sir|madam|mate|buddy
      |yes|yep|yeah|sure|and|also|then|next|first|firstly|second|secondly|third|thirdly|finally|lastly|afterwards|after\ that|after\ this
      |once\ more|again|just|simply|btw|quickly|quick\ one|after|please|pls|plz|kindly|at\ last|last|in\ the\ end|today|question|to\ do|todo|task|task\ is)\b
    |(?:would|do)\ (?:you|u)\ mind\b|(?:can|could|will|would)\ (?:you|u)\b(?:\ all)?
    |to\b|do\ you\ mind\b|would\ you\ be\ so\ (?:kind|good)(?:\ as)?\ to|be\ so\ (?:kind|good)(?:\ as)?\ to|would\ be\ (?:great|nice|good|lovely|cool)\ to
    |(?:i|we|me)(?:\ would|\ do)?\ (?:really\ |just\ |still\ |only\ )?(?:want|like|love|need|wish|have|must|request|ask)\b(?:\ for)?(?:\ you)?(?:\ (?:to|that\ you|you\ to|you))?
    |(?:i|we)\ am\ (?:wanting|needing|going|looking)\ to|(?:we|i)\ are\ going\ to|(?:we|i)\ will\b|me\ (?:want|need)\b
    |you\ (?:should|must|need\ to|have\ to|can|may)\b
    |need(?:ed)?\ to|want\ to|need\ you\ to|needs?\b|want\b|going\ to
    |let\ us\b|let\ me\b|time\ to|it\ is\ time\ to|your\ (?:task|job)\ is\ to|help\ (?:me|us)(?:\ to)?|do\ me\ a\ favou?r\ and|do\ the\ following
    |go\ ahead\ and|go\ and|try\ to|proceed\ to|proceed\ with|continue\ (?:to|with)|i\ think\ you\ should
    |(?:don|do)\ not\ forget\ to|remember\ to|make\ sure\ (?:to|you|that\ you)|be\ sure\ to|feel\ free\ to
    |(?:do|make|run|perform|start|launch|kick\ off|trigger|execute|begin|give\ me|get\ me|show\ me|schedule\ now)(?:\ (?:a|an|the|another|one))?(?=\ )
    )\s*(?:,\s*)?""",
    re.VERBOSE,
)
LIGHT = frozenset("do make run perform start launch kick trigger execute begin give get show".split())


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


NEGATIONS = frozenset(
    """not never no none nobody nothing neither nor without dont donot doesnt didnt wont cant shouldnt mustnt isnt
    avoid stop cancel abort skip refrain hold wait except unless instead rather nope forget nevermind scrap
    nicht kein keine keinen niemals nie pas ne jamais aucun non nunca jamas jamás tampoco niet geen não nao nem
    nikt ei ej ikke inte не нет никогда 不 别 不要 勿 말 لا""".split()
)
_NOT_NEGATIVE = re.compile(
    r"\b(?:no|not) (?:more|later|less|fewer|longer|greater|higher|bigger) than\b|\bnot only\b|\bno problem\b|\bno worries\b"
    r"|\b(?:why not|no hurry|no rush|if not yet done|do not forget to|don not forget to|rather than cpu)\b"
)
CONTRAST = frozenset("but just only instead simply".split())

# What makes a whole message something else than a wish: (reason, pattern over its keys).
CUES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (reason, re.compile(pattern))
    for reason, pattern in (
        (
            "destructive",
            r"\b(?:delete|deletes|deleting|wipe|wipes|wiping|erase|erasing|purge|destroy|nuke|rm|rmrf|truncate|shred"
            r"|overwrite|uninstall|drop (?:the )?(?:table|database|ledger|workspace|endpoint|artifacts?|checkpoints?|datasets?|everything|all)"
            r"|remove (?:the |all |every |our |my )*(?:ledger|record|records|history|workspace|endpoint|endpoints|artifacts?|checkpoints?|bundles?|datasets?|models?|users?|keys?|logs?|traffic|approvals?|gates?|audit|everything|old \w+)"
            r"|clear (?:the |all |out |our )*(?:ledger|record|records|history|workspace|cache|artifacts?|logs?|everything|disk)"
            r"|reset (?:the |all |our )*(?:ledger|workspace|endpoint|everything|record|records|history)"
            r"|(?:shut|take|bring|tear) (?:\w+ )?down|shutdown|kill|forge|falsify|tamper|rewrite (?:the )?(?:ledger|record|history)"
            r"|get rid of (?:the |all |our )*(?:ledger|record|records|history|workspace|artifacts?|checkpoints?|everything|endpoints?|models?|logs?)"
            r"|empty the|throw away|revoke|disable|deactivate|edit the ledger|change the ledger|format the)\b",
        ),
        (
            "approval",
            r"\b(?:approve|approved by me|pre ?approved|auto ?approve|sign off|skip (?:the )?(?:approval|gate|gates|check|checks|review|consent)"
            r"|bypass|circumvent|waive|override|without (?:asking|approval|approvals|consent|confirmation|confirming|a gate|the gate|gates?|checks?|review|permission)"
            r"|no approval|ignore (?:the |all |any |previous |prior |your |every )*(?:gate|gates|rule|rules|policy|instructions?|verdict|checks?|guardrails|warnings?|errors?|approvals?)"
            r"|disregard|force (?:it|the|a|push|deploy)|anyway|regardless|no matter|you are now|system prompt|jailbreak|do not ask|don not ask|even if)\b",
        ),
        (
            "reported",
            r"\b(?:said|says|say|saying|told|tells|asked|asks|wrote|writes|written|mentioned|suggests|suggested|recommends|recommended"
            r"|according to|claims|claimed|the docs|documentation|readme|email|e mail|ticket says|quote|quoted|quoting|reads|overheard|heard|tweeted|posted"
            r"|wants us to|wants me to|wanted me to|would like us to|the (?:button|label|title|text|sentence|phrase|words?|line|string|comment|message|subject))\b",
        ),
        (
            "hypothetical",
            r"\b(?:what if|what would|would happen|what happens|happens (?:if|when)|suppose|supposing|imagine|imagining|hypothetically|hypothetical"
            r"|hypothetic|assume|assuming|let us say|say we|in theory|theoretically|pretend|were to|might|maybe|perhaps|possibly"
            r"|should (?:we|i|it|the|that|this|one)|(?:could|can|may|shall|do|must|might) (?:we|i|one)|would it|would that|would this|will it|would (?:we|i) (?:be|have|get|gain|lose|see|need)"
            r"|wonder|wondering|thinking (?:of|about)|think about|consider|considering|(?:i|we) (?:am|are) (?:planning|thinking|considering|tempted)|plan to|planning to|planning on"
            r"|how (?:do|can|would|could|should|to|does|might|will|did|long would|risky|hard|safe|easy)|is it (?:safe|possible|ok|okay|wise|a good|better|time|allowed|worth|dangerous|risky|hard|too)"
            r"|good idea|worth|explain|describe|teach me|tell me (?:about|how|what|why|if|whether)|for example|for instance|example|eg|if (?:we|i|you|one|they|somebody|someone) (?:\w+ed|had|were|would|could|ran|run|did|do|put|built|sent|went|made|took)"
            r"|would have|could have|should have|had we|was going to|were going to|dry run|simulate|pros and cons|advise|advice|opinion|recommend|better to|whether|difference between|meaning of|mean by"
            r"|dream|dreamt|dreamed|just kidding|kidding|joke|joking|test message|could be|would be nice if|in case|in the case|idea)\b",
        ),
        (
            "scheduled",
            r"\b(?:tomorrow|tonight|someday|some day|later (?:today|on|this)|next (?:week|month|monday|tuesday|wednesday|thursday|friday|saturday|sunday|year|time|sprint)|every (?:day|week|hour|night|month|morning|monday|minute)|daily|weekly|nightly|hourly|monthly"
            r"|on (?:monday|tuesday|wednesday|thursday|friday|saturday|sunday)|at (?:noon|midnight|\d+ ?(?:am|pm))|in (?:an|one|\d+) (?:hours?|days?|weeks?)|whenever|automatically|always|eventually|one day|at some point|not now|later)\b",
        ),
    )
)
CONDITIONAL = re.compile(
    r"\b(?:if|unless|provided|as long as|only when|when|whenever|until|depending|in case|should)\b"
)
SEQUENCE = re.compile(
    r"\b(?:when|once|after|as soon as) (?:it|that|this|the \w+|training|\w+ing|everything|all)(?: \w+)?(?: is| are| has| was| have| been| gets)* ?(?:done|finished|trained|ready|built|complete|completed|over|finishes|ends|there|clean|cleaned|evaluated|ended|completes)\b"
)


def cues_in(keys: list[str]) -> dict[str, str]:
    """What in a message keeps it from being a wish: each reason with the words that tell."""
    text = " ".join(keys)
    found = {}
    for reason, pattern in CUES:
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
