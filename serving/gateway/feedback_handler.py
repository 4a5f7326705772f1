"""Takes in what users say of answers, where the log has the request it is about."""

from __future__ import annotations

import asyncio

from ...core.errors import BackendError
from ..releases import now
from .chat_handler import UnknownModelError
from .controller import Controller
from .exchange import Caller
from .feedback import Feedback, FeedbackRequest, UnknownRequestError


async def keep_feedback(controller: Controller, said: FeedbackRequest, caller: Caller) -> bool:
    """Write feedback down; whether it is about an answer of this gateway.

    Where traffic is shipped, another gateway may have answered: it is kept, and joined when both are read.

    RefusedError where the key does not allow it; UnknownModelError or UnknownRequestError for an answer that
    this caller was not given, as far as the log goes back; BackendError when it could not be written.
    """
    name = caller.allowance.name
    await caller.allowance.admit(said.model, tokens=0)
    endpoint = controller.endpoints.get(said.model)
    if endpoint is None:
        raise UnknownModelError(f"endpoint '{said.model[:60]}' does not exist.")
    is_known = await asyncio.to_thread(endpoint.feedback.knows, said.request_id, name)
    if not is_known and controller.workspace.settings.serving.traffic.ship_to is None:
        raise UnknownRequestError(
            f"endpoint {endpoint.name} has answered no request '{said.id[:60]}' of yours that is still kept; "
            "send the `id` of its answer."
        )
    feedback = Feedback(now(), said.request_id, said.thumb, said.answer, said.comment, name)
    if not endpoint.feedback.append(feedback):
        raise BackendError("the feedback could not be written down; try again later.")
    return is_known
