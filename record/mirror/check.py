"""Check: what MLflow shows against the ledger, both ways, by making its pages anew and comparing them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ...core.errors import BackendError
from ...core.workspace import Workspace
from ..audit.report import Checked, Findings
from ..ledger import Record
from ..run_state import RunState
from .page import HASH, HEAD, KEY, SEQ, Page, run_key, run_page, step_key, step_page
from .tracking import Tracking, tags_of

WHAT = "runs and steps that MLflow shows, against the ledger"
_CURVE = "training."  # figures of a training log, which is an artifact of its own
_NAMED_AT_MOST = 20


@dataclass(frozen=True)
class _Shown:
    """One MLflow run: `seq` and `hash` are those of the record it says it shows (0: none)."""

    id: str
    key: str
    seq: int
    hash: str
    head: str | None
    params: Mapping[str, str]
    metrics: Mapping[str, float]

    @property
    def name(self) -> str:
        """How faults call it."""
        return f"MLflow run {self.id[:12]} ({self.key.partition('/')[2]})"


class MlflowCheck:
    """Reads what MLflow shows, then follows the ledger and compares each page at the record it shows."""

    def __init__(self, own: str, cursor: tuple[int, str], shown: list[_Shown]) -> None:
        self.own = own
        self.cursor = cursor
        self.shown = shown
        self._waiting: dict[int, list[_Shown]] = {}
        for page in shown:
            self._waiting.setdefault(page.seq, []).append(page)
        self._stories: dict[str, RunState] = {}
        self._expected: dict[str, int] = {}  # key -> last record, for what MLflow was given
        self._faults: list[tuple[int, str]] = []
        self._at_cursor: str | None = None
        self._behind = 0

    @classmethod
    def open(cls, workspace: Workspace) -> MlflowCheck | None:
        """The check for a workspace, None when nothing was mirrored; BackendError when MLflow is silent."""
        tracking = Tracking(workspace)
        if not tracking.exists or not (workspace.root / "workspace-id").is_file():
            return None
        try:
            with workspace.lock("mirror", timeout_s=60), tracking.errors("it was compared with the ledger"):
                experiment = tracking.find_experiment()
                if experiment is None or experiment.lifecycle_stage != "active":
                    return None
                return cls(tracking.workspace_id, tracking.cursor(), list(_read(tracking)))
        except OSError as error:  # a timeout too
            message = "MLflow is being written right now, or the workspace cannot be locked"
            raise BackendError(f"{message}: {error}. Verify again later.") from error

    def take(self, record: Record) -> None:
        """The ledger's next record: compare the pages that say they show it."""
        seq, _ = self.cursor
        self._behind += record.seq > seq
        if record.seq == seq:
            self._at_cursor = record.hash
        if record.run is None:
            return
        story = self._stories.setdefault(record.run, RunState(record.run))
        story.apply(record)
        if record.seq <= seq:
            self._expected[run_key(self.own, record.run)] = record.seq
            if record.step is not None:
                self._expected[step_key(self.own, record.run, record.step)] = record.seq
        for shown in self._waiting.pop(record.seq, ()):
            self._compare(shown, record, story)
        if record.step is None and story.end is not None and record.phase == "done":
            del self._stories[record.run]

    def compare(self, findings: Findings, head: int) -> Checked:
        """Say where MLflow and the ledger differ, once the ledger was walked."""
        seq, digest = self.cursor
        if seq and self._at_cursor != digest:
            has = f"hash {self._at_cursor[:16]}" if self._at_cursor else f"its end at record {head}"
            message = f"MLflow was given record {seq} with hash {digest[:16]}, the ledger has {has}"
            findings.fault(min(seq, head + 1), f"{message}: it was cut or rewritten")
        for number, message in self._faults:
            findings.fault(number, message)
        for pages in self._waiting.values():
            for page in pages:
                message = f"{page.name} shows record {page.seq}, which the ledger does not have"
                findings.fault(min(page.seq, head + 1), message)
        keys = [page.key for page in self.shown]
        for key in sorted({key for key in keys if keys.count(key) > 1} if len(set(keys)) < len(keys) else ()):
            findings.fault(self._expected.get(key, 0), f"MLflow shows {key.partition('/')[2]} twice")
        lacking = sorted(self._expected.keys() - set(keys), key=lambda key: self._expected[key])
        for key in lacking[:_NAMED_AT_MOST]:
            message = f"MLflow does not show {key.partition('/')[2]} any more"
            findings.note(self._expected[key], f"{message}: `opswright audit sync --all` writes it again")
        if self._behind:
            message = f"MLflow is behind by {self._behind} records: `opswright audit sync` catches up"
            findings.note(seq + 1, message)
        return Checked("mlflow", WHAT, len(self.shown))

    def _compare(self, shown: _Shown, record: Record, story: RunState) -> None:
        step = story.steps.get(record.step or "")
        if shown.key == run_key(self.own, story.run):
            page = run_page(story, self.own, is_held=False)
        elif step is not None and shown.key == step_key(self.own, story.run, step.id):
            page = step_page(story, step, self.own, is_held=False)
        else:
            message = (
                f"{shown.name} says it shows record {record.seq}, which is of {record.run}/{record.step}"
            )
            self._faults.append((record.seq, message))
            return
        given = record.seq <= self.cursor[0]  # else it is being written, and may lack something yet
        for fault in _differences(shown, page, given):
            self._faults.append((record.seq, f"{shown.name}: {fault}"))


def _read(tracking: Tracking) -> Iterator[_Shown]:
    for run in tracking.runs():
        tags = tags_of(run)
        number = tags.get(SEQ, "")
        yield _Shown(
            id=str(run.info.run_id),
            key=tags.get(KEY, ""),
            seq=int(number) if number.isdecimal() else 0,
            hash=tags.get(HASH, ""),
            head=tags.get(HEAD),
            params=dict(run.data.params),
            metrics={n: v for n, v in run.data.metrics.items() if not n.startswith(_CURVE)},
        )


def _differences(shown: _Shown, page: Page, given: bool) -> Iterator[str]:
    if shown.hash != page.tags[HASH]:
        has = page.tags[HASH][:16]
        yield f"it shows record {shown.seq} with hash {shown.hash[:16]}, the ledger has {has}"
        return
    if given and HEAD in page.tags and shown.head != page.tags[HEAD]:
        yield f"its anchored head is {shown.head}, the ledger says {page.tags[HEAD]}"
    figures = {figure.name: figure.value for figure in page.figures}
    yield from _unequal("param", shown.params, page.params, given)
    yield from _unequal("metric", shown.metrics, figures, given)


def _unequal(
    what: str, shown: Mapping[str, object], expected: Mapping[str, object], given: bool
) -> Iterator[str]:
    for name in sorted(shown.keys() | expected.keys()):
        if shown.get(name) != expected.get(name) and (given or name in shown):
            yield f"{what} {name} is {shown.get(name)!r}, the ledger says {expected.get(name)!r}"
