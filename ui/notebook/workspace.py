"""`from opswright import Workspace`: what a workspace holds as data frames, and its skills as functions."""

from __future__ import annotations

from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.errors import AskError, IntegrityError
from ..consent import match_plan
from ..progress import PlainEvents
from ..session import Session
from .frames import flat_facts, frame
from .proposed import ProposedPlan
from .running import NotebookRun, as_it_stands, carry_on
from .skills import SkillFunctions

if TYPE_CHECKING:
    import pandas as pd

    from ...agents.agent import Agent
    from ...core.registry import Registry

_FILTERS = ("run", "step", "actor", "skill", "phase", "since", "until")  # of the ledger


class NotebookWorkspace:
    """A workspace for notebooks and scripts: under the same policy, consent and record as the command line.

    home: the workspace's folder, by default what `opswright` takes (OPSWRIGHT_HOME, settings, `.opswright`).
    actor, role: who acts, as records name them, by default you. Tables are pandas data frames, read anew at
    each call.
    """

    def __init__(
        self,
        home: str | Path | None = None,
        *,
        actor: str | None = None,
        role: str | None = None,
        registry: Registry | None = None,
    ) -> None:
        if registry is None:
            from ...skills import load_registry

            registry = load_registry()
        self._session = Session(registry, None if home is None else Path(home), actor, role)
        self._workspace = self._session.workspace

    @property
    def root(self) -> Path:
        """The folder that holds all state."""
        return self._workspace.root

    @cached_property
    def skills(self) -> SkillFunctions:
        """Every skill as a function: what only reads answers, anything else becomes a plan."""
        return SkillFunctions(self._session.registry, self._agent)

    def plan(self, file: str | Path) -> ProposedPlan:
        """A plan file (YAML), compiled; nothing is run before `apply` with consent to it."""
        from ...agents.planner import Ask

        return ProposedPlan(self._agent().plan_for(Ask("plan_file", str(file))), self._agent)

    def run(self, run: str) -> NotebookRun:
        """One run as it stands; AskError for one that nothing is recorded of."""
        return as_it_stands(self._agent().outcome(run), self._session.registry)

    def resume(self, run: str, *, approve: str | None = None) -> NotebookRun:
        """Go on with a run where it stopped, or, with the plan's id, consent to it and carry it out.

        Errors as of `ProposedPlan.apply`.
        """
        from ...agents.approvals import Consent

        agent = self._agent()
        consent = None if approve is None else Consent(self._plan_of(run, approve), "notebook resume")
        return carry_on(agent, lambda: agent.resume(run, consent))

    def approve(self, run: str, *, plan: str) -> NotebookRun:
        """Consent to exactly this plan, in your own name; `resume` carries it out."""
        return self._answer(run, self._plan_of(run, plan), approved=True, why="")

    def deny(self, run: str, *, why: str = "") -> NotebookRun:
        """Refuse a plan that waits, or take consent back; `why` is for the record."""
        return self._answer(run, self._plan_of(run, None), approved=False, why=why)

    def runs(self, limit: int | None = None) -> pd.DataFrame:
        """The runs, newest first: state, goal, plan, when and by whom, verdict."""
        from ...agents.runs import RunRow, run_rows

        rows = [row.document() for row in run_rows(self._workspace, limit)]
        return frame(rows, tuple(RunRow.__dataclass_fields__), times=("started",))

    def artifacts(self, kind: str | None = None) -> pd.DataFrame:
        """What the workspace holds, newest first; with a kind, each fact that fits a cell has a column."""
        columns = ("artifact", "kind", "bytes", "parents")
        rows = []
        for ref, manifest in self._workspace.artifacts.list(kind):
            size = sum(entry["bytes"] for entry in manifest["files"].values())
            facts = manifest["facts"]
            rows.append(
                {
                    **dict(zip(columns, (str(ref), ref.kind, size, manifest["parents"]), strict=True)),
                    **({"facts": facts} if kind is None else flat_facts(facts, columns)),
                }
            )
        return frame(rows, columns)

    def reports(self, suite: str | None = None) -> pd.DataFrame:
        """Every eval report, newest first: model, suite, value with its 95 % interval, items."""
        columns = ("artifact", "model", "suite", "metric", "value", "low", "high", "n")
        found = self.artifacts("eval-report")
        rows = found[found["suite"] == suite] if suite is not None and len(found) else found
        others = [name for name in found.columns if name not in columns]
        return rows.reindex(columns=[*columns, *others]).reset_index(drop=True)

    def items(self, report: str) -> pd.DataFrame:
        """A report item by item: what was asked, expected and answered, and each score."""
        from ...evals.report import read_report

        ref = self._workspace.artifacts.resolve(report)
        if ref.kind != "eval-report":
            raise AskError(f"{ref.short} is no eval report: `.reports()` lists them.")
        measured = read_report(self._workspace.artifacts.open(ref))
        return frame(
            {
                "id": item.id,
                "text": item.text,
                "expected": item.expected,
                "got": item.got,
                **{f"score_{name}": value for name, value in item.scores.items()},
                "latency_ms": item.latency_ms,
                "error": item.error,
            }
            for item in measured.items
        )

    def leaderboard(self, suite: str | None = None) -> pd.DataFrame:
        """Every measured model and its baselines, best first, with tiers and ranks as the items show them."""
        from ...evals.leaderboard import COLUMNS
        from ...evals.standings import standings

        rows = [asdict(line) for line in standings(self._workspace, suite)]
        return frame(rows, COLUMNS, times=("date",))

    def compare(self, a: str, b: str, suite: str | None = None) -> pd.DataFrame:
        """B against A on the items both answered: won, lost, difference with its 95 % interval, p-value.

        The first row is all of them, the others the suite's slices (p-values corrected by Holm's method). In
        words: `.attrs["sentence"]`; the test: `.attrs["test"]`. References may be shortened.
        """
        from ...evals.head_to_head import compare, find_line, open_measured, sentence
        from ...evals.leaderboard import board

        lines, store = board(self._workspace, suite), self._workspace.artifacts
        before, after = (open_measured(store, find_line(lines, text)) for text in (a, b))
        found = compare(before, after)
        made = frame(asdict(row) for row in (found.whole, *found.slices))
        made.attrs.update(sentence=sentence(found), test=found.test, suite=found.suite, metric=found.metric)
        return made

    def live(self, at: str | None = None) -> pd.DataFrame:
        """What each endpoint served at a UTC time (ISO 8601; by default now): a row for each release."""
        from ...serving.live import live_at

        columns = ("endpoint", "release", "route", "percent", "bundle", "guardrails", "engine")
        more = ("since", "change", "at", "last_request")
        rows = [
            {"endpoint": one.endpoint, **asdict(release), **{name: getattr(one, name) for name in more}}
            for one in live_at(self._workspace, at)
            for release in one.releases
        ]
        return frame(rows, (*columns, *more), times=("since", "at", "last_request"))

    def ledger(self, limit: int = 1_000, **filters: str | None) -> pd.DataFrame:
        """The newest records that meet the filters, oldest first.

        filters: run, step, actor, skill, phase, since, until, as of `opswright audit list`.
        IntegrityError for a line that holds no record.
        """
        from ...record.index import LedgerIndex
        from ...record.index.criteria import Criteria
        from ...record.records import Record

        for name in filters:
            if name not in _FILTERS:
                raise AskError(f"unknown filter '{name}' (there are: {', '.join(_FILTERS)}).")
        found = LedgerIndex.of(self._workspace).page(Criteria.of(**filters), limit)
        for one in found:
            if not isinstance(one, Record):
                raise IntegrityError(f"record {one.seq}: {one.message}. `opswright audit verify` tells more.")
        rows = [asdict(one) for one in reversed(found) if isinstance(one, Record)]
        return frame(rows, tuple(Record.__dataclass_fields__), times=("time",))

    def _agent(self) -> Agent:
        return self._session.agent(events=PlainEvents())

    def _plan_of(self, run: str, given: str | None) -> str:
        plan = self._agent().approval(run).plan
        return plan if given is None else match_plan(given, plan)

    def _answer(self, run: str, plan: str, *, approved: bool, why: str) -> NotebookRun:
        from ...agents.approvals import Consent

        agent = self._agent()
        outcome = agent.answer(run, Consent(plan, "notebook", approved=approved, why=why))
        return as_it_stands(outcome, self._session.registry)

    def __repr__(self) -> str:
        """Where it is and who acts."""
        principal = self._agent().principal
        return f"<workspace {self.root}, acting as {principal}>"
