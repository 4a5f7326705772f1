"""Questions about what happened, answered from the ledger by way of its index, with sequence numbers."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from ....core.errors import OpswrightError
from ....record.ledger import Phase
from ....record.run_state import RunState
from ..base import RecordAnswer
from .lexicon import Lexicon
from .record_words import amount_words, denial_words, has_failed, row_words, was_refused
from .run_finder import RELEASE, RunFinder
from .spent_answers import spent_answer
from .surroundings import Surroundings
from .text import Token
from .text import words as words_of
from .wording import any_of, sections
from .words import without_manners

if TYPE_CHECKING:
    from .conversation_state import ConversationState

_AGAIN = words_of("and on at of for what about how the same also now to in then endpoint suite")
_TIME = re.compile(r"\b\d{4}-\d\d-\d\d(?:[t ]\d\d:\d\d(?::\d\d)?z?)?\b", re.IGNORECASE)
_FAILED = re.compile(r"\b(?:fail\w*|crash\w*|broke\w*|wrong)\b")
_OPENING = any_of(sections("manners")["asking"], "^", r"\b\s*")
_BY_WORDS = {about: any_of(patterns) for about, patterns in sections("topics").items()}
_ASKS = re.compile(
    r"(?:what|which|who|whom|whose|when|why|how|since when|by whom|at what|on which|is|was|did|has)\b"
)
_ASKS_OF = re.compile(
    r"\b(?:what|which|who|whom|whose|when|why|how|is|was|were|did|does|has|have|any|anything)\b"
)
_LONGEST = 18  # words of such a question
_TOPICS = {about: any_of(patterns, "^") for about, patterns in sections("questions").items()}


def answer_from_record(
    text: str,
    tokens: list[Token],
    around: Surroundings,
    lexicon: Lexicon,
    before: ConversationState,
    *,
    is_alone: bool,
    plain: bool = False,
) -> RecordAnswer | None:
    """What the record says to a question about it; None for anything else.

    is_alone: whether nothing is asked to be done beside it, so that it may stand behind something told.
    plain: whether nothing in it supposes, reports or quotes, so that words anywhere tell what it is about.
    """
    said = " ".join(token.key for token in tokens if token.kind in ("word", "number", "mark")).strip()
    said = re.sub(r"[^\w%' ]", " ", said)
    said = re.sub(r"\s+", " ", said).strip()
    if tokens and tokens[0].kind in ("ref", "path"):
        said = f"_ {said}"  # "... is ready, deploy it" tells of a thing, and asks nothing
    words = said.split()
    asked_alone = " ".join(words[without_manners(words, lambda place: 0.0) :])
    parts = [said, asked_alone, *(_parts(tokens) if is_alone else ())]
    asked_for = [_without_opening(part) for part in parts]
    topic = next(
        (about for about, pattern in _TOPICS.items() if any(pattern.match(part) for part in asked_for)), None
    )
    if topic is None and before.said and (again := _same_of_another(words, before.said, around)):
        tokens = lexicon.read(again, around.names)
        return answer_from_record(again, tokens, around, lexicon, before, is_alone=is_alone)
    if topic is None and is_alone and plain:
        topic = _topic_of(asked_for[0], text)
    if topic is None or _supposes(asked_for[0]):
        return None
    asked = _Asked(text, said, around, lexicon, before)
    answers: dict[str, Callable[[], RecordAnswer]] = {
        "live": asked.live, "approved": asked.approved, "refused": asked.refused, "cost": asked.cost,
        "best": asked.best, "who": asked.who, "when": asked.when, "waiting": asked.waiting,
        "status": asked.status, "trained": asked.trained, "help": asked.help, "audit": asked.audit,
    }  # fmt: skip
    try:
        return answers[topic]()
    except OpswrightError as error:
        return RecordAnswer(str(error), topic)


def _topic_of(asked: str, text: str) -> str | None:
    """What a question is about by words anywhere in it, where it begins or ends as a question does."""
    is_question = _ASKS.match(asked) is not None or text.rstrip().endswith("?")
    if not is_question or len(asked.split()) > _LONGEST or not _ASKS_OF.search(asked):
        return None
    return next((about for about, pattern in _BY_WORDS.items() if pattern.search(asked)), None)


def _same_of_another(words: list[str], said: str, around: Surroundings) -> str | None:
    """The question before, of another endpoint or suite: "and on desk?" behind "what is live on shop?"."""
    for names in (around.endpoints, around.suites):
        here = [word for word in words if word in names]
        there = [name for name in names.values() if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", said)]
        if len(words) <= 6 and len(here) == 1 and len(there) == 1 and set(words) - {here[0]} <= _AGAIN:
            return re.sub(rf"(?<!\w){re.escape(there[0])}(?!\w)", names[here[0]], said)
    return None


def _parts(tokens: list[Token]) -> list[str]:
    """What stands behind each comma and each end of a sentence."""
    keys = [token.key if token.kind in ("word", "number") else "," for token in tokens]
    starts = [at + 1 for at, key in enumerate(keys) if key == ","]
    return [" ".join(key for key in keys[at:] if key != ",") for at in starts]


def _without_opening(said: str) -> str:
    """A question without what people begin one with: "I was wondering", "could you tell me"."""
    while (found := _OPENING.match(said)) is not None and found.end():
        said = said[found.end() :]
    return said


def _supposes(said: str) -> bool:
    return (
        re.search(r"\b(?:would|if|should|could we|can we|might|will)\b", said) is not None
        and "could you" not in said
        and "would you" not in said
    )


class _Asked(RunFinder):
    """One question, and what it is about."""

    def live(self) -> RecordAnswer:
        """What endpoints serve, or served at a time."""
        from datetime import UTC, datetime, timedelta

        from ....serving.live import live_at

        found = _TIME.search(self.text)
        time = found.group() if found else None
        if time is None and "yesterday" in self.said:
            time = (datetime.now(UTC) - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        endpoint = self.endpoint
        found_live = live_at(self.around.workspace, time, endpoint)
        when = f" at {time}" if time else ""
        if not found_live:
            return RecordAnswer(
                f"Nothing is served{when}." if not when else f"Nothing was served{when}.",
                "live",
                (),
                ("/live",),
            )
        changes = self.index.changes([one.key for one in found_live if one.key])
        lines, records = [], []
        for one in found_live:
            shares = ", ".join(
                f"{release.release} ({release.route}, {release.percent} %)" for release in one.releases
            )
            record = changes.get(one.key)
            cited = f", record {record.seq}" if record is not None else ""
            records += [record.seq] if record is not None else []
            lines.append(f"{one.endpoint}: {shares}, since {one.since[:19]} ({one.change}{cited}).")
        return RecordAnswer(" ".join(lines), "live", tuple(records), (f"/live {time}" if time else "/live",))

    def approved(self) -> RecordAnswer:
        """Who approved the run that is meant."""
        state = self.run()
        if state is None:
            return self._no_run("approved")
        if state.approvals:
            who = ", ".join(f"{one.principal} (record {one.seq}, {one.how})" for one in state.approvals)
            return self._of(
                state, f"was approved by {who}.", "approved", [one.seq for one in state.approvals]
            )
        if state.denial is not None:
            return self._of(
                state,
                f"was approved by nobody: {denial_words(state.denial)}.",
                "approved",
                [state.denial.seq],
            )
        reads = state.proposed is not None and state.proposed.effect == "reads"
        why = "it only reads, so nobody had to" if reads else f"it is {state.status}"
        return self._of(state, f"was approved by nobody: {why}.", "approved", [state.last.seq])

    def refused(self) -> RecordAnswer:
        """Why a run, or a release, came to nothing."""
        kinds = (was_refused, has_failed)
        found = (self.run(fits) for fits in (kinds[::-1] if _FAILED.search(self.said) else kinds))
        state = next((one for one in found if one is not None), None)
        if state is None:
            of = f" of {release.group()}" if (release := RELEASE.search(self.said)) else ""
            text = f"No run{of} in the record was refused, denied, failed or judged NO_GO."
            return RecordAnswer(text, "refused", (), ("/runs",))
        if state.denial is not None:
            return self._of(
                state, f"was denied: {denial_words(state.denial)}.", "refused", [state.denial.seq]
            )
        judged = next((step for step in reversed(state.begun) if step.verdict is not None), None)
        if judged is not None and judged.verdict is not None and judged.verdict["decision"] != "GO":
            rows = [row for row in judged.verdict.get("rows", ()) if row.get("decision") != "GO"]
            why = "; ".join(row_words(row) for row in rows) or "no row says more"
            return self._of(
                state, f"was judged {judged.verdict['decision']}: {why}.", "refused", [judged.last.seq]
            )
        stopped = next((step for step in reversed(state.begun) if step.error), None)
        if stopped is not None:
            return self._of(
                state,
                f"failed in step {stopped.id}: {stopped.error.get('message', '')}",
                "refused",
                [stopped.last.seq],
            )
        if state.end is not None and state.status in ("refused", "failed"):
            return self._of(state, f"was {state.status}: {state.message}", "refused", [state.end.seq])
        return self._of(state, f"was not refused: it is {state.status}.", "refused", [state.last.seq])

    def cost(self) -> RecordAnswer:
        """What a run took, or what was spent in all, in a time, by a person."""
        if (summed := spent_answer(self.text.casefold(), self.around.workspace)) is not None:
            return summed
        state = self.run()
        if state is None:
            return self._no_run("cost")
        settled = [record for record in state.records if record.phase == Phase.SETTLED]
        spent = ", ".join(
            amount_words(name, value) for name, value in state.spent.items() if value or name == "minutes"
        )
        text = f"took {spent}." if spent else f"has nothing settled yet: it is {state.status}."
        return self._of(state, text, "cost", [record.seq for record in settled[-8:]] or [state.last.seq])

    def best(self) -> RecordAnswer:
        """The first of the leaderboard, on a suite where one is named."""
        from ....evals.leaderboard import board

        words = self.said.split()
        suite = next((value for key, value in self.around.suites.items() if key in words), None)
        rows = [row for row in board(self.around.workspace, suite) if not row.is_baseline]
        command = f"/leaderboard suite={suite}" if suite else "/leaderboard"
        if not rows:
            return RecordAnswer(
                "Nothing was measured yet" + (f" on {suite}." if suite else "."), "best", (), (command,)
            )
        lines, records = [], []
        for name in dict.fromkeys(row.suite for row in rows):
            row = next(one for one in rows if one.suite == name)
            cited = f", record {row.record}" if row.record is not None else ""
            records += [row.record] if row.record is not None else []
            lines.append(
                f"{name}: {row.name} with {row.metric} {row.value:.3f} "
                f"({row.low:.3f} to {row.high:.3f}, n {row.n}{cited})."
            )
        return RecordAnswer(" ".join(lines[:6]), "best", tuple(records[:6]), (command,))

    def who(self) -> RecordAnswer:
        """Who proposed a run, and who approved it."""
        state = self.run()
        if state is None:
            return self._no_run("who")
        approved = (
            f", approved by {', '.join(str(one.principal) for one in state.approvals)}"
            if state.approvals
            else ""
        )
        seqs = [state.first.seq, *(one.seq for one in state.approvals)]
        return self._of(state, f"was proposed by {state.proposer}{approved}.", "who", seqs)

    def when(self) -> RecordAnswer:
        """When a run was proposed, and when it ended."""
        state = self.run()
        if state is None:
            return self._no_run("when")
        end = state.end
        ended = (
            f" and ended {end.time[:19]} ({state.status})" if end is not None else f"; it is {state.status}"
        )
        seqs = [state.first.seq, *([end.seq] if end is not None else [])]
        return self._of(state, f"was proposed {state.first.time[:19]} UTC{ended}.", "when", seqs)

    def waiting(self) -> RecordAnswer:
        """The runs that wait for somebody's answer."""
        rows = self.index.rows(limit=20, statuses=("waiting",))
        if not rows:
            return RecordAnswer("No plan is waiting for approval.", "waiting", (), ("/runs",))
        text = " ".join(
            f"{row.run} waits for approval: {row.goal[:80]} (record {row.last_seq})." for row in rows
        )
        return RecordAnswer(
            text,
            "waiting",
            tuple(row.last_seq for row in rows),
            tuple(f"/show {row.run}" for row in rows[:5]),
        )

    def status(self) -> RecordAnswer:
        """How a run stands."""
        if re.search(r"\b(?:running|in progress|going on|busy|happening)\b", self.said):
            from ...runs import run_rows

            rows = [row for row in run_rows(self.around.workspace, 50) if row.state == "running"]
            if not rows:
                return RecordAnswer("Nothing is running.", "status", (), ("/runs",))
            text = " ".join(f"{row.run} is running: {row.goal[:80]} (record {row.last_seq})." for row in rows)
            return RecordAnswer(text, "status", tuple(row.last_seq for row in rows), ("/runs",))
        state = self.run()
        if state is None:
            return self._no_run("status")
        verdict = f", verdict {state.verdict}" if state.verdict else ""
        message = f": {state.message}" if state.message else ""
        return self._of(state, f"is {state.status}{verdict}{message}.", "status", [state.last.seq])

    def trained(self) -> RecordAnswer:
        """What a model was made from."""
        bundle = next(iter(self.release_bundles()), None)
        ref = bundle or next(iter(self.around.artifacts("checkpoint")), None)
        if ref is None:
            return RecordAnswer("There is no model in this workspace yet.", "trained")
        data = self.around.behind(ref, ("dataset",))
        base = self.around.behind(ref, ("checkpoint",))
        from ....record.index.lines import Link

        made = [one for things in self.index.linked([str(ref)], Link.MADE).values() for one in things]
        cited = f" (record {made[0].seq})" if made else ""
        learned = f" It learned from {data.short}." if data else " No dataset behind it is recorded."
        of = f" made from {base.short}." if base is not None and base != ref else ""
        return RecordAnswer(f"{ref.short}{cited}{of}{learned}", "trained", tuple(one.seq for one in made[:1]))

    def help(self) -> RecordAnswer:
        """What can be asked for."""
        skills = ", ".join(skill.name for skill in self.lexicon.skills)
        text = (
            f"Skills, in your own words or as commands: {skills}. Questions: what is live, "
            "who approved that, why was a run refused, what did it cost, which model is best."
        )
        return RecordAnswer(text, "help", (), ("/help",))

    def audit(self) -> RecordAnswer:
        """Where the record is checked."""
        head = self.index.refresh()
        return RecordAnswer(
            f"The ledger has {head} records; /audit verify checks every one.",
            "audit",
            (head,) if head else (),
            ("/audit verify",),
        )

    def _of(self, state: RunState, text: str, about: str, seqs: list[int]) -> RecordAnswer:
        shown = f"Run {state.run} ({state.goal[:60]}) {text}"
        cited = tuple(dict.fromkeys(seqs))
        return RecordAnswer(
            f"{shown} [record {', '.join(map(str, cited))}]", about, cited, (f"/show {state.run}",)
        )

    def _no_run(self, about: str) -> RecordAnswer:
        return RecordAnswer("The record has no such run.", about, (), ("/runs",))
