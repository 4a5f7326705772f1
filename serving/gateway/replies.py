"""What the gateway answers: documents as JSON, and every error in OpenAI's shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ...core.errors import AskError, OpswrightError
from ...engines import PROMPT_REFUSED, PromptError
from ..keys.allowance import RefusedError
from . import openai_api as form
from .chat_handler import UnknownModelError, in_words
from .feedback import UnknownRequestError
from .openai_requests import MAX_BODY_BYTES, RequestError
from .request_queue import UnavailableError

if TYPE_CHECKING:
    from starlette.types import Receive

COMPLETIONS = ("/v1/chat/completions", "/v1/completions")
ROUTES = (*COMPLETIONS, "/v1/models", "/v1/feedback")


async def body_of(receive: Receive) -> bytes:
    """A request's body, never more of it than allowed; HTTPException 413."""
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MAX_BODY_BYTES:
            raise HTTPException(413, f"the request is larger than {MAX_BODY_BYTES} bytes")
        more = message.get("more_body", False)
    return b"".join(parts)


def error_document(error: OpswrightError) -> tuple[dict[str, Any], int]:
    """An error in OpenAI's form, and its status."""
    message = in_words(error)
    if isinstance(error, UnknownModelError):
        return form.error_body(message, "invalid_request_error", "model_not_found", "model"), 404
    if isinstance(error, UnknownRequestError):
        return form.error_body(message, "invalid_request_error", "request_not_found", "id"), 404
    if isinstance(error, PromptError):
        return form.error_body(message, "invalid_request_error", PROMPT_REFUSED), 400
    if isinstance(error, RequestError):
        return form.error_body(message, "invalid_request_error", "bad_request", error.param), 400
    if isinstance(error, AskError):
        return form.error_body(message, "invalid_request_error", "bad_request"), 400
    if isinstance(error, RefusedError):
        return form.error_body(message, "auth", error.code), error.status
    if isinstance(error, UnavailableError):
        return form.error_body(message, "server_error", error.code), 503
    return form.error_body(message, "server_error", "internal"), 500


def failure(error: OpswrightError, number: str) -> Response:
    """The reply to a request that failed."""
    document, status = error_document(error)
    headers = {"x-request-id": number}
    retry_s = error.retry_s if isinstance(error, RefusedError | UnavailableError) else None
    return json_reply(document, status, headers | ({} if retry_s is None else {"retry-after": str(retry_s)}))


_CODES = {404: "unknown_url", 405: "method_not_allowed", 413: "request_too_large", 500: "internal"}


def http_failure(error: HTTPException, number: str) -> Response:
    """The reply to a request that no route takes, or whose body is too large."""
    said = {
        404: f"unknown URL: this gateway has {', '.join(ROUTES)}",
        405: "this URL takes another method",
    }.get(error.status_code, str(error.detail))
    kind = "invalid_request_error" if error.status_code < 500 else "server_error"
    body = form.error_body(said, kind, _CODES.get(error.status_code, "bad_request"))
    return json_reply(body, error.status_code, {**(error.headers or {}), "x-request-id": number})


def json_reply(document: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A document as JSON."""
    return Response(to_json(document), status, headers, media_type="application/json")
