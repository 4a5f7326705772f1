"""Tracking: the few things the mirror asks of an MLflow server or database, each safe to ask twice."""

from __future__ import annotations

import logging
import os
import re
import shutil
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from ...core.errors import BackendError
from ...core.settings import NO_TELEMETRY
from ...core.workspace import Workspace
from .page import KEY, PASSING, WORKSPACE, Figure, Page
from .status import Status

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run, Span, TraceInfo

_ENVIRONMENT = {
    **NO_TELEMETRY,
    "MLFLOW_ENABLE_ASYNC_TRACE_LOGGING": "false",  # traces still queued are lost when the process dies
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
CURSOR = "opswright.cursor."  # and a workspace's id: the experiment's tag that says how far it was brought
NAME_TAG, NOTE_TAG, PARENT_TAG = "mlflow.runName", "mlflow.note.content", "mlflow.parentRunId"
_PARAMS_AT_ONCE = 100
_FIGURES_AT_ONCE = 1000
_TAG_CHARACTERS = 7900
_RUNS_AT_ONCE = 1000
_ABOUT = """Every run of Opswright in this workspace, written from its ledger.

A row is a **run**: one plan that was proposed, approved and carried out. Open it for what happened, who
approved it and what its gates decided; the rows nested below it are its **steps**, each with its request
(parameters), figures (metrics), reports (artifacts) and its records in the ledger (tags `ledger.seq` and
`ledger.hash`). **Traces** show the same run over time. What was made stands under **Models**: `stable` and
`canary` mark what an endpoint serves.

MLflow is the view; the ledger proves it: `opswright audit verify`."""


class Tracking:
    """One experiment on one tracking URI."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.uri = workspace.settings.tracking_uri()
        self.shown_uri = re.sub(r"//[^/@]*@", "//***@", self.uri)

    @property
    def is_remote(self) -> bool:
        """Whether it is a server; else a database this process opens itself."""
        return self.uri.startswith(("http://", "https://", "databricks"))

    @property
    def exists(self) -> bool:
        """Whether there may be something to read: a server always, SQLite when its file is there."""
        return self._file is None or self._file.is_file()

    @property
    def is_inside(self) -> bool:
        """Whether the view is a database in the workspace's own folder: no other one writes to it."""
        return self._file is not None and self._file.parent == self.workspace.root

    @property
    def _file(self) -> Path | None:
        """The SQLite file, if that is what holds the view."""
        scheme, _, path = self.uri.partition(":///")
        return Path(path) if scheme.startswith("sqlite") and path and "?" not in path else None

    @contextmanager
    def errors(self, doing: str) -> Iterator[None]:
        """Whatever MLflow raises becomes a BackendError that says what is and is not lost."""
        import_mlflow()
        import requests
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (MlflowException, requests.RequestException, SQLAlchemyError, OSError) as error:
            cause = str(error).replace(self.uri, self.shown_uri).splitlines()[0][:400]
            raise BackendError(
                f"MLflow at {self.shown_uri} failed while {doing}: {cause}. Nothing is lost: the ledger "
                "holds every record. `opswright audit sync` catches up when MLflow answers again."
            ) from error

    @cached_property
    def client(self) -> MlflowClient:
        """MLflow's own client, imported on first use (seconds); makes the database when there is none."""
        import_mlflow()
        from mlflow import MlflowClient

        if self._file is not None and not self._file.exists():
            _make_database(self._file)
        return MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    @cached_property
    def workspace_id(self) -> str:
        """What tells this workspace's runs from others' on the same server, kept in the workspace."""
        return workspace_id(self.workspace)

    def find_experiment(self) -> Experiment | None:
        """The experiment of the settings, if it is there."""
        return self.client.get_experiment_by_name(self.workspace.settings.mlflow.experiment)

    @cached_property
    def experiment(self) -> Experiment:
        """The experiment of the settings, made when it is not there."""
        name = self.workspace.settings.mlflow.experiment
        found = self.find_experiment()
        if found is None:
            beside = self.workspace.root / "mlflow-artifacts"
            self.client.create_experiment(
                name,
                artifact_location=None if self.is_remote else beside.as_uri(),
                tags={"mlflow.experimentKind": "custom_model_development", "mlflow.note.content": _ABOUT},
            )
            found = self.client.get_experiment_by_name(name)
        if found is None or found.lifecycle_stage != "active":
            raise BackendError(
                f"MLflow experiment '{name}' at {self.shown_uri} was deleted. Restore it, or name another "
                "one in the setting mlflow.experiment."
            )
        return found

    @property
    def experiment_id(self) -> str:
        """Its id."""
        return str(self.experiment.experiment_id)

    def runs(self, condition: str = "") -> Iterator[Run]:
        """This workspace's runs and steps in the experiment that meet an MLflow filter."""
        own = f"tags.`{WORKSPACE}` = '{self.workspace_id}'"
        yield from self._search(f"{own} and {condition}" if condition else own)

    def all_runs(self) -> Iterator[Run]:
        """Every run of the experiment, of any workspace, those in MLflow's bin too."""
        from mlflow.entities import ViewType

        yield from self._search("", ViewType.ALL)

    def _search(self, condition: str, which: int | None = None) -> Iterator[Run]:
        more: dict[str, Any] = {} if which is None else {"run_view_type": which}
        token = None
        while True:
            page = self.client.search_runs(
                [self.experiment_id], condition, max_results=_RUNS_AT_ONCE, page_token=token, **more
            )
            yield from page
            token = page.token
            if not token:
                return

    def pages_of_run(self, run: str) -> dict[str, Run]:
        """What MLflow has of a run and its steps, by key."""
        return {found.data.tags[KEY]: found for found in self.runs(f"tags.run = '{run}'")}

    def put(self, page: Page, known: Mapping[str, Run], parent: str | None = None) -> str:
        """Make or update the MLflow run of a page, and give its id."""
        from mlflow.entities import Param, RunTag

        tags = {**page.tags, NAME_TAG: page.name, NOTE_TAG: page.note}
        if parent is not None:
            tags[PARENT_TAG] = parent
        tags = {name: cut_tag(value) for name, value in tags.items()}
        run = known.get(page.key) or self.client.create_run(
            self.experiment_id, start_time=page.start_ms, tags=tags, run_name=page.name
        )
        run_id = str(run.info.run_id)
        # tags first: a page that is cut short by a kill says which record it was going to show
        self.client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])
        for name in PASSING.intersection(run.data.tags) - tags.keys():
            self.client.delete_tag(run_id, name)
        params = [Param(name, value) for name, value in page.params.items()]
        for part in _parts(params, _PARAMS_AT_ONCE):
            self.client.log_batch(run_id, params=part)
        self.put_figures(run_id, page.figures)
        if page.status in (Status.RUNNING, Status.SCHEDULED):
            self.client.update_run(run_id, status=str(page.status))
        else:
            self.client.set_terminated(run_id, status=str(page.status), end_time=page.end_ms)
        return run_id

    def put_figures(self, run_id: str, figures: Iterable[Figure]) -> None:
        """Log figures; one that is there already, with the same time, stays single (MLflow's primary key)."""
        from mlflow.entities import Metric

        metrics = [Metric(f.name, f.value, f.at_ms, f.step) for f in figures]
        for part in _parts(metrics, _FIGURES_AT_ONCE):
            self.client.log_batch(run_id, metrics=part)

    def put_files(self, run_id: str, folder: Path) -> None:
        """Log every file below a folder."""
        self.client.log_artifacts(run_id, str(folder))

    def put_dataset(self, run_id: str, name: str, digest: str, source: str) -> None:
        """Name a dataset that a step read."""
        from mlflow.entities import Dataset, DatasetInput

        dataset = Dataset(name=name, digest=digest[:36], source_type="opswright", source=source)
        self.client.log_inputs(run_id, datasets=[DatasetInput(dataset=dataset, tags=[])])

    def put_trace(self, info: TraceInfo, spans: list[Span]) -> None:
        """Write a trace, over the one with its id if there is one."""
        from mlflow.tracing.client import TracingClient

        client = TracingClient(self.uri)
        client.start_trace(info)
        client.log_spans(self.experiment_id, spans)

    def cursor(self) -> tuple[int, str]:
        """Number and hash of the last record that is mirrored; (0, "") before the first."""
        return self.cursor_of(self.workspace_id)

    def cursor_of(self, workspace: str) -> tuple[int, str]:
        """The same for the workspace of that id."""
        seq, _, digest = self.experiment.tags.get(f"{CURSOR}{workspace}", "0:").partition(":")
        return (int(seq), digest) if seq.isdecimal() else (0, "")

    def set_cursor(self, seq: int, digest: str) -> None:
        """Note how far the mirror came: the head's anchor outside the ledger."""
        tag = f"{CURSOR}{self.workspace_id}"
        self.client.set_experiment_tag(self.experiment_id, tag, f"{seq}:{digest}")

    def refresh(self) -> None:
        """Forget what was read of the experiment: another process may have written since."""
        self.__dict__.pop("experiment", None)


