"""The judges of an evaluation: what they are given, who is told of them, and how they did."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from ...core.contract import Finding, StepContext
from ...core.token_spending import token_counter
from ...evals.server_settings import sent_to
from .request import EvaluateRequest, JudgeFigures

if TYPE_CHECKING:
    from ...evals.embedder_settings import EmbedderSettings
    from ...evals.judges.settings import JudgeSettings
    from ...evals.runner import EvalResult
    from ...evals.scorers import ServerAccess
    from ...evals.suites import Suite


def server_access(request: EvaluateRequest, ctx: StepContext) -> ServerAccess:
    """What scorers that ask a server are given."""
    from ...evals.scorers import ServerAccess

    cache = ctx.workspace.root / "cache" / "judgements.sqlite" if request.cache else None
    counter = partial(token_counter, ctx)
    return ServerAccess(cache, ctx.secret, lambda done, of: ctx.progress(done, of, "judgements"), counter)


def judge_findings(suite: Suite) -> list[Finding]:
    """Who is sent what, before anybody agrees to it; a stop when a server's key is not there."""
    asked: list[tuple[str, JudgeSettings | EmbedderSettings]] = []
    if suite.judge is not None and suite.asks_judge:
        asked.append(("judge", suite.judge))
    if suite.embedder is not None:
        asked.append(("embedder", suite.embedder))
    return [sent_to(kind, server) for kind, server in asked]


def judge_figures(judge: Mapping[str, Any]) -> JudgeFigures:
    """What a result says of a judge that a report says more of."""
    named = {name: value for name, value in judge.items() if name in JudgeFigures.model_fields}
    return JudgeFigures(**named, disagreed=judge.get("swaps", {}).get("share"))


def changes_of_mind(measured: EvalResult) -> list[str]:
    """In words, the judges that preferred another answer when a pair was swapped."""
    return [
        f"{judge['model']} changed its mind on {judge['swaps']['share']:.0%} of pairs when they were swapped "
        "(position bias); those count as ties"
        for judge in measured.judges.values()
        if judge.get("swaps", {}).get("disagreed")
    ]
