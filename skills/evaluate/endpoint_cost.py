"""What an evaluation of an endpoint takes: its tokens, and what they cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
