"""Any OpenAI-compatible endpoint, over HTTP."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, Any

from ..core.errors import BackendError
from .base import PROMPT_REFUSED, Chat, GenerationOptions, GenerationResult, Progress
from .ort_llm.batcher import chat_fault

if TYPE_CHECKING:
    import httpx

_REFUSALS = {PROMPT_REFUSED, "context_length_exceeded"}
_MOST_BYTES = 32 << 20  # of one reply
_RETRIED = {408, 409, 425, 429, 500, 502, 503, 504}


class EndpointEngine:
    """`POST <url>/chat/completions`, at most `concurrency` requests at a time.

    A request that fails is tried `tries` times in all, `pause_s` and its doubles apart, or as long as the
    endpoint's Retry-After says, a minute at most; then it is that chat's error. timeout_s: of a whole reply.
    requests_per_minute: None is no limit of ours. extra: what else each request says. Raises BackendError
    when the endpoint cannot be reached at all.
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
    ) -> None:
        import httpx

        base = url.rstrip("/").removesuffix("/chat/completions")
        self.url = base if base.endswith("/v1") else f"{base}/v1"
        self.concurrency, self.tries, self.pause_s = concurrency, tries, pause_s
        self._pace, self._timeout_s, self._extra = _Pace(requests_per_minute), timeout_s, dict(extra or {})
        self._key = api_key
        self.client = httpx.Client(
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=timeout_s,
            limits=httpx.Limits(max_connections=concurrency),
            trust_env=False,
        )
        try:
            self.model = model or self._first_model()
        except BackendError:
            self.close()
            raise

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
        import httpx

        if (fault := chat_fault(chat)) is not None:
            return GenerationResult.refused(fault)
        started, problem, wait_s = time.perf_counter(), "", 0.0
        for attempt in range(self.tries):
            if attempt:
                time.sleep(max(wait_s, self.pause_s * 2 ** (attempt - 1)))
            self._pace.wait()
            started, wait_s = time.perf_counter(), 0.0
            try:
                response = self._post(self._body(chat, options))
            except httpx.HTTPError as error:
                problem = f"{type(error).__name__}: {error}"
                continue
            waited_ms = (time.perf_counter() - started) * 1000
            if response.status_code == 200:
                result = _read_completion(response, waited_ms)
                if result.error is None:
                    return result
                problem = result.error
                continue
            if (refusal := _refusal(response)) is not None:
                return GenerationResult.refused(self._told(refusal))._replace(latency_ms=waited_ms)
            problem = f"HTTP {response.status_code}: {self._told(response.text)[:200]}"
            wait_s = _retry_after_s(response)
            if response.status_code not in _RETRIED:
                break
        return GenerationResult(
            None, "error", latency_ms=(time.perf_counter() - started) * 1000, error=self._told(problem)
        )

    def _told(self, text: str) -> str:
        """A server's words as they may be recorded: some repeat the key they were sent."""
        return _whole(text.replace(self._key, "***") if self._key else text)

    def _post(self, body: Mapping[str, Any]) -> httpx.Response:
        """The whole reply; httpx' own timeout is of each piece, so that drops could fall for ever."""
        import httpx

        deadline, data = time.monotonic() + self._timeout_s, bytearray()
        with self.client.stream("POST", f"{self.url}/chat/completions", json=body) as response:
            for piece in response.iter_bytes():
                data += piece
                if time.monotonic() > deadline:
                    raise httpx.ReadTimeout(f"the reply was not whole after {self._timeout_s:g} s")
                if len(data) > _MOST_BYTES:
                    raise httpx.DecodingError(f"the reply has more than {_MOST_BYTES:,} bytes")
        headers = {"retry-after": response.headers.get("retry-after", "0")}
        return httpx.Response(response.status_code, headers=headers, content=bytes(data))

    def _first_model(self) -> str:
        import httpx

        try:
            response = self.client.get(f"{self.url}/models")
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


class _Pace:
    """Lets threads through no faster than so many a minute, one after another."""

    def __init__(self, per_minute: float | None) -> None:
        self._every_s = 60 / per_minute if per_minute else 0.0
        self._next = 0.0
        self._guard = threading.Lock()

    def wait(self) -> None:
        """Return when it is this thread's turn."""
        if not self._every_s:
            return
        with self._guard:
            turn = max(self._next, time.monotonic())
            self._next = turn + self._every_s
        time.sleep(max(0.0, turn - time.monotonic()))


def _retry_after_s(response: httpx.Response) -> float:
    """The seconds that a reply asks to wait, at most a minute; 0 when it asks none, or names a date."""
    try:
        asked = float(response.headers.get("retry-after", "0"))
    except ValueError:
        return 0.0
    return min(asked, 60.0) if asked > 0 else 0.0


def _read_completion(response: httpx.Response, waited_ms: float) -> GenerationResult:
    """The result in a reply; usage and finish reason where it has them."""
    try:
        document: Any = response.json()
        choice = document["choices"][0]
        text = _text_of(choice["message"])
        usage = document.get("usage") or {}
        read, made = (int(usage.get(name) or 0) for name in ("prompt_tokens", "completion_tokens"))
    except (ValueError, LookupError, TypeError, AttributeError):
        problem = f"no chat completion in the reply: {response.text[:200]}"
        return GenerationResult(None, "error", latency_ms=waited_ms, error=problem)
    reason = str(choice.get("finish_reason") or "stop")
    return GenerationResult(None if text is None else _whole(str(text)), reason, read, made, waited_ms)


def _whole(text: str) -> str:
    """A text that can be written: JSON may hold half of a surrogate pair."""
    return text.encode("utf-8", "replace").decode()


def _text_of(message: Mapping[str, Any]) -> object:
    """What a message says: its text, or its tool calls as JSON where it makes some and says nothing."""
    if not message["content"] and (calls := message.get("tool_calls")):
        return json.dumps([call["function"] for call in calls], ensure_ascii=False)
    return message["content"]


def _refusal(response: httpx.Response) -> str | None:
    """What a reply says that refuses the prompt itself; None for any other reply."""
    if response.status_code not in (400, 413, 422):
        return None
    try:
        error = response.json()["error"]
        return str(error["message"]) if error["code"] in _REFUSALS else None
    except (ValueError, LookupError, TypeError):
        return None
