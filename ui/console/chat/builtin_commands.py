"""The chat's own commands: help, plans, approvals, runs, what is served, the record, the machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ....agents.planner import Ask
from ....agents.runs import OPEN
from ....core.contract import Skill
from ....core.errors import AskError, did_you_mean
from ..console import Console
from ..pages.mlflow_pages import MlflowPages
from ..uploads import KEPT
from . import blocks
from .commands import COMPILED, PLANS, Call, Command, Commands, Reply
from .run_service import RunService

_GOAL = 90
_RUNS = 50  # runs that a table shows


def make_commands(console: Console, run_service: RunService, mlflow: MlflowPages) -> Commands:
    """The commands of one console."""
    answers = _Answers(console, run_service, mlflow)
    every = Commands(console, run_service, [*_about_runs(answers), *_about_the_rest(answers)])
    answers.commands = every
    return every


def _about_runs(answers: _Answers) -> list[Command]:
    return [
        Command("plan", "/plan FILE", "Show what a plan file would do, to approve or reject.", answers.plan,
                values="plans", least=1, check=lambda words: answers.is_file(words, PLANS)),
        Command("apply", "/apply [FILE]", "Carry out a compiled plan, or the plan shown last.", answers.apply,
                values="compiled", check=lambda words: answers.is_file(words, COMPILED)),
        Command("approve", "/approve [RUN]", "Approve the waiting plan.", answers.approve,
                values="waiting"),
        Command("deny", "/deny [RUN] [WHY]", "Reject the waiting plan.", answers.deny, values="waiting",
                most=40),
        Command("resume", "/resume RUN", "Resume a run that stopped or failed.", answers.resume,
                values="runs", least=1, check=answers.is_run),
        Command("stop", "/stop RUN", "Stop a running run; finished steps are kept.", answers.stop,
                values="running", least=1, check=answers.is_run),
        Command("show", "/show RUN", "Show a run's card.", answers.show, values="runs", least=1,
                check=answers.is_run),
        Command("runs", "/runs", "List the runs and their status.", answers.runs, most=0),
    ]  # fmt: skip


def _about_the_rest(answers: _Answers) -> list[Command]:
    return [
        Command("help", "/help [COMMAND]", "Show the commands, or one command's arguments.", answers.help,
                values="commands"),
        Command("skills", "/skills", "List the skills and what each changes.", answers.skills, most=0),
        Command("status", "/status", "Show open runs and what is served.", answers.status, most=0),
        Command("live", "/live [TIME]", "Show what endpoints serve, now or at a time in the past.",
                answers.live),
        Command("audit", "/audit verify", "Check the record: chain, artifacts, approvals, MLflow.",
                answers.audit, values="words", words=("verify",), least=1),
        Command("doctor", "/doctor", "Show what this machine can and cannot do.", answers.doctor, most=0),
        Command("mlflow", "/mlflow [RUN]", "Open MLflow's pages, on one run or all.", answers.mlflow,
                values="runs"),
    ]  # fmt: skip


class _Answers:
    """What each command answers."""

    def __init__(self, console: Console, run_service: RunService, pages: MlflowPages) -> None:
        self._console = console
        self._run_service = run_service
        self._pages = pages
        self.commands: Commands

    def is_file(self, words: Sequence[str], endings: tuple[str, ...]) -> None:
        """AskError unless the first word names a file that may be read here."""
        for given in words[:1]:
            if not (path := self._file(given, endings)).is_file():
                raise AskError(f"file '{given}' not found (looked at {path.absolute()}).")

    def is_run(self, words: Sequence[str]) -> None:
        """AskError unless the first word names a run."""
        if self._run_service.row(words[0]) is None:
            raise AskError(f"unknown run '{words[0]}'. /runs lists them.")

    def help(self, call: Call) -> Reply:
        """All commands, or one."""
        if not call.words:
            builtin = {one.usage: one.summary for one in self.commands.builtin.values()}
            skills = {f"/{skill.name}": skill.summary for skill in self._console.registry}
            intro = blocks.text(
                "Type / and choose; Tab completes. What changes nothing answers at once, the rest is shown "
                "as a plan that waits for Approve."
            )
            more = blocks.text("Skills:", "soft")
            return Reply([intro, blocks.commands(builtin), more, blocks.commands(skills)])
        name = call.words[0].lstrip("/")
        if (command := self.commands.builtin.get(name)) is not None:
            return Reply([blocks.text(command.summary), blocks.commands({command.usage: "how it is typed"})])
        if name not in self._console.registry:
            near = did_you_mean(f"/{name.lower()}", [f"/{known}" for known in self.commands.names()])
            raise AskError(f"unknown command '/{name}'.{near} /help lists them all.")
        return Reply(_skill_help(self._console.registry.get(name)))

    def skills(self, call: Call) -> Reply:
        """The skills and their effects."""
        rows = [
            [
                blocks.cell(f"/{skill.name}", command=f"/{skill.name} "),
                blocks.cell(skill.effect.in_words, _EFFECT_TONE[skill.effect]),
                skill.summary,
            ]
            for skill in self._console.registry
        ]
        return Reply([blocks.table(["skill", "effect", "what it does"], rows)])

    def plan(self, call: Call) -> Reply:
        """A plan file's card."""
        return self._proposed(call, Ask("plan_file", str(self._file(call.words[0], PLANS))))

    def apply(self, call: Call) -> Reply:
        """A compiled plan's card, or consent to the plan shown last."""
        if not call.words:
            return self.approve(call)
        return self._proposed(call, Ask("compiled_plan", str(self._file(call.words[0], COMPILED))))

    def approve(self, call: Call) -> Reply:
        """Approve the waiting plan."""
        return self._answered(call, approved=True)

    def deny(self, call: Call) -> Reply:
        """Reject the waiting plan; the words after the run are the reason."""
        return self._answered(call, approved=False)

    def resume(self, call: Call) -> Reply:
        """Resume a run that stopped or failed, and show its card."""
        self._run_service.resume(call.person, call.words[0])
        return Reply(run=call.words[0], is_card=True)

    def stop(self, call: Call) -> Reply:
        """Ask whoever carries a run out to stop it; it ends at its next safe point."""
        self._run_service.stop(call.person, call.words[0])
        return Reply([blocks.text(f"Run {call.words[0]} was asked to stop.")])

    def show(self, call: Call) -> Reply:
        """The card of a run, also of one that was started elsewhere."""
        return Reply(run=call.words[0], is_card=True)

    def runs(self, call: Call) -> Reply:
        """The newest runs with their status; a click shows a run's card."""
        rows, count = self._run_service.rows(limit=_RUNS), self._run_service.count()
        if not rows:
            return Reply(
                [blocks.text("No runs yet. /plan FILE proposes one; `opswright demo` makes the first.")]
            )
        cells = [
            [
                blocks.cell(row.run, command=f"/show {row.run}"),
                blocks.cell(row.state, blocks.STATE_TONE.get(row.state, "")),
                blocks.cell(row.verdict or "", blocks.DECISION_TONE.get(row.verdict or "", "")),
                _cut(row.goal),
                row.by,
                row.started[:19].replace("T", " "),
            ]
            for row in rows
        ]
        head = ["run", "state", "verdict", "goal", "asked by", "started (UTC)"]
        older = [blocks.text(f"{count - len(rows):,} older runs are not shown.")] if count > len(rows) else []
        return Reply([blocks.table(head, cells), *older])

    def status(self, call: Call) -> Reply:
        """Open runs and what is served."""
        open_runs = self._run_service.rows(limit=_RUNS, states=OPEN)
        count, open_count = self._run_service.count(), self._run_service.count(OPEN)
        shown = [
            [blocks.cell(row.run, command=f"/show {row.run}"),
             blocks.cell(row.state, blocks.STATE_TONE.get(row.state, "")), _cut(row.goal)]
            for row in open_runs
        ]  # fmt: skip
        found = [
            blocks.text(f"{count} runs, {open_count} of them open. Workspace {self._console.workspace.root}")
        ]
        if shown:
            found.append(blocks.table(["run", "state", "goal"], shown))
        return Reply([*found, *self._serving()])

    def live(self, call: Call) -> Reply:
        """What is served now, or was at a time."""
        if not call.words:
            return Reply(self._serving())
        from ....serving.live import live_at

        rows = [
            [one.endpoint, release.release, f"{release.percent} % ({release.route})", one.change]
            for one in live_at(self._console.workspace, call.words[0])
            for release in one.releases
        ]
        if not rows:
            return Reply([blocks.text(f"Nothing was served at {call.words[0]}.", "soft")])
        title = f"Served at {call.words[0]}"
        return Reply([blocks.table(["endpoint", "release", "share", "since"], rows, title=title)])

    def audit(self, call: Call) -> Reply:
        """Verify the record: what was checked, every fault, and a link to the first bad record."""
        if call.words[0] != "verify":
            raise AskError(
                f"unknown argument '{call.words[0]}': use /audit verify. The Ledger page lists and exports."
            )
        from ...audit_check import audit_workspace

        report = audit_workspace(self._console.workspace, self._console.registry)
        words = "Intact" if report.ok else "NOT intact"
        checked = f"{words}: {report.records:,} records checked in {report.seconds:.1f} s."
        found = [blocks.text(checked, "good" if report.ok else "bad")]
        for fault in report.faults:
            found.append(
                blocks.text(f"record {fault.seq}: {fault.message}" if fault.seq else fault.message, "bad")
            )
        rows = [
            [one.name, f"{one.count:,} {one.what}" if not one.not_done else one.not_done]
            for one in report.checked
        ]
        found.append(blocks.table(["checked", "found"], rows))
        found += [blocks.text(note.message, "soft") for note in report.notes]
        if report.first_bad:
            found.append(blocks.link(f"record {report.first_bad}", f"/ledger?seq={report.first_bad}"))
        return Reply(found)

    def doctor(self, call: Call) -> Reply:
        """What this machine can do."""
        from ...doctor import examine

        tone: dict[str, blocks.Tone] = {"yes": "good", "no": "warn", "not_run": "soft"}
        rows = [
            [blocks.cell(line.can.replace("_", " "), tone[line.can]), line.ability, line.found, line.fix]
            for line in examine(self._console.workspace)
        ]
        return Reply([blocks.table(["can", "what", "found", "what would change it"], rows)])

    def mlflow(self, call: Call) -> Reply:
        """MLflow's pages, started when they are not there."""
        url = self._pages.url(call.words[0] if call.words else None)
        return Reply([blocks.link(f"MLflow: {'run ' + call.words[0] if call.words else 'every run'}", url)])

    def _serving(self) -> list[blocks.Block]:
        from ....serving.status import status

        found = status(self._console.workspace)
        if not found["endpoints"]:
            return [blocks.text("Nothing is deployed yet.", "soft")]
        gateway = found["gateway"]
        state = (
            f"The gateway listens on {gateway['url']}."
            if gateway
            else "The gateway is not running; `opswright serve` starts it."
        )
        rows = [
            [
                blocks.cell(one["endpoint"], href=f"/endpoints?endpoint={one['endpoint']}"),
                one["stable"] or "",
                f"{one['canary']} at {one['canary_percent']} %" if one["canary"] else "",
                blocks.cell("yes", "good") if one["answers"] else blocks.cell("no", "warn"),
                (one["last_request"] or "")[:19].replace("T", " "),
            ]
            for one in found["endpoints"]
        ]
        table = blocks.table(["endpoint", "stable", "canary", "answers", "last request (UTC)"], rows)
        return [blocks.text(state, "soft"), *(blocks.text(one, "warn") for one in found["alarms"]), table]

    def _file(self, given: str, endings: tuple[str, ...]) -> Path:
        """A file a person names; what was uploaded is found by its own name.

        AskError, whether there is one or not, for a file that who logs in may not have read out: what is
        wrong in a plan is told with the words that stand there.
        """
        path = Path(given)
        uploaded = self._console.workspace.root / KEPT / path.name
        self._console.check_within_project(path)
        if self._console.users is not None and path.suffix not in endings:
            raise AskError(f"'{given[:80]}' is no plan: its name must end with {' or '.join(endings)}.")
        return uploaded if not path.exists() and uploaded.is_file() else path

    def _proposed(self, call: Call, ask: Ask) -> Reply:
        return Reply(run=self._run_service.start(call.person, ask).run, is_card=True)

    def _answered(self, call: Call, *, approved: bool) -> Reply:
        named = bool(call.words) and self._run_service.row(call.words[0]) is not None
        if call.words and not named and (approved or _looks_like_run(call.words[0])):
            raise AskError(f"unknown run '{call.words[0]}'. /runs lists them.")
        run = call.words[0] if named else self._waiting(call)
        row = self._run_service.row(run)
        if row is None:
            raise AskError(f"unknown run '{run}'. /runs lists them.")
        why = " ".join(call.words[1:] if named else call.words)
        self._run_service.answer(call.person, run, row.plan, approved=approved, why="" if approved else why)
        return Reply(run=run, is_card=True)

    def _waiting(self, call: Call) -> str:
        """The newest run of the conversation that waits."""
        for run in reversed(call.runs()):
            row = self._run_service.row(run)
            if row is not None and row.state == "waiting":
                return run
        raise AskError("no plan in this conversation is waiting for approval. /plan FILE proposes one.")


def _skill_help(skill: Skill) -> list[blocks.Block]:  # type: ignore[type-arg]
    from ...skill_commands import default_words, type_words

    rows = [
        [name, type_words(one), default_words(one), one.description or ""]
        for name, one in skill.request.model_fields.items()
    ]
    return [
        blocks.text(f"{skill.summary} It {skill.effect.in_words}."),
        blocks.commands({skill.example: "an example"}),
        blocks.table(["argument", "type", "default", "meaning"], rows),
    ]


def _cut(goal: str) -> str:
    return goal if len(goal) <= _GOAL else f"{goal[: _GOAL - 1]}…"


def _looks_like_run(word: str) -> bool:
    return word[:8].isdigit() and word.count("-") == 2


_EFFECT_TONE: dict[str, blocks.Tone] = {"reads": "good", "writes": "warn", "serves": "bad"}
