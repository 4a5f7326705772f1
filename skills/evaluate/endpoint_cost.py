"""What an evaluation takes of endpoints: tokens of the model, of judges and paraphrasers, and their cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core.artifact_refs import ArtifactRef
from ...core.contract import Cost
from ...core.token_spending import most_tokens, usd_of
from ...core.workspace import Workspace
from .request import EvaluateRequest

if TYPE_CHECKING:
    from ...evals.suites import Suite

_DISK_BYTES = 4_000_000


def cost_of_endpoint(request: EvaluateRequest, suite: Suite, workspace: Workspace) -> Cost:
    """The tokens that every item takes at most, and their dollars where the price table has the endpoint."""
    from ...evals.runner import choose_items

    if suite.turns == "own" or suite.lm_eval is not None:
        return Cost(gpu_hours=0, disk_bytes=_DISK_BYTES, tokens=None)
    chats = [suite.prompt.chat(item) for item in choose_items(suite, request.limit)]
    rounds = 1 + len(request.robustness)
    read = rounds * most_tokens(chats)
    written = rounds * len(chats) * (request.max_new_tokens or suite.longest_answer)
    usd = usd_of(workspace.settings, str(request.model), request.endpoint_model, read, written)
    return Cost(gpu_hours=0, disk_bytes=_DISK_BYTES, tokens=read + written, usd=usd)


def cost_with_servers(request: EvaluateRequest, suite: Suite, workspace: Workspace) -> Cost:
    """What judge and paraphraser may take by their `budget_tokens`, each at its dearer price, and the model.

    Unknown where one of them has no such limit, and for an embedder.
    """
    judges = [suite.judge] if suite.asks_judge else []
    servers = [one for one in (*judges, request.paraphraser) if one is not None]
    limits = [one.budget_tokens for one in servers]
    unknown = Cost(gpu_hours=0, disk_bytes=_DISK_BYTES, tokens=None)
    if suite.embedder is not None or None in limits or len(judges) > len(servers):
        return unknown
    own = Cost(gpu_hours=0, usd=0, tokens=0)
    if not isinstance(request.model, ArtifactRef):
        own = cost_of_endpoint(request, suite, workspace)
    if own.tokens is None:
        return unknown
    usd = own.usd
    for one in servers:
        most, named = one.budget_tokens or 0, (workspace.settings, str(one.url), one.model)
        read, written = usd_of(*named, most, 0), usd_of(*named, 0, most)
        usd = None if usd is None or read is None or written is None else usd + max(read, written)
    tokens = own.tokens + sum(limit for limit in limits if limit is not None)
    return unknown.model_copy(update={"tokens": tokens, "usd": usd})
