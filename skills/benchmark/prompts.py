"""What an endpoint is sent: prompts of a suite, of a dataset, or of what a bundle's model was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...core.artifact_refs import BundleRef, DatasetRef
from ...core.errors import AskError
from ...core.workspace import Workspace
from .request import BenchmarkRequest

if TYPE_CHECKING:
    from ...engines.base import Chat

_MOST_PROMPTS = 1000


@dataclass(frozen=True)
class LoadPrompts:
    """The chats that are sent in turn, at least one, and where they come from, in words."""

    chats: Sequence[Chat]
    source: str


def prompts_of(request: BenchmarkRequest, workspace: Workspace) -> LoadPrompts:
    """What a request sends; AskError where that holds no prompt, or where nothing says what it is."""
    if request.suite is not None:
        found = _of_suite(str(request.suite))
    elif request.data is not None:
        found = _of_dataset(request.data, workspace, request.data.short)
    else:
        learned = _trained_on(request, workspace)
        found = _of_dataset(learned, workspace, f"{learned.short}, which the model was trained on")
    if not found.chats:
        raise AskError(f"{found.source} holds no prompt to send.")
    return found


def _of_suite(source: str) -> LoadPrompts:
    from ...core.suite_source import suite_name
    from ...evals.parity import spread
    from ...evals.suites import load_suite

    suite = load_suite(source)
    chats = [suite.prompt.chat(item) for item in spread(suite.items, _MOST_PROMPTS)]
    return LoadPrompts(chats, f"suite {suite_name(source)}")


def _of_dataset(ref: DatasetRef, workspace: Workspace, source: str) -> LoadPrompts:
    from ...evals.parity import dataset_prompts

    return LoadPrompts(dataset_prompts(workspace.artifacts.open(ref), source, _MOST_PROMPTS).chats, source)


def _trained_on(request: BenchmarkRequest, workspace: Workspace) -> DatasetRef:
    """The dataset behind the first bundle of a request; PendingArtifact for one that is not made yet."""
    from ...evals.lineage import training_dataset

    bundles = [one for one in (request.model, request.against) if isinstance(one, BundleRef)]
    for bundle in bundles:
        workspace.artifacts.open(bundle)
        if learned := training_dataset(workspace.artifacts, bundle):
            return learned
    named = " or ".join(bundle.short for bundle in bundles)
    raise AskError(
        f"no dataset is known that {named} learned from: give `suite` or `data`, whose prompts are sent."
    )
