"""What a model may read while it thinks: the record, artifacts, what is live, the docs. No files, no skills.

Each call is asked of the policy as a step that reads, for the person who is planned for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from ....core.artifact_refs import REF_TYPES
from ....core.contract import Effect
from ....core.data_block import bounded, data_block
from ....core.errors import AskError, DeniedError, OpswrightError
from ....core.plan import Budget, Plan, StepCall
from ....core.secrets import Redactor
from ....core.text import one_line
from ....record.index import LedgerIndex
from ....record.ledger import Record
from ...policy import Policy, policy_of
from ...runs import run_row, run_rows
from ..base import Ask, PlannerSetup, RecordAnswer
from ..phrases import PhrasesPlanner
from ..phrases.surroundings import Surroundings
from .tool_schemas import Schema, tool

_MOST_CHARS = 6_000  # of one result
_MOST_ITEMS = 40
_MOST_TEXT = 600
_LISTED = 20
_TEXT = {"type": "string"}

Arguments = Mapping[str, Any]


class ReadTools:
    """The tools of one message. `records`: the ledger's numbers that were shown, which an answer may cite.

    called: what returned something; shown: these, and what ended with an error, which may quote others.
    """

    def __init__(self, setup: PlannerSetup, redactor: Redactor) -> None:
        self._setup = setup
        self._workspace = setup.workspace
        self._redactor = redactor
        self.records: set[int] = set()
        self.called: list[str] = []
        self.shown: list[str] = []
        self.about = ""  # what the record's last plain answer was about
        self._tools: dict[str, Callable[[Arguments], Any]] = {
            "workspace_overview": self._overview,
            "list_artifacts": self._artifacts,
            "list_runs": self._runs,
            "show_run": self._run,
            "show_record": self._record,
            "leaderboard": self._leaderboard,
            "live": self._live,
            "ask_record": self._ask_record,
            "search": self._search,
        }

    def __contains__(self, name: object) -> bool:
        return name in self._tools

    def schemas(self) -> list[Schema]:
        """The tools as a model is told of them."""
        kinds = {"type": "string", "enum": sorted(REF_TYPES)}
        question = {**_TEXT, "description": "In plain words."}
        return [
            tool(
                "workspace_overview",
                "Suites, data files, endpoints, newest artifacts.",
                {},
            ),
            tool("list_artifacts", "Artifacts of a kind, newest first.", {"kind": kinds}, "kind"),
            tool("list_runs", "The newest runs: state, goal, who, verdict.", {}),
            tool("show_run", "One run: plan, results, messages.", {"run": _TEXT}, "run"),
            tool("show_record", "One record of the ledger.", {"seq": {"type": "integer"}}, "seq"),
            tool("leaderboard", "What was measured on a suite, best first.", {"suite": _TEXT}),
            tool("live", "What each endpoint serves now, and alarms.", {}),
            tool(
                "ask_record",
                "What the record says for certain: what is live, who approved, why refused, what it cost.",
                {"question": question},
                "question",
            ),
            tool("search", "Passages of records, reports and the docs.", {"question": question}, "question"),
        ]

    def call(self, name: str, arguments: Arguments) -> str:
        """What a tool returns, marked as data and cut to a length; an error of the family in words."""
        try:
            self._check_may(name, arguments)
            found = self._tools[name](arguments)
        except DeniedError as error:
            return f"error: {self._redactor.text(one_line(str(error)))[:_MOST_TEXT]}"
        except OpswrightError as error:
            self.shown.append(name)
            return f"error: {data_block(name, self._redactor.text(one_line(str(error)))[:_MOST_TEXT])}"
        self.called.append(name)
        self.shown.append(name)
        return data_block(name, self._cut(found))

    def _cut(self, found: Any) -> str:
        plain = self._redactor.plain(json.loads(json.dumps(found, default=str)))
        items, text = _MOST_ITEMS, _MOST_TEXT
        while True:
            shown = json.dumps(bounded(plain, items, text), ensure_ascii=False)
            if len(shown) <= _MOST_CHARS or items <= 2:
                return shown[:_MOST_CHARS]
            items, text = items // 2, max(text // 2, 100)

    def _check_may(self, name: str, arguments: Arguments) -> None:
        """DeniedError where the policy does not let the person run a step that reads by this tool's name."""
        principal = self._setup.principal
        if principal is None:
            raise DeniedError("nobody is known to plan for, so nothing can be read.")
        policy = policy_of(self._workspace, self._setup.registry)
        step = StepCall(id=name, skill=name, effect=Effect.READS, arguments=dict(arguments))
        plan = Plan(goal=name, budget=Budget(), gates={}, inputs={}, steps=(step,))
        ruling = _reading(policy, frozenset(self._tools)).may_run(
            principal, plan, step, (), datetime.now(UTC)
        )
        if not ruling.allowed:
            raise DeniedError(ruling.message)

    def _overview(self, arguments: Arguments) -> Any:
        around = Surroundings(self._workspace)
        served = {
            which: {name: str(ref) for name, ref in around.releases(which, None).items()}
            for which in ("stable", "canary")
        }
        newest = {kind: [str(ref) for ref in around.artifacts(kind)[:3]] for kind in REF_TYPES}
        return {
            "suites": sorted(around.suites.values()),
            "data files": sorted(around.files.values()),
            "endpoints": sorted(around.endpoints.values()),
            "served bundles": served,
            "newest artifacts": {kind: refs for kind, refs in newest.items() if refs},
        }

    def _artifacts(self, arguments: Arguments) -> Any:
        kind = _text(arguments, "kind")
        if kind not in REF_TYPES:
            raise AskError(f"unknown kind '{kind[:60]}' (there are: {', '.join(REF_TYPES)}).")
        listed = self._workspace.artifacts.list(kind)[:_LISTED]
        return [
            {"ref": str(ref), "facts": manifest.get("facts", {}), "made from": manifest.get("parents", [])}
            for ref, manifest in listed
        ]

    def _runs(self, arguments: Arguments) -> Any:
        rows = [row.document() for row in run_rows(self._workspace, _LISTED)]
        self.records |= {int(row["last_seq"]) for row in rows}
        return rows

    def _run(self, arguments: Arguments) -> Any:
        name = _text(arguments, "run")
        row = run_row(self._workspace, name)
        state = LedgerIndex.of(self._workspace).run_state(name) if row is not None else None
        if row is None or state is None:
            raise AskError(f"unknown run '{name[:80]}'. list_runs lists them.")
        self.records |= {record.seq for record in state.records}
        results = {step: dict(result) for step, result in state.results.items()}
        numbers = [{"record": one.seq, "phase": str(one.phase), "step": one.step} for one in state.records]
        return {
            **row.document(),
            "steps": state.proposal.get("steps"),
            "results": results,
            "records": numbers,
        }

    def _record(self, arguments: Arguments) -> Any:
        seq = arguments.get("seq")
        found = LedgerIndex.of(self._workspace).get(seq) if isinstance(seq, int) and seq > 0 else None
        if not isinstance(found, Record):
            raise AskError("the ledger has no such record.")
        self.records.add(found.seq)
        return asdict(found)

    def _leaderboard(self, arguments: Arguments) -> Any:
        from ....evals.standings import standings

        suite = arguments.get("suite")
        lines = standings(self._workspace, suite if isinstance(suite, str) and suite else None)
        self.records |= {line.record for line in lines if line.record}
        return [
            {
                "model": line.model,
                "report": line.report,
                "kind": line.kind,
                "suite": line.suite,
                "metric": line.metric,
                "value": line.value,
                "interval": [line.low, line.high],
                "verdict": line.verdict,
                "record": line.record,
            }
            for line in lines
        ]

    def _live(self, arguments: Arguments) -> Any:
        from ....serving.status import status

        return status(self._workspace)

    def _ask_record(self, arguments: Arguments) -> Any:
        planner = PhrasesPlanner(self._setup.registry, self._workspace)
        reply = planner.propose(Ask("phrases", _text(arguments, "question")), ())
        if not isinstance(reply, RecordAnswer):
            return {"answer": None, "note": "The record has no plain answer to that; search, or list runs."}
        self.records |= set(reply.records)
        self.about = reply.about
        return {"answer": reply.text, "about": reply.about, "records": list(reply.records)}

    def _search(self, arguments: Arguments) -> Any:
        from ...memory import MemoryIndex, QuestionFilters, answer

        with MemoryIndex(self._workspace) as index:
            found = answer(_text(arguments, "question"), QuestionFilters(), index)
        self.records |= set(found.records)
        passages = [one.passage for one in found.passages]
        return [{"record": one.seq, "title": one.title, "text": one.text} for one in passages]


def _reading(policy: Policy, tools: frozenset[str]) -> Policy:
    """The policy, which knows these tools as what reads."""
    return replace(policy, effects=lambda name: Effect.READS if name in tools else policy.effects(name))


def _text(arguments: Arguments, name: str) -> str:
    value = arguments.get(name)
    if not isinstance(value, str) or not value.strip():
        raise AskError(f"'{name}' must be a text.")
    return value
