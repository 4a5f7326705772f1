"""Asks the Triton of its own pod: `answers` (an inference comes back, from the right release) or `lives`.

It runs in Triton's container, where nothing of Opswright is installed: the standard library alone. A server
that is only slow lives: it is not ended because it is busy.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request

_ASK_S = 15
_LOOK_S = 3
_HEADER = "opswright-secret"
_PROMPT = json.dumps([{"role": "user", "content": "ready?"}])


def main(question: str) -> int:
    """The exit code: 0 when the server answers the question well."""
    try:
        answer = _answer()
    except TimeoutError:
        return 0 if question == "lives" and _is_live() else _failed("no answer in time")
    except urllib.error.HTTPError as error:
        return _failed(f"status {error.code}")
    except (OSError, ValueError) as error:
        if question == "lives" and isinstance(getattr(error, "reason", error), TimeoutError) and _is_live():
            return 0
        return _failed(f"{type(error).__name__}: {error}")
    if "error" in answer:
        return _failed(str(answer["error"]))
    wanted = os.environ["OPSWRIGHT_RELEASE"]
    if wanted and answer.get("release") != wanted:
        return _failed(f"release {answer.get('release')} answers, not {wanted}")
    return 0


def _answer() -> dict[str, object]:
    """What the model answers to a question of one token."""
    given = {"messages": _PROMPT} if os.environ["OPSWRIGHT_RELEASE"] else {"text_input": "ready?"}
    body = json.dumps({**given, "sampling_param_max_tokens": 1}).encode()
    found = _open(f"/v2/models/{os.environ['OPSWRIGHT_MODEL']}/generate", _ASK_S, body)
    return dict(json.loads(found))


def _is_live() -> bool:
    try:
        _open("/v2/health/live", _LOOK_S)
    except (OSError, ValueError):
        return False
    return True


def _open(path: str, timeout_s: float, body: bytes | None = None) -> bytes:
    port = os.environ.get("OPSWRIGHT_TRITON_PORT", "8000")
    asked = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body)
    asked.add_header(_HEADER, os.environ["TRITON_SECRET"])
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(asked, timeout=timeout_s) as reply:
        return bytes(reply.read())


def _failed(why: str) -> int:
    print(why[:500], file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
