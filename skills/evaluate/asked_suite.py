"""The suite that a model is asked, and whether it is one that this model can be asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core.artifact_refs import AdapterRef, CheckpointRef, ClassifierRef, GuardrailRef
from ...core.errors import AskError
from .labels import check_task
from .request import EvaluateRequest

if TYPE_CHECKING:
    from ...evals.suites import Suite


def asked_suite(request: EvaluateRequest) -> Suite:
    """The suite that is asked, judged by whom the request names."""
    from dataclasses import replace

    from ...evals.suites import load_suite

    suite = load_suite(request.suite)
    if isinstance(request.model, GuardrailRef):
        from .guard_engine import check_decides

        check_decides(suite.name, [spec.name for spec in suite.specs])
    if isinstance(request.model, ClassifierRef):
        check_task(suite)
    if suite.lm_eval is not None:
        _check_fits(request, suite)
    if request.judge is None:
        return suite
    if not suite.asks_judge:
        raise AskError(f"suite {suite.name} has no scorer that asks a judge. Leave `judge` out.")
    return replace(suite, judge=request.judge)


def _check_fits(request: EvaluateRequest, suite: Suite) -> None:
    """AskError for what a task of lm-evaluation-harness cannot be asked."""
    if suite.is_plain and not isinstance(request.model, CheckpointRef | AdapterRef):
        raise AskError(
            f"suite {suite.name} puts plain text to a model, which only a checkpoint or adapters take. Build "
            f"it with chats: `opswright suites lm-eval {suite.name} --chat`."
        )
    if request.robustness:
        raise AskError(
            f"the prompts of suite {suite.name} are built, so none can be altered: leave `robustness` out."
        )
