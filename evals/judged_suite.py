"""The suite that a model was judged on, by the record: what a release that follows it is held against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.artifact_refs import ArtifactRef, EvalReportRef, parse_ref
from ..core.errors import AskError
from ..core.gate import Decision
from ..core.suite_source import is_suite_file
from ..core.workspace import Workspace
from ..record.index import LedgerIndex, Link
from .lineage import built_from, report_lineage
from .suites import Suite, load_suite, suite_names

_OF_THE_SUITE = ("trust", "judge", "max_new_tokens")


@dataclass(frozen=True)
class JudgedSuite:
    """A suite as the evaluation that was judged named it.

    source: its name, or the whole path of its file. digest: of the version that was asked. value: the mean
    score by its first scorer. arguments: what the evaluation was asked that belongs to the suite.
    """

    source: str
    digest: str
    report: EvalReportRef
    value: float | None
    arguments: Mapping[str, Any]

    @property
    def is_there(self) -> bool:
        """Whether the suite can still be read: by its name, or where its file lay."""
        return not is_suite_file(self.source) or Path(self.source).is_file()

    def load(self) -> Suite:
        """The suite as it is now; AskError, with where it was looked for, when it cannot be read."""
        try:
            return load_suite(self.source)
        except AskError as error:
            raise AskError(
                f"the suite of {self.report.short} cannot be read: {error} Name one as `suite`."
            ) from error


def judged_suite(workspace: Workspace, model: ArtifactRef) -> JudgedSuite | None:
    """The suite on which a gate said GO of a model last; without any, that of its newest report.

    A bundle stands for what it was built from too. None where no record names the suite.
    """
    store = workspace.artifacts
    models = {str(model), str(built_from(store, model))}
    reports = {
        str(ref): manifest["facts"]
        for ref, manifest in store.list("eval-report")  # newest first
        if manifest["facts"]["model"] in models
    }
    lineage = report_lineage(LedgerIndex.of(workspace), list(reports))
    by_verdict = sorted(reports, key=lambda ref: ref not in lineage or lineage[ref].verdict != Decision.GO)
    return next((found for ref in by_verdict if (found := _of_report(workspace, ref, reports[ref]))), None)


def _of_report(workspace: Workspace, ref: str, facts: Mapping[str, Any]) -> JudgedSuite | None:
    """The suite of a report: as the step that made it was asked, or by its name where that is known."""
    request, folder = _request(workspace, ref)
    source = str(request.get("suite") or facts["suite"])
    if is_suite_file(source):
        source = (folder / source).as_posix()
    elif source not in suite_names():
        return None
    report = parse_ref(ref)
    if not isinstance(report, EvalReportRef):
        return None
    arguments = {name: request[name] for name in _OF_THE_SUITE if request.get(name) is not None}
    return JudgedSuite(source, str(facts.get("suite_digest", "")), report, facts.get("value"), arguments)


def _request(workspace: Workspace, report: str) -> tuple[Mapping[str, Any], Path]:
    """What the step that made a report was asked, and the folder that its paths start from."""
    index = LedgerIndex.of(workspace)
    for record in index.linked([report], Link.MADE).get(report, ()):
        state = index.run_state(record.run) if record.run is not None else None
        if state is not None and state.proposed is not None and record.step in state.steps:
            return state.steps[record.step].request, Path(str(state.proposed.detail.get("folder", "")))
    return {}, Path()
