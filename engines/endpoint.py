"""Any OpenAI-compatible endpoint, over HTTP."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, Any

from ..core.errors import BackendError
from ..core.token_spending import CountTokens, most_tokens
from .base import Chat, GenerationOptions, GenerationResult, Progress
from .endpoint_client import BadReply, EndpointClient, whole_text
from .ort_llm.prompts import chat_fault

if TYPE_CHECKING:
    import httpx


class EndpointEngine:
    """Asks `<url>/chat/completions` as EndpointClient does; what then fails is that chat's error.

    extra: what else each request says. count: told the tokens of each reply, from many threads. Raises
    BackendError when the endpoint cannot be reached at all.
    """

    def __init__(
        self,
        url: str,
        model: str | None = None,
        api_key: str | None = None,
        concurrency: int = 8,
        tries: int = 3,
        timeout_s: float = 30.0,
        pause_s: float = 0.5,
        requests_per_minute: float | None = None,
        extra: Mapping[str, Any] | None = None,
        count: CountTokens | None = None,
    ) -> None:
        self.client = EndpointClient(
            url, "/chat/completions", api_key, concurrency, tries, timeout_s, pause_s, requests_per_minute
        )
        self.concurrency, self._extra, self._count = concurrency, dict(extra or {}), count
        try:
            self.model = model or self._first_model()
        except BackendError:
            self.close()
            raise

    @property
    def url(self) -> str:
        """The address, up to its version."""
        return self.client.url

    @property
    def version(self) -> str:
        """The address and the model's name there; what runs behind it is not known."""
        return f"{self.url} {self.model}"

    def generate(
        self, chats: Sequence[Chat], options: GenerationOptions, progress: Progress | None = None
    ) -> list[GenerationResult]:
        """One result for each chat, in their order; see Engine."""
        results = [GenerationResult(None, "error", error="not asked")] * len(chats)
        pool = ThreadPoolExecutor(self.concurrency, thread_name_prefix="endpoint")
        try:
            asked = {pool.submit(self._ask, chat, options): i for i, chat in enumerate(chats)}
            for done, future in enumerate(as_completed(asked), 1):
                results[asked[future]] = future.result()
                if progress is not None:
                    progress(done, len(chats))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        return results

    def close(self) -> None:
        """Close the connections that are kept open between requests."""
        self.client.close()

    def _body(self, chat: Chat, options: GenerationOptions) -> dict[str, Any]:
        """The request; what has no meaning for greedy text, or is not asked for, is left out."""
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [dict(message) for message in chat],
            "temperature": options.temperature,
            "max_tokens": options.max_tokens,
            **self._extra,
        }
        if options.stop:
            body["stop"] = list(options.stop)
        if not options.is_greedy:
            body |= {"top_p": options.top_p, "seed": options.seed}
            if options.top_k:  # not OpenAI's own, but most servers take it
                body["top_k"] = options.top_k
        return body

    def _ask(self, chat: Chat, options: GenerationOptions) -> GenerationResult:
        if (fault := chat_fault(chat)) is not None:
            return GenerationResult.refused(fault)
        reply = self.client.ask(self._body(chat, options), _read_completion)
        if reply.value is not None:
            if self._count is not None:
                self._count(*_tokens_of(chat, reply.value))
            return reply.value._replace(latency_ms=reply.waited_ms)
        reason = "refused" if reply.is_refused else "error"
        return GenerationResult(None, reason, latency_ms=reply.waited_ms, error=reply.error)

    def _first_model(self) -> str:
        import httpx

        try:
            response = self.client.get("/models")
            response.raise_for_status()
            return str(response.json()["data"][0]["id"])
        except httpx.HTTPError as error:
            raise BackendError(
                f"cannot reach the endpoint at {self.url}: {type(error).__name__}: {error}. "
                "Start it, or check the address."
            ) from error
        except (ValueError, LookupError, TypeError) as error:
            raise BackendError(
                f"{self.url}/models lists no model ({type(error).__name__}: {error}). Give endpoint_model."
            ) from error


def _tokens_of(chat: Chat, result: GenerationResult) -> tuple[int, int]:
    """Tokens read and written, as the endpoint says; where it says nothing, as many as there can be."""
    read = result.tokens_in if result.tokens_in > 0 else most_tokens([chat])
    return read, result.tokens_out if result.tokens_out > 0 else len((result.text or "").encode())


def _read_completion(response: httpx.Response) -> GenerationResult:
    """The result in a reply; usage and finish reason where it has them."""
    try:
        document: Any = response.json()
        choice = document["choices"][0]
        text = _text_of(choice["message"])
        usage = document.get("usage") or {}
        read, made = (int(usage.get(name) or 0) for name in ("prompt_tokens", "completion_tokens"))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise BadReply(f"no chat completion in the reply: {response.text[:200]}") from None
    reason = str(choice.get("finish_reason") or "stop")
    return GenerationResult(None if text is None else whole_text(str(text)), reason, read, made)


def _text_of(message: Mapping[str, Any]) -> object:
    """What a message says: its text, or its tool calls as JSON where it makes some and says nothing."""
    if not message["content"] and (calls := message.get("tool_calls")):
        return json.dumps([call["function"] for call in calls], ensure_ascii=False)
    return message["content"]
