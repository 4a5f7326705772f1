"""Check: what MLflow shows against the ledger, both ways, by making its pages anew and comparing them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...core.errors import BackendError, IntegrityError
from ...core.workspace import Workspace
from ..ledger import Record
from ..run_state import RunState
from .page import HASH, KEY, SEQ, WORKSPACE, Page, run_key, run_page, step_key, step_page
from .remembered import RememberedView, read_views, view_key
from .shown import ShownRun, differences, own_tags
from .tracking import CURSOR, Tracking, tags_of

if TYPE_CHECKING:
    from ..audit.report import FaultCollector

_NAMED_AT_MOST = 20


@dataclass(frozen=True)
class _Contents:
    """What MLflow holds: the cursor, the pages of this workspace, those in its bin, and runs of others."""

    cursor: tuple[int, str]
    shown: tuple[ShownRun, ...]
    deleted: tuple[ShownRun, ...]
    foreign: tuple[ShownRun, ...]


class MlflowCheck:
    """Reads what MLflow shows, then follows the ledger and compares each page at the record it shows."""

    def __init__(
        self, own: str, found: _Contents, remembered: RememberedView | None, problem: str = ""
    ) -> None:
        self.own = own
        self.found = found
        self.remembered = remembered
        self.problem = problem
        self._waiting: dict[int, list[ShownRun]] = {}
        for page in found.shown:
            self._waiting.setdefault(page.seq, []).append(page)
        self._expected: dict[str, int] = {}  # key -> last record, for what MLflow was given
        self._faults: list[tuple[int, str]] = []
        self._notes: list[tuple[int, str]] = []
        self._at_cursor: str | None = None
        self._behind = 0
        self._run_ids = {page.key: page.id for page in found.shown}

    @classmethod
    def open(cls, workspace: Workspace) -> MlflowCheck | None:
        """The check for a workspace, None when nothing was mirrored; BackendError when MLflow is silent."""
        tracking = Tracking(workspace)
        try:
            views = read_views(workspace) or {}
        except IntegrityError:
            views = {}  # the audit's own check of that file says so
        remembered = views.get(view_key(workspace))
        own = workspace.root / "workspace-id"
        is_alone = not tracking.is_remote and tracking.is_inside
        if not tracking.exists or (remembered is None and not own.is_file() and not is_alone):
            return None
        own_id = remembered.workspace if remembered else own.read_text().strip() if own.is_file() else ""
        try:
            with workspace.lock("mirror", timeout_s=60), tracking.errors("it was compared with the ledger"):
                return cls._read(tracking, own_id, remembered, is_alone)
        except OSError as error:  # a timeout too
            message = "MLflow is being written right now, or the workspace cannot be locked"
            raise BackendError(f"{message}: {error}. Verify again later.") from error

    @classmethod
    def _read(
        cls, tracking: Tracking, own: str, remembered: RememberedView | None, is_alone: bool
    ) -> MlflowCheck | None:
        experiment = tracking.find_experiment()
        name = tracking.workspace.settings.mlflow.experiment
        nothing = _Contents((0, ""), (), (), ())
        if experiment is None or experiment.lifecycle_stage != "active":
            if remembered is None:
                return None
            what = "is not there" if experiment is None else "was deleted"
            return cls(
                own, nothing, remembered, f"MLflow experiment '{name}', which showed this ledger, {what}"
            )
        cursors = {tag for tag in experiment.tags if tag.startswith(CURSOR)}
        if not own and not cursors:
            return None  # a database that nothing was mirrored to
        if remembered is None and is_alone and cursors:
            message = "MLflow was given this ledger, but mirror.json, which says how far, is gone"
            own = own or sorted(cursors)[0].removeprefix(CURSOR)
            return cls(own, _contents(tracking, own, is_alone), None, message)
        problem = ""
        if remembered is not None and str(experiment.experiment_id) != remembered.experiment_id:
            problem = f"MLflow experiment '{name}' is another one than this ledger was written to"
        return cls(own, _contents(tracking, own, is_alone), remembered, problem)

    def take(self, record: Record, run: RunState) -> None:
        """The ledger's next record, applied to its run: compare the pages that say they show it."""
        seq, _ = self.found.cursor
        self._behind += record.seq > seq
        if record.seq == seq:
            self._at_cursor = record.hash
        if record.run is not None:
            if record.seq <= seq:
                self._expected[run_key(self.own, record.run)] = record.seq
                if record.step is not None and run.steps[record.step].records:
                    self._expected[step_key(self.own, record.run, record.step)] = record.seq
            for shown in self._waiting.pop(record.seq, ()):
                self._compare(shown, record, run)

    def compare(self, say: FaultCollector, head: int) -> int:
        """Say where MLflow and the ledger differ, once the ledger was walked; gives the number of pages."""
        if self.problem:
            say.fault(0, self.problem)
        self._compare_cursor(say, head)
        for number, message in self._faults:
            say.fault(number, message)
        for number, message in self._notes:
            say.note(number, message)
        for pages in self._waiting.values():
            for page in pages:
                message = f"{page.title} shows record {page.seq}, which the ledger does not have"
                say.fault(min(page.seq, head + 1), message)
        keys = [page.key for page in self.found.shown]
        for key in sorted({key for key in keys if keys.count(key) > 1} if len(set(keys)) < len(keys) else ()):
            say.fault(self._expected.get(key, 0), f"MLflow shows {key.partition('/')[2]} twice")
        self._say_missing(say, set(keys))
        for page in self.found.foreign:
            say.fault(0, f"{page.title} in this workspace's own MLflow was not written from its ledger")
        if self._behind and not self.problem:
            message = f"MLflow is behind by {self._behind} records: `opswright audit sync` catches up"
            say.note(self.found.cursor[0] + 1, message)
        return len(self.found.shown)

    def _compare_cursor(self, say: FaultCollector, head: int) -> None:
        """The head that MLflow holds must be in the ledger, and not before the one in `mirror.json`."""
        seq, digest = self.found.cursor
        if seq and self._at_cursor != digest:
            has = f"hash {self._at_cursor[:16]}" if self._at_cursor else f"its end at record {head}"
            message = f"MLflow was given record {seq} with hash {digest[:16]}, the ledger has {has}"
            say.fault(min(seq, head + 1), f"{message}: it was cut or rewritten")
        if self.remembered is not None and not self.problem and seq < self.remembered.seq:
            at = f"stands at record {seq}" if seq else "does not say how far it was brought"
            say.fault(
                0, f"MLflow was given record {self.remembered.seq} and {at}: it was emptied or put back"
            )

    def _say_missing(self, say: FaultCollector, keys: set[str]) -> None:
        """What MLflow was given and does not show: moved to its bin, or gone."""
        bin_ = {page.key: page for page in self.found.deleted}
        lacking = sorted(self._expected.keys() - keys, key=lambda key: self._expected[key])
        for key in lacking[:_NAMED_AT_MOST]:
            where = f": it was deleted (MLflow run {bin_[key].id[:12]})" if key in bin_ else ""
            say.fault(self._expected[key], f"MLflow does not show {key.partition('/')[2]} any more{where}")
        if len(lacking) > _NAMED_AT_MOST:
            say.fault(
                0, f"MLflow lacks {len(lacking) - _NAMED_AT_MOST} more runs and steps that it was given"
            )

    def _compare(self, shown: ShownRun, record: Record, run: RunState) -> None:
        step = run.steps.get(record.step or "")
        parent = None
        if shown.key == run_key(self.own, run.run):
            pages = [run_page(run, self.own, is_held) for is_held in (False, True)]
        elif step is not None and step.records and shown.key == step_key(self.own, run.run, step.id):
            pages = [step_page(run, step, self.own, is_held) for is_held in (False, True)]
            parent = self._run_ids.get(run_key(self.own, run.run))
        else:
            what = f"{record.run}/{record.step}" if record.step else record.run
            message = f"{shown.title} says it shows record {record.seq}, which is of {what}"
            self._faults.append((record.seq, message))
            return
        given = record.seq <= self.found.cursor[0]  # else it is being written, and may lack something yet
        found = [list(differences(shown, page, parent, given)) for page in pages]
        # how it was shown depends on whether some process held the run just then
        for fault in min(found, key=len):
            self._faults.append((record.seq, f"{shown.title}: {fault}"))
        self._note_own_tags(shown, pages[0], record.seq)

    def _note_own_tags(self, shown: ShownRun, page: Page, seq: int) -> None:
        if names := sorted(own_tags(shown, page)):
            message = f"{shown.title} has tags that were not written from the ledger: {', '.join(names)}"
            self._notes.append((seq, message))


def _contents(tracking: Tracking, own: str, is_alone: bool) -> _Contents:
    """Every run of the experiment; those of other workspaces only where no other writes to it."""
    shown: list[ShownRun] = []
    deleted: list[ShownRun] = []
    foreign: list[ShownRun] = []
    for run in tracking.all_runs():
        page = _page_of(run)
        if tags_of(run).get(WORKSPACE) == own:
            (shown if run.info.lifecycle_stage == "active" else deleted).append(page)
        elif is_alone and run.info.lifecycle_stage == "active":
            foreign.append(page)
    return _Contents(tracking.cursor_of(own), tuple(shown), tuple(deleted), tuple(foreign))


def _page_of(run: Any) -> ShownRun:
    tags = tags_of(run)
    number = tags.get(SEQ, "")
    return ShownRun(
        id=str(run.info.run_id),
        key=tags.get(KEY, ""),
        seq=int(number) if number.isdecimal() else 0,
        hash=tags.get(HASH, ""),
        run_name=str(run.info.run_name),
        status=str(run.info.status),
        start_ms=run.info.start_time,
        end_ms=run.info.end_time,
        tags=tags,
        params=dict(run.data.params),
        metrics=dict(run.data.metrics),
    )
