"""The planner for plain language: the skills' own phrases and typed slots, no model.

It proposes only what a sentence asks for outright. Whatever negates, supposes, quotes, reports, postpones or
destroys is answered with what was understood and the command that would do it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from ....core.contract import Effect
from ....core.errors import OpswrightError
from ....core.registry import Registry
from ....core.text import one_line, unseen_in
from ..base import Ask, Declined, PlannerReply, Proposal, Question, Turn
from .accounting import ClauseReading, is_value
from .bare_serving import with_serving_verb
from .clauses import TELLERS, Clause, bar_of, clauses_of, left_open, unsequenced, without_left_out
from .corrections import amended
from .drafts import OpenField, PlanDraft, StepDraft, from_document
from .imperatives import with_imperatives
from .loose_reading import loose_wish, without_verb
from .mappings import mapping_of
from .message_cues import ASKING, SPOKEN
from .nearest import nearest_skills
from .phrase_choice import PhraseChoice
from .phrase_patterns import PhraseMatch
from .pronouns import with_canary
from .record_answers import answer_from_record
from .refusals import LONGEST, MOST_WORDS, refusal
from .repeats import Repeats
from .self_corrections import halves_of, is_corrected, without_telling
from .slots import SlotFiller
from .step_kinds import gives_report, is_valued, judges_what_is_made, waits
from .text import Token, shown, tokens_of, words
from .word_values import flag_said
from .words import ASKED_WHETHER, AWAITED, CONDITIONAL, SMALL, without_setting

if TYPE_CHECKING:
    from ....core.workspace import Workspace

_LEADS_BAR = words("min minimum at it to with the suite a bar of least")
_LEAST = Token("min", "word", "min")
_WAS = words("did was were is has had")
_OPENINGS = words("right well ok okay so now alright hmm um hey hi please and also , :")


@dataclass(frozen=True)
class PhrasesPlanner:
    """Plain language to a proposed plan, a question, an answer from the record, or what could be typed."""

    registry: Registry
    workspace: Workspace

    def propose(self, ask: Ask, conversation: Sequence[Turn]) -> PlannerReply:
        """The reply to a sentence; nothing is recorded or run."""
        text = ask.text.strip()
        if len(text) > LONGEST or len(tokens_of(text)) > MOST_WORDS:
            return Declined(refusal("long", ""), "long")
        if found := unseen_in(text.replace("\n", " ").replace("\t", " ")):
            return Declined(refusal("unseen", found), "unseen")
        return _Reading(text, self.registry, self.workspace, conversation).reply()


class _Reading(PhraseChoice):
    """One message being understood."""

    is_part = False  # of a message that corrects itself

    @cached_property
    def placed(self) -> list[Clause]:
        """What is no wish and was placed in the steps before it."""
        return []

    def reply(self) -> PlannerReply:
        if not any(
            token.is_word or token.kind in ("number", "path", "ref", "quoted") for token in self.tokens
        ):
            return self._not_understood()
        if (corrected := self._corrected()) is not None:
            return corrected
        clauses = with_serving_verb(
            clauses_of(self.tokens, self.lexicon, self.around.names),
            self.lexicon,
            self.around,
            is_question="?" in self.text,
        )
        clauses = with_canary(clauses, self.lexicon, self.around, is_question="?" in self.text)
        clauses = with_imperatives(clauses, self.lexicon, self._read_alone, is_question="?" in self.text)
        asks_outright = self.asks_outright()
        kinds = {clause.kind for clause in clauses}
        asks_when = self.keys[:1] == ["when"] and self.keys[1] in _WAS if len(self.keys) > 1 else False
        depends = {"wish", "condition"} <= kinds and not self.text.endswith("?") and not asks_when
        if not depends and (asks_outright is None or self.lexicon.reads_only(asks_outright)):
            answer = answer_from_record(
                self.text,
                self.tokens,
                self.around,
                self.lexicon,
                self.before,
                is_alone="wish" not in kinds,
                plain=self.cues(clauses).keys() <= {"scheduled"}
                and not self.quotes_something()
                and kinds == {"told"},
            )
            if answer is not None:
                return answer
        if (command := self.command_inside()) is not None:
            return Declined(refusal("command", command), "command", (command,))
        cues = self.cues(clauses)
        if cues and not (asks_outright and set(cues) <= {"hypothetical"}):
            reason = next(iter(cues))
            return self._declined(reason, cues[reason])
        if self.quotes_something():
            return self._declined("quoted", "")
        wishes = [clause for clause in clauses if clause.kind == "wish"]
        if wishes and (taken_back := self.taken_back(clauses)):
            return self._declined("negated", taken_back)
        if self.before.draft is not None and (changed := self._amended(clauses)) is not None:
            return changed
        if not wishes and (loose := self._loosely(clauses)) is not None:
            return loose
        if not wishes:
            negated = next((clause for clause in clauses if clause.kind == "negated"), None)
            return self._declined("negated", shown(negated.whole)) if negated else self._not_understood()
        return self._planned(clauses)

    def _amended(self, clauses: list[Clause]) -> PlannerReply | None:
        """What was proposed last with what these words change of it; its goal says both."""
        drafts = [turn.draft for turn in self.conversation if turn.draft is not None]
        self.changed_goal = str(drafts[-1].get("goal", "")) if drafts and not self.is_part else ""
        try:
            return amended(self, clauses)
        finally:
            self.changed_goal = ""

    def _corrected(self) -> PlannerReply | None:
        """The plan of a message that corrects itself, as if the correction had been said next."""
        halves = None if self.is_part else halves_of(self.text)
        if halves is None:
            return None
        before = _Reading(halves[0], self.registry, self.workspace, self.conversation)
        before.is_part = True
        first = before.reply()
        draft = first.draft if isinstance(first, Proposal | Question) else None
        if draft is None:
            return None
        said = [*self.conversation, Turn("user", halves[0]), Turn("agent", "", draft)]
        said_then = without_telling(halves[1])
        second = _Reading(said_then, self.registry, self.workspace, said)
        second.text, second.is_part = self.text, True
        reply = second.reply()
        whole = from_document(draft, self.registry)
        return reply if is_corrected(whole, reply, halves[1], is_all=said_then == halves[1]) else None

    def _loosely(self, clauses: list[Clause]) -> PlannerReply | None:
        """The plan of one wish in an order of words that no phrase knows; None for anything else."""
        said = [clause for clause in clauses if clause.whole]
        if len(said) != 1 or said[0].kind != "told" or (self.text.endswith("?") and "you" not in self.keys):
            return None
        tokens = said[0].tokens
        lead = [token.key for token in said[0].whole[: len(said[0].whole) - len(tokens)]]
        lead += [token.key for token in tokens if token.key in ("please", "pls", "kindly")]
        match = loose_wish(tokens, lead, self.lexicon, self._read_alone)
        if match is None and "?" not in self.text and not self.before.draft:
            match = without_verb(tokens, self.lexicon, self._read_alone)
        if match is None:
            return None
        SlotFiller(self.lexicon, self.around, self.draft, self.before.at_hand).read(match, tokens)
        return self.finished(self.draft)

    def _read_alone(self, match: PhraseMatch, tokens: list[Token]) -> ClauseReading:
        """A clause as the only step of a plan, to see what it leaves over."""
        return SlotFiller(self.lexicon, self.around, PlanDraft(), self.before.at_hand).read(match, tokens)

    def _planned(self, clauses: list[Clause]) -> PlannerReply:
        """The plan of the wishes, in order; what is negated beside them is left out."""
        at_hand = [*self._spoken_of(clauses), *self.before.at_hand]
        told = [t.key for clause in clauses if clause.kind == "told" for t in clause.whole if t.is_word]
        told += self._said_there(clauses)
        filler = SlotFiller(self.lexicon, self.around, self.draft, at_hand, told)
        readings: list[ClauseReading] = []
        conditions: list[Clause] = []
        for clause in clauses:
            if clause.kind == "condition":
                conditions.append(clause)
            if clause.kind == "told" and (left := self._gone_on(filler, readings, clause)):
                return left
            if clause.kind == "negated":
                self._switch_off(readings, clause)
            if clause.kind != "wish":
                continue
            matches = self.lexicon.matches(clause.tokens)
            match = self._chosen(matches, clause)
            if isinstance(match, Question):
                return match
            if readings and readings[-1].step.skill is match.skill and not readings[-1].own:
                self.draft.steps.remove(readings.pop().step)  # "let us distil: train ..."
            tokens = clause.tokens
            if match.skill.effect is not Effect.SERVES:
                tokens = without_left_out(tokens, self.lexicon)
            match = self._worded(match, tokens)
            reading = filler.read(match, tokens)
            if self._says_more(filler, readings, reading, tokens):
                continue
            readings.append(reading)
            Repeats(self.lexicon, self.around, self.draft).add(readings[-1], clause)
            if vague := left_open(tokens):
                return self._what_means(vague, readings[-1].step)
            if readings[-1].negations:
                return self._declined("negated", " ".join(readings[-1].negations))
        if (doubt := self._doubt(readings, clauses)) is not None:
            return doubt
        conditions += [one for one in clauses if one.kind == "told" and waits(one, self.draft)]
        return self._judged(conditions) or self.finished(self.draft)

    def _switch_off(self, readings: list[ClauseReading], clause: Clause) -> None:
        """Have a denial turn off the switch of a step that it names: "... but do not promote it"."""
        for reading in reversed(readings):
            one = flag_said(clause.whole, self.lexicon.fields[reading.step.skill.name])
            if one is not None:
                reading.step.arguments[one.name] = False
                self.placed.append(clause)
                return

    def _says_more(
        self, filler: SlotFiller, readings: list[ClauseReading], reading: ClauseReading, tokens: list[Token]
    ) -> bool:
        """Whether what was read as a step of its own lacks all it needs, and says more of the step before."""
        step = reading.step
        lacks = [one for one in self.lexicon.fields[step.skill.name] if one.is_required]
        bars = judges_what_is_made(step, self.lexicon)
        if not readings or (not bars and (len(step.missing) < len(lacks) or reading.match.is_whole)):
            return False
        former = readings[-1].step
        if not bars and not set(reading.own) <= {one.name for one in self.lexicon.fields[former.skill.name]}:
            return False
        kept = (dict(former.arguments), dict(former.missing), dict(self.draft.budget))
        self.draft.steps.remove(step)
        said = [token for token in tokens[1:] if token.key not in _LEADS_BAR] if bars else tokens[1:]
        more = filler.amend(former, [_LEAST, *said] if bars and gives_report(former) else said)
        fits = more is not None and bool(more.placed) and not (more.unused or more.negations)
        if fits and more is not None and not set(kept[0]) & set(more.placed) and len(more.unknown) <= 1:
            return True
        former.arguments, former.missing, self.draft.budget = kept
        self.draft.steps.append(step)
        return False

    def _gone_on(self, filler: SlotFiller, readings: list[ClauseReading], clause: Clause) -> Question | None:
        """Have a clause that is no wish say more of the steps before it; a question where it cannot."""
        said = [t for t in clause.whole if t.key in self.lexicon.doing_heads or is_value(t, self.around)]
        told_of = bool(clause.tokens) and clause.tokens[0].key in TELLERS
        counts = any(token.kind == "number" for token in clause.tokens)
        for reading in [] if told_of and counts else reversed(readings):
            kept = (dict(reading.step.arguments), dict(reading.step.missing), dict(self.draft.budget))
            more = filler.amend(reading.step, without_setting(clause.tokens))
            if (
                more is not None
                and not (more.unused or more.negations)
                and not (set(kept[0]) & set(more.placed))
            ):
                self.placed.append(clause)
                return None
            reading.step.arguments, reading.step.missing, self.draft.budget = kept
        if not said or not (readings or any(token.kind in ("number", "date") for token in said)):
            return None  # what was told before the wish is at hand for it
        return self._what_means(said, readings[-1].step if readings else None)

    def _what_means(self, said: list[Token], step: StepDraft | None) -> Question:
        words = ", ".join(f"'{one_line(token.text)[:60]}'" for token in said)
        text = f"What does {words} mean here?"
        return self.asking(self.draft, OpenField(text), step, "words") if step else Question(text)

    def _doubt(self, readings: list[ClauseReading], clauses: list[Clause]) -> PlannerReply | None:
        """A question about words that nothing accounts for; stricter for what serves."""
        serves = any(one.step.skill.effect is Effect.SERVES for one in readings)
        held = [value for step in self.draft.steps for value in step.arguments.values()]
        if any(token.kind == "mapping" and mapping_of(token.text) not in held for token in self.tokens):
            return self._declined("quoted", "")
        for reading in readings:
            if reading.step.missing and not (serves and any(map(is_valued, reading.unused))):
                self._not_placed(reading)
                continue  # what is open is asked first
            foreign = [word for word in reading.unknown if not word.isascii()]
            unclear = [*reading.unused, *foreign]
            many = len(reading.unknown) > max(2, len(reading.step.arguments) + 1)
            if serves or many:
                unclear += reading.unknown
            if reading.step.skill.effect is Effect.READS and not reading.unused and not foreign:
                continue
            if unclear:
                words = ", ".join(f"'{one_line(word)[:60]}'" for word in dict.fromkeys(unclear))
                return self.asking(
                    self.draft,
                    OpenField(f"What does {words} mean here?", self.draft.commands()),
                    reading.step,
                    "words",
                )
        for clause in clauses:
            said = [token for token in clause.whole if is_value(token, self.around)]
            heads = self.lexicon.doing_heads | self.lexicon.gerunds.keys()
            if clause.kind == "negated" and said and not any(token.key in heads for token in clause.whole):
                return self._what_means(said, readings[-1].step)
        told = [clause for clause in clauses if clause.kind == "told" and clause not in self.placed]
        if serves and (aside := self._said_after(clauses)):
            return self._declined("hypothetical", aside)
        told = [clause for clause in told if not {token.key for token in clause.whole} <= _OPENINGS]
        if serves and told and ("\n" in self.text or any(token.key == ":" for token in self.tokens)):
            return self._declined("reported", shown(told[0].whole))
        return None

    def _not_placed(self, reading: ClauseReading) -> None:
        """Have the question about what is open say which words would be left out."""
        left = [*dict.fromkeys(reading.unused), *dict.fromkeys(reading.unknown)]
        name, open_field = next(iter(reading.step.missing.items()))
        if left:
            serves = any(step.skill.effect is Effect.SERVES for step in self.draft.steps)
            if serves or not any(step.arguments for step in self.draft.steps):
                self.draft.left_out += [word for word in left if word not in self.draft.left_out]
            words = ", ".join(f"'{one_line(word)[:60]}'" for word in left[:6])
            text = f"{open_field.text} ({words} would be left out.)"
            reading.step.missing[name] = OpenField(text, open_field.choices)

    def _said_after(self, clauses: list[Clause]) -> str:
        """What is said behind the last wish, is more than thanks and was not placed."""
        last = max(at for at, clause in enumerate(clauses) if clause.kind == "wish")
        for clause in clauses[last + 1 :]:
            if (
                clause.kind == "told"
                and clause not in self.placed
                and any(t.is_word and t.key not in SMALL for t in clause.tokens)
            ):
                return shown(clause.whole)
        return ""

    def _judged(self, conditions: list[Clause]) -> PlannerReply | None:
        """Have a condition become a gate, or ask which gate it is meant to be."""
        said = " ".join(token.key for token in unsequenced(self.tokens, self.lexicon) if token.kind in SPOKEN)
        serves = any(step.skill.effect is Effect.SERVES for step in self.draft.steps)
        waits_for = serves and AWAITED.search(said) is not None
        if not (conditions or waits_for or CONDITIONAL.search(ASKED_WHETHER.sub("", said))):
            return None
        if all(step.skill.effect is Effect.READS for step in self.draft.steps):
            return None
        bar = (
            bar_of([token.key for one in conditions for token in one.tokens])
            if len(conditions) == 1
            else None
        )
        measuring = [step for step in self.draft.steps if "suite" in step.arguments and gives_report(step)]
        gated = any(step.gate for step in measuring)  # by a least score said beside the condition
        if bar is None or len(measuring) != 1 or gated or self.draft.steps[-1] is measuring[0]:
            text = (
                "What comes behind the condition needs a gate: a bar on a suite, fixed before anything "
                "runs. Which? "
                "For example 'evaluate it on SUITE and, if it reaches 85 %, deploy it to ENDPOINT'."
            )
            return self.asking(self.draft, OpenField(text), self.draft.steps[-1], "gate")
        step = measuring[0]
        self.draft.gates = {"release": {"suite": step.arguments["suite"], **bar}}
        step.gate = "release"
        return None

    def _declined(self, reason: str, found: str) -> Declined:
        """Why nothing is proposed, with the commands that the words would come to otherwise."""
        commands = self._commands_anywhere()
        return Declined(refusal(reason, found, commands), reason, commands)

    def _commands_anywhere(self) -> tuple[str, ...]:
        """The command of the first skill that any place of the message names."""
        for at in range(len(self.tokens)):
            rest = self.tokens[at:]
            end = next((n for n, token in enumerate(rest) if token.kind == "end"), len(rest))
            matches = self.lexicon.matches(rest[:end])
            if matches and self.keys[at] not in ASKING:
                draft = PlanDraft()
                try:
                    filler = SlotFiller(self.lexicon, self.around, draft, self.before.at_hand)
                    filler.read(matches[0], rest[:end])
                except OpswrightError:
                    return ()
                return draft.commands()
        return ()

    def _not_understood(self) -> Declined:
        near = tuple(f"/{name}" for name in nearest_skills(self.text, self.registry))
        known = f" These come nearest: {', '.join(near)}." if near else " /help lists what there is."
        return Declined(
            f"Nothing was run: no wish to do something was understood.{known}", "not understood", near
        )