def import_mlflow() -> None:
    """Import MLflow with telemetry off, nothing written behind our back, and no chatter on the terminal."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow  # noqa: F401
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _make_database(path: Path) -> None:
    """Make an empty MLflow database beside its place and move it there: killed half-way, none is left."""
    from mlflow.store.db.utils import _initialize_tables
    from sqlalchemy import create_engine

    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(".mlflow-*"):
        shutil.rmtree(left, ignore_errors=True)
    with TemporaryDirectory(dir=path.parent, prefix=".mlflow-") as folder:
        engine = create_engine(f"sqlite:///{folder}/new.db")
        _initialize_tables(engine)  # type: ignore[no-untyped-call]
        engine.dispose()
        Path(folder, "new.db").replace(path)


def workspace_id(workspace: Workspace) -> str:
    """The workspace's own id, made once; call it under the mirror's lock."""
    from uuid import uuid4

    from ...core.files import write_atomically

    path = workspace.root / "workspace-id"
    if not path.is_file():
        write_atomically(path, uuid4().hex.encode())
    return path.read_text().strip()


def _parts(items: Sequence[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])


def cut_tag(text: str) -> str:
    """A tag's text as MLflow holds it."""
    return text if len(text) <= _TAG_CHARACTERS else text[:_TAG_CHARACTERS] + "\n… (cut)"


def tags_of(run: Run) -> Mapping[str, str]:
    """An MLflow run's tags."""
    tags: Mapping[str, str] = run.data.tags
    return tags
