"""An OpenAI-compatible endpoint answers, over HTTP."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, Any

from ..core.errors import BackendError
from .base import MAX_NEW_TOKENS, Answer, Progress

if TYPE_CHECKING:
    import httpx

_RETRIED = {408, 409, 425, 429, 500, 502, 503, 504}


class EndpointTarget:
    """`POST <url>/chat/completions`, temperature 0, at most `concurrency` requests at a time.

    A request that fails is tried `tries` times in all, `pause_s` and its doubles apart; then its item counts
    as an error. Raises BackendError when the endpoint cannot be reached at all.
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
        max_new_tokens: int = MAX_NEW_TOKENS,
    ) -> None:
        import httpx

        base = url.rstrip("/").removesuffix("/chat/completions")
        self.url = base if base.endswith("/v1") else f"{base}/v1"
        self.concurrency, self.tries, self.pause_s = concurrency, tries, pause_s
        self.max_new_tokens = max_new_tokens
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

    def answer(self, prompts: Sequence[str], progress: Progress) -> list[Answer]:
        """One answer for each prompt, in their order."""
        answers: list[Answer] = [Answer(None, 0.0, "not asked")] * len(prompts)
        pool = ThreadPoolExecutor(self.concurrency, thread_name_prefix="evaluate")
        try:
            asked = {pool.submit(self._ask, prompt): i for i, prompt in enumerate(prompts)}
            for done, future in enumerate(as_completed(asked), 1):
                answers[asked[future]] = future.result()
                progress(done, len(prompts))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        return answers

    def close(self) -> None:
        """Close the connections that are kept open between requests."""
        self.client.close()

    def _ask(self, prompt: str) -> Answer:
        import httpx

        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": 0,
            "max_tokens": self.max_new_tokens,
        }
        started, problem = time.perf_counter(), ""
        for attempt in range(self.tries):
            if attempt:
                time.sleep(self.pause_s * 2 ** (attempt - 1))
            started = time.perf_counter()
            try:
                response = self.client.post(f"{self.url}/chat/completions", json=body)
            except httpx.HTTPError as error:
                problem = f"{type(error).__name__}: {error}"
                continue
            if response.status_code == 200:
                waited_ms = (time.perf_counter() - started) * 1000
                return _read_answer(response, waited_ms)
            problem = f"HTTP {response.status_code}: {response.text[:200]}"
            if response.status_code not in _RETRIED:
                break
        return Answer(None, (time.perf_counter() - started) * 1000, problem)

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


def _read_answer(response: httpx.Response, waited_ms: float) -> Answer:
    try:
        document: Any = response.json()
        text = document["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError):
        return Answer(None, waited_ms, f"no chat completion in the reply: {response.text[:200]}")
    return Answer(str(text).strip(), waited_ms) if text is not None else Answer(None, waited_ms)
