"""Sync: brings MLflow up to the ledger's head. Killed anywhere and run again, it ends in the same view."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from ...core.artifact_refs import DatasetRef, parse_ref
from ...core.contract import Effect
from ...core.errors import BackendError, IntegrityError, OpswrightError
from ...core.principal import Principal
from ...core.workspace import Workspace
from ..index import LedgerIndex
from ..ledger import Ledger, Phase, Record
from ..run_state import RunState, StepState
from .files import curve_figures, write_run_files, write_step_files
from .page import run_page, step_page
from .registry import ModelRegistry
from .remembered import VIEW_SKILL, RememberedView, read_views, view_key, write_view
from .status import Status
from .trace import trace_of
from .tracking import Tracking, tags_of

_RECORDS_AT_ONCE = 2000
_SERVED = (Phase.DONE, Phase.ROLLED_BACK)


@dataclass(frozen=True)
class MirrorReport:
    """What one sync did: records read, runs and steps written, and the record MLflow now stands at."""

    records: int
    runs: int
    steps: int
    head_seq: int
    head_hash: str
    tracking_uri: str
    experiment: str


class Mirror:
    """Writes one workspace's ledger to MLflow; keeps the states of open runs between syncs."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.tracking = Tracking(workspace)
        self.states: dict[str, RunState] = {}
        self._upto = 0  # the states hold every record of their runs up to this one

    def sync(self, *, everything: bool = False, wait_s: float = 120) -> MirrorReport:
        """Write what is new (or everything again), one process at a time.

        Raises BackendError when MLflow cannot be written, or another process writes for longer than `wait_s`
        seconds; IntegrityError when MLflow already shows a record that the ledger does not have.
        """
        from filelock import Timeout

        try:
            with self.workspace.lock("mirror", timeout_s=wait_s), self.tracking.errors("it was written"):
                return self._sync(everything)
        except Timeout as error:
            raise BackendError(
                f"another process has been writing MLflow for {wait_s:.0f} s. Wait for it, then sync again."
            ) from error

    def _sync(self, everything: bool) -> MirrorReport:
        self.tracking.refresh()
        seq, digest = self._checked_cursor()
        view = self._remembered_view(seq, digest)
        given = seq
        if everything:
            seq = 0
        if seq != self._upto:
            self.states.clear()
            self._upto = seq
        registry = ModelRegistry(self.tracking)
        runs, steps, count = set[str](), 0, 0
        reopened = self._left_open()
        records = Ledger.of(self.workspace).records(after=seq)
        while chunk := list(islice(records, _RECORDS_AT_ONCE)):
            fresh = self._take_in(chunk)
            for state in fresh:
                steps += self._put(state, {r.step for r in chunk if r.run == state.run}, registry)
                runs.add(state.run)
            self._put_serving(chunk, registry)
            seq, digest, count = chunk[-1].seq, chunk[-1].hash, count + len(chunk)
            if seq > given:  # while everything is written again, what MLflow was given stays the anchor
                self.tracking.set_cursor(seq, digest)
                write_view(self.workspace, replace(view, seq=seq, hash=digest))
            self._upto = seq
            self._forget_ended()
        for run in reopened - runs:
            self._put(self._story(run), set(), registry)
        experiment = self.workspace.settings.mlflow.experiment
        return MirrorReport(count, len(runs), steps, seq, digest, self.tracking.shown_uri, experiment)

    def _checked_cursor(self) -> tuple[int, str]:
        """How far MLflow was brought; IntegrityError when the ledger no longer has that record.

        `mirror.json` is asked too: MLflow may have been emptied to hide that the ledger was cut.
        """
        seq, digest = self.tracking.cursor()
        self._check_head("MLflow shows", seq, digest)
        for view in (read_views(self.workspace) or {}).values():
            self._check_head("mirror.json says that MLflow was given", view.seq, view.hash)
        return seq, digest

    def _check_head(self, who: str, seq: int, digest: str) -> None:
        record = Ledger.of(self.workspace).get(seq)
        if seq and (record is None or record.hash != digest):
            found = "it is missing" if record is None else f"its hash is {record.hash[:16]}"
            raise IntegrityError(
                f"{who} record {seq} with hash {digest[:16]}, but in the ledger {found}: the "
                "ledger was cut or rewritten. Nothing was written; run `opswright audit verify`."
            )

    def _remembered_view(self, seq: int, digest: str) -> RememberedView:
        """The view as the workspace remembers it; a new one is recorded before it is written to.

        So a ledger whose view was removed does not look like one that was never mirrored.
        """
        key = view_key(self.workspace)
        known = (read_views(self.workspace) or {}).get(key)
        now = RememberedView(
            self.tracking.workspace_id,
            self.workspace.settings.mlflow.experiment,
            self.tracking.experiment_id,
            seq,
            digest,
        )
        if known is None or known.place != now.place or (known.seq and not seq):
            principal = Principal.of_os_user("opswright-mirror", ())
            detail = {"view": {"key": key, **now.place}}
            Ledger.of(self.workspace).append(Phase.DONE, principal=principal, skill=VIEW_SKILL, detail=detail)
            write_view(self.workspace, now)
        return now

    def _take_in(self, chunk: list[Record]) -> list[RunState]:
        """Add a chunk of records to their states, and give those states in the order they were touched."""
        touched = dict.fromkeys(record.run for record in chunk if record.run is not None)
        unknown = {
            run
            for run in touched
            if run not in self.states and next(r for r in chunk if r.run == run).phase != Phase.PROPOSED
        }
        self._read_up(unknown, before=chunk[0].seq)
        for record in chunk:
            if record.run is not None:
                self.states.setdefault(record.run, RunState(record.run)).apply(record)
        return [self.states[run] for run in touched]

    def _read_up(self, runs: set[str], before: int) -> None:
        """Read the older records of runs that began before this sync."""
        for run in runs:
            older = [
                record for record in LedgerIndex.of(self.workspace).records_of(run) if record.seq < before
            ]
            if older:
                self.states[run] = RunState.of(run, older)

    def _story(self, run: str) -> RunState:
        if run not in self.states:
            self._read_up({run}, before=self._upto + 1)
        return self.states[run]

    def _put(self, state: RunState, changed: set[str | None], registry: ModelRegistry) -> int:
        """Write a run, and those of its steps that have new records or are shown with another status."""
        own_id = self.tracking.workspace_id
        held = state.end is None and self.workspace.is_held(state.run)
        known = self.tracking.pages_of_run(state.run)
        page = run_page(state, own_id, held)
        run_id = self.tracking.put(page, known)
        steps = [s for s in state.begun if s.id in changed or s.outcome is None]
        for step in steps:
            step_id = self.tracking.put(step_page(state, step, own_id, held), known, parent=run_id)
            self.tracking.put_figures(step_id, curve_figures(step, self.workspace.artifacts))
            with TemporaryDirectory(prefix="opswright-mirror-") as folder:
                write_step_files(step, self.workspace.artifacts, Path(folder))
                self.tracking.put_files(step_id, Path(folder))
            self._put_datasets(step, step_id)
            registry.put_made(state, step, step_id)
        with TemporaryDirectory(prefix="opswright-mirror-") as folder:
            write_run_files(state, Ledger.of(self.workspace), Path(folder))
            self.tracking.put_files(run_id, Path(folder))
        if page.status not in (Status.RUNNING, Status.SCHEDULED):
            registry.put_verdict(state)
            self.tracking.put_trace(*trace_of(state, page, own_id, self.tracking.experiment_id, run_id))
        return len(steps)

    def _put_datasets(self, step: StepState, step_id: str) -> None:
        for name, text in step.request.items():
            try:
                ref = parse_ref(text) if isinstance(text, str) else None
            except OpswrightError:
                continue
            if isinstance(ref, DatasetRef):
                source = str(self.workspace.artifacts.folder(ref))
                self.tracking.put_dataset(step_id, name, ref.digest, source)

    def _put_serving(self, chunk: list[Record], registry: ModelRegistry) -> None:
        for record in chunk:
            if record.effect == Effect.SERVES and record.phase in _SERVED and record.run and record.step:
                registry.put_serving(self._story(record.run), record)

    def _left_open(self) -> set[str]:
        """Runs that MLflow shows as running: they may have stopped since, without a record."""
        open_runs = self.tracking.runs("attributes.status = 'RUNNING' and tags.state = 'running'")
        return {tags_of(run)["run"] for run in open_runs}

    def _forget_ended(self) -> None:
        for run in [run for run, state in self.states.items() if state.end is not None]:
            del self.states[run]


def sync(workspace: Workspace, *, everything: bool = False, wait_s: float = 120) -> MirrorReport:
    """Bring MLflow up to the ledger's head; `everything` writes all of it anew, as after a loss in MLflow."""
    return Mirror(workspace).sync(everything=everything, wait_s=wait_s)
