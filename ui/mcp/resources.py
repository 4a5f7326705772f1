"""Resources: runs, records of the ledger, plans, reports and leaderboards, to read and never to obey."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from ...agents.runs import run_row, run_rows
from ...core.data_block import data_block
from ...core.errors import AskError
from ...record.index import LedgerIndex
from ...record.ledger import Record
from .answers import fitted
from .callers import McpCaller
from .desk import McpDesk

if TYPE_CHECKING:
    from mcp.types import ListResourcesResult, ReadResourceResult, Resource, ResourceTemplate

SCHEME = "opswright://"
_PAGE = 50
_NEWEST = 100
_MOST_REPORT = 60_000
_KINDS = {
    "runs": "One run: status, plan, verdict, what it took.",
    "ledger": "One record of the ledger, by its number.",
    "plans": "One plan, as it was compiled, by its id.",
    "reports": "One report for people (HTML or SVG), by its file's name.",
    "leaderboard": "The measured models and baselines of one suite, best first.",
}
_VARIABLES = {"runs": "run", "ledger": "seq", "plans": "plan_id", "reports": "name", "leaderboard": "suite"}


class McpResources:
    """What of one workspace can be read by address."""

    def __init__(self, desk: McpDesk) -> None:
        self._desk = desk
        self._readers: dict[str, Callable[[McpCaller, str], Any]] = {
            "runs": self._run,
            "ledger": self._record,
            "plans": self._plan,
            "leaderboard": self._leaderboard,
        }

    def page(self, cursor: str | None) -> ListResourcesResult:
        """A page of the resources; AskError for a cursor that this server did not give."""
        from mcp.types import ListResourcesResult

        start = _offset(cursor)
        found = list(self._all())
        after = start + _PAGE
        return ListResourcesResult(
            resources=found[start:after], next_cursor=_cursor(after) if after < len(found) else None
        )

    def templates(self) -> list[ResourceTemplate]:
        """The addresses with a variable in them."""
        from mcp.types import ResourceTemplate

        return [
            ResourceTemplate(
                uri_template=f"{SCHEME}{kind}/{{{_VARIABLES[kind]}}}",
                name=kind,
                description=about,
                mime_type="text/plain",
            )
            for kind, about in _KINDS.items()
        ]

    def read(self, caller: McpCaller, uri: str) -> ReadResourceResult:
        """What is at an address, between marks that its content cannot close. AskError for no such thing."""
        from mcp.types import ReadResourceResult, TextResourceContents

        self._desk.check_may_read(caller)
        kind, name = split_uri(uri)
        if not name and kind in ("runs", "leaderboard"):
            value = self._newest_runs() if kind == "runs" else self._leaderboard(caller, "")
        elif kind == "reports" and name:
            text = self._report(name)
            return ReadResourceResult(
                contents=[TextResourceContents(uri=uri, mime_type="text/plain", text=data_block(uri, text))]
            )
        elif kind in self._readers and name:
            value = self._readers[kind](caller, name)
        else:
            raise AskError(f"no resource {uri[:200]!r}. `resources/templates/list` tells what there is.")
        cut, was_cut = fitted(value)
        shown = {"cut": True, "value": cut} if was_cut else cut
        text = data_block(uri, shown)
        return ReadResourceResult(contents=[TextResourceContents(uri=uri, mime_type="text/plain", text=text)])

    def values(self, variable: str, start: str) -> list[str]:
        """Values of an address's variable that begin so."""
        found: Sequence[str] = []
        if variable == "run":
            found = [row.run for row in run_rows(self._desk.workspace, _NEWEST)]
        elif variable == "plan_id":
            found = list(dict.fromkeys(row.plan for row in run_rows(self._desk.workspace, _NEWEST)))
        elif variable == "seq":
            head = LedgerIndex.of(self._desk.workspace).refresh()
            found = [str(seq) for seq in range(head, max(0, head - _NEWEST), -1)]
        elif variable == "name":
            found = [path.name for path in self._reports()]
        elif variable == "suite":
            from ...agents.planner.values import named_values

            found = named_values(self._desk.workspace, "suite")
        return [value for value in found if value.startswith(start)]

    def _all(self) -> Iterator[Resource]:
        from mcp.types import Resource

        yield Resource(
            uri=f"{SCHEME}runs", name="runs", description="The newest runs.", mime_type="text/plain"
        )
        yield Resource(
            uri=f"{SCHEME}leaderboard",
            name="leaderboard",
            description="Every measured model and baseline, best first.",
            mime_type="text/plain",
        )
        for path in self._reports():
            address = f"{SCHEME}reports/{quote(path.name)}"
            yield Resource(uri=address, name=path.name, description="A report.", mime_type="text/plain")
        for row in run_rows(self._desk.workspace, _NEWEST):
            about = f"Run, {row.state}, by {row.by}, {row.started[:19]} UTC"
            yield Resource(
                uri=f"{SCHEME}runs/{row.run}", name=row.run, description=about, mime_type="text/plain"
            )

    def _newest_runs(self) -> list[dict[str, Any]]:
        return [row.document() for row in run_rows(self._desk.workspace, _NEWEST)]

    def _run(self, caller: McpCaller, name: str) -> dict[str, Any]:
        outcome = self._desk.agent(caller).outcome(name)
        row = run_row(self._desk.workspace, name)
        return {**outcome.document(), **({} if row is None else row.document())}

    def _record(self, caller: McpCaller, name: str) -> dict[str, Any]:
        if not (name.isascii() and name.isdigit()) or len(name) > 15:
            raise AskError(f"invalid record number {name[:40]!r}: expected digits.")
        found = LedgerIndex.of(self._desk.workspace).get(int(name))
        if found is None:
            raise AskError(f"the ledger has no record {name}.")
        return asdict(found) if isinstance(found, Record) else {"fault": str(found)}

    def _plan(self, caller: McpCaller, name: str) -> dict[str, Any]:
        path = self._desk.workspace.plans / f"{name}.json"
        if len(name) != 64 or set(name) - set("0123456789abcdef") or not path.is_file():
            raise AskError(f"no plan {name[:80]!r}.")
        return dict(json.loads(path.read_text(encoding="utf-8")))

    def _leaderboard(self, caller: McpCaller, name: str) -> dict[str, Any]:
        from ...evals.standings import standings

        lines = standings(self._desk.workspace, name or None)
        if name and not lines:
            raise AskError(f"nothing was measured on suite {name[:80]!r}.")
        return {"suite": name or None, "rows": [asdict(line) for line in lines]}

    def _reports(self) -> list[Path]:
        folder = self._desk.workspace.reports
        return sorted(p for p in folder.iterdir() if p.suffix in (".html", ".svg", ".md") and p.is_file())

    def _report(self, name: str) -> str:
        path = next((one for one in self._reports() if one.name == name), None)  # names, never a path
        if path is None or path.is_symlink():
            raise AskError(f"no report {name[:80]!r}.")
        text = path.read_text(encoding="utf-8", errors="replace")
        return text if len(text) <= _MOST_REPORT else f"{text[:_MOST_REPORT]} [cut: {len(text):,} characters]"


def split_uri(uri: str) -> tuple[str, str]:
    """The kind and the name of an address; AskError for one of another scheme."""
    if not uri.startswith(SCHEME):
        raise AskError(f"no resource {uri[:200]!r}: addresses begin with {SCHEME}.")
    kind, _, name = uri.removeprefix(SCHEME).partition("/")
    return kind, unquote(name)


def _offset(cursor: str | None) -> int:
    if cursor is None:
        return 0
    try:
        place = int(base64.urlsafe_b64decode(cursor.encode()).decode().removeprefix("at:"))
    except (ValueError, UnicodeError) as error:
        raise AskError("invalid cursor: give the one that the page before named.") from error
    if not 0 <= place <= 10**6:
        raise AskError("invalid cursor: give the one that the page before named.")
    return place


def _cursor(place: int) -> str:
    return base64.urlsafe_b64encode(f"at:{place}".encode()).decode()
