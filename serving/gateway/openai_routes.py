"""OpenAI's routes beside completions: models, and what no route takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException

from .replies import failure, http_failure, json_reply

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

    from .chat_handler import ChatHandler
    from .controller import Controller
    from .exchange import Caller


def add_openai(app: Starlette, handler: ChatHandler, caller_of: Callable[[Request], Caller]) -> None:
    """Put the routes into an application; `caller_of` says who asks."""
    controller = handler.controller

    async def models(request: Request) -> Response:
        allowance = caller_of(request).allowance
        names = [name for name in sorted(controller.endpoints) if allowance.may_ask(name)]
        return json_reply({"object": "list", "data": [_model(controller, name) for name in names]})

    async def model(request: Request) -> Response:
        name = request.path_params["name"]
        caller = caller_of(request)
        if name not in controller.endpoints or not caller.allowance.may_ask(name):
            return failure(handler.unknown(name, caller), caller.id)
        return json_reply(_model(controller, name))

    app.add_route("/v1/models", models, methods=["GET"])
    app.add_route("/v1/models/{name:path}", model, methods=["GET"])

    def refused(request: Request, error: Exception) -> Response:
        found = error if isinstance(error, HTTPException) else HTTPException(500)
        return http_failure(found, caller_of(request).id)

    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(Exception, refused)  # said in OpenAI's form; the server logs it


def _model(controller: Controller, name: str) -> dict[str, Any]:
    """An endpoint as a model."""
    stable, canary, percent = controller.endpoints[name].applied.routes()
    row = {"id": name, "object": "model", "created": 0, "owned_by": "opswright", "release": stable}
    return row | ({"canary": canary, "canary_percent": percent} if canary else {})
