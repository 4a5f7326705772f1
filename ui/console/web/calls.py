"""What a page's script asks of the server: a function by name, one JSON object in, one out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..replies import Answer

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

ServerFunction = Callable[[Answer, Any], Answer]
"""Given what a page asks, and the request that says who asks."""


def call_route(pages: Mapping[str, Sequence[ServerFunction]]) -> Route:
    """The route of every page's functions, by the page's name in small letters and the function's own."""
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    known = {(page, one.__name__): one for page, functions in pages.items() for one in functions}

    async def call(request: Request) -> Response:
        function = known.get((request.path_params["page"], request.path_params["name"]))
        if function is None:
            return JSONResponse({"fault": "this page is of another version. Reload it.", "family": ""}, 404)
        try:
            asked = await request.json()
        except ValueError:  # nothing at all: the guard refuses what is no JSON
            asked = None
        if not isinstance(asked, dict):
            return JSONResponse({"fault": "the page sent an invalid request. Reload it.", "family": ""}, 422)
        try:
            return JSONResponse(await run_in_threadpool(function, asked, request))
        except (KeyError, TypeError, ValueError):  # read before anything is done
            return JSONResponse({"fault": "the page sent an invalid request. Reload it.", "family": ""})

    return Route("/call/{page}/{name}", call, methods=["POST"])
