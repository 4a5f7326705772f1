"""One contract for all that generates: the same model through every engine gives the same texts and refusals.

A checkpoint, the engine made from it asked in batches, one by one and in pieces, the file that Triton's own
Python runs, and an endpoint with that engine behind it.
"""

from __future__ import annotations

import importlib.util
import json
import queue
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import opswright
from opswright.engines import (
    PROMPT_REFUSED,
    Chat,
    Engine,
    GenerationListener,
    GenerationOptions,
    GenerationResult,
    Progress,
    user_chat,
)

pytestmark = pytest.mark.e2e

KINDS = ("checkpoint", "onnx", "one by one", "in pieces", "triton's file", "endpoint")
ODD = (
    "",
    " ",
    "\n\n",
    "  two  spaces \t",
    "re\u0301sume\u0301 \u65e5\u672c_\u8a9e don't",
    "\U0001f642\U0001f642",
    "</s>",
    "<|user|> x",
    '{"name": "search_docs", "arguments": {"max_new_tokens": 64}}',
    "\u202ertl",
    "x" * 100,
)
PLAIN = (
    "what is the weather today",
    "transfer money",
    "my card",
    "lost pin",
    "account " * 9,
    "to my savings",
)


class OneByOne:
    """An OnnxEngine that is handed chat after chat while others are answered."""

    def __init__(self, folder: Path, in_pieces: bool) -> None:
        from opswright.engines.onnx import OnnxEngine

        self.engine, self.in_pieces = OnnxEngine(folder), in_pieces
        self.version = self.engine.version

    def generate(
        self, chats: Sequence[Chat], options: GenerationOptions, progress: Progress | None = None
    ) -> list[GenerationResult]:
        inbox: queue.SimpleQueue[tuple[int, GenerationResult]] = queue.SimpleQueue()
        pieces: list[list[str]] = [[] for _ in chats]
        for number, chat in enumerate(chats):
            self.engine.submit(chat, options, self.listener(number, inbox, pieces[number]))
        found = dict(inbox.get(timeout=60) for _ in chats)
        return [found[number] for number in range(len(chats))]

    def listener(self, number: int, inbox: Any, pieces: list[str]) -> GenerationListener:
        def done(result: GenerationResult) -> None:
            assert not self.in_pieces or result.text == ""
            text = "".join(pieces) if self.in_pieces else result.text
            inbox.put((number, result._replace(text=text)))

        def failed(error: Exception) -> None:
            inbox.put((number, GenerationResult.refused(error)))

        return GenerationListener(done, failed, pieces.append if self.in_pieces else None)

    def close(self) -> None:
        self.engine.close()


class TritonsFiles:
    """`ort_llm` as Triton's stub finds it: copied out of the package, each file imported by itself."""

    version = "copied"

    def __init__(self, files: Mapping[str, ModuleType], folder: Path) -> None:
        self.module = files["generation"]
        model = self.module.OrtModel(folder)
        encoder = files["prompts"].PromptEncoder(folder, model.tokenizer, model.context)
        self.batcher = files["batcher"].Batcher(model, encoder.encode)

    def generate(
        self, chats: Sequence[Chat], options: GenerationOptions, progress: Progress | None = None
    ) -> list[GenerationResult]:
        inbox: queue.SimpleQueue[tuple[int, GenerationResult]] = queue.SimpleQueue()
        for number, chat in enumerate(chats):
            job = self.module.GenerationJob(
                messages=json.dumps(list(chat)),
                max_tokens=options.max_tokens,
                sampling=self.module.Sampling(
                    options.temperature, options.top_k, options.top_p, options.seed
                ),
                stop=options.stop,
                on_done=lambda *done, number=number: inbox.put((number, GenerationResult(*done))),
                on_error=lambda error, number=number: inbox.put((number, GenerationResult.refused(error))),
            )
            self.batcher.submit(job)
        found = dict(inbox.get(timeout=60) for _ in chats)
        return [found[number] for number in range(len(chats))]

    def close(self) -> None:
        self.batcher.close()


class Completions(BaseHTTPRequestHandler):
    """OpenAI's chat completions of the server's engine."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        names = ("max_tokens", "temperature", "top_k", "top_p", "seed")
        given = {name: body[name] for name in names if name in body}
        options = GenerationOptions(**given, stop=tuple(body.get("stop", ())))
        (result,) = self.server.engine.generate([body["messages"]], options)  # type: ignore[attr-defined]
        if result.text is None:
            return self.say(400, {"error": {"message": result.error, "code": PROMPT_REFUSED}})
        message = {"role": "assistant", "content": result.text}
        usage = {"prompt_tokens": result.tokens_in, "completion_tokens": result.tokens_out}
        return self.say(
            200,
            {"choices": [{"message": message, "finish_reason": result.finish_reason}], "usage": usage},
        )

    def say(self, status: int, document: Any) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the tests' output clean."""


@pytest.fixture(scope="module")
def endpoint(exact_engine: Path) -> Iterator[str]:
    from opswright.engines.onnx import OnnxEngine

    server = ThreadingHTTPServer(("127.0.0.1", 0), Completions)
    server.daemon_threads = True
    server.engine = OnnxEngine(exact_engine / "engine")  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def tritons_files(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, ModuleType]:
    source, folder = (
        Path(opswright.__file__).parent / "engines" / "ort_llm",
        tmp_path_factory.mktemp("triton"),
    )
    found = {}
    for name in ("batcher", "generation", "prompts"):
        copy = folder / f"copied_{name}.py"
        copy.write_bytes((source / f"{name}.py").read_bytes())
        spec = importlib.util.spec_from_file_location(copy.stem, copy)
        assert spec is not None and spec.loader is not None
        found[name] = sys.modules[copy.stem] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found[name])
    return found


@pytest.fixture(scope="module", params=KINDS)
def engine(request: pytest.FixtureRequest, exact_engine: Path) -> Iterator[Engine]:
    opened = open_engine(request.param, exact_engine, request)
    yield opened
    opened.close()


def open_engine(kind: str, folder: Path, request: pytest.FixtureRequest) -> Engine:
    from opswright.engines.checkpoint import CheckpointEngine
    from opswright.engines.endpoint import EndpointEngine
    from opswright.engines.onnx import OnnxEngine

    if kind == "checkpoint":
        return CheckpointEngine(folder / "model", "cpu", 1)
    if kind == "onnx":
        return OnnxEngine(folder / "engine")
    if kind == "triton's file":
        return TritonsFiles(request.getfixturevalue("tritons_files"), folder / "engine")
    if kind == "endpoint":
        return EndpointEngine(request.getfixturevalue("endpoint"), model="tiny")
    return OneByOne(folder / "engine", in_pieces=kind == "in pieces")


@pytest.fixture(scope="module")
def checkpoint(exact_engine: Path) -> Engine:
    """What all are compared with."""
    from opswright.engines.checkpoint import CheckpointEngine

    return CheckpointEngine(exact_engine / "model", "cpu", 1)


def told(results: Sequence[GenerationResult]) -> list[GenerationResult]:
    """The results without the time they took."""
    return [result._replace(latency_ms=0.0) for result in results]


def test_the_same_prompts_get_the_same_texts_reasons_and_counts(engine: Engine, checkpoint: Engine) -> None:
    chats = [user_chat(text) for text in (*PLAIN, *ODD)]
    chats.append([{"role": "system", "content": "short"}, *user_chat("my card")])
    chats.append([*user_chat("my card"), {"role": "assistant", "content": "lost"}, *user_chat("pin")])
    options = GenerationOptions(max_tokens=24)
    expected = told(checkpoint.generate(chats, options))
    for _ in range(3):  # what one answer leaves behind must not show in the next
        assert told(engine.generate(chats, options)) == expected
    assert {result.finish_reason for result in expected} == {"stop", "length"}  # some end by themselves


def test_a_text_does_not_depend_on_what_is_asked_beside_it(engine: Engine) -> None:
    chats = [user_chat(f"my card {'lost ' * (n % 3)}{n}") for n in range(40)]
    options = GenerationOptions(max_tokens=9)
    alone = [engine.generate([chat], options)[0] for chat in chats[:4]]
    assert told(engine.generate(chats, options))[:4] == told(alone)


def test_max_tokens_cut_and_the_context_cuts_what_is_longer(engine: Engine, checkpoint: Engine) -> None:
    chats = [user_chat("transfer money")]
    one, five = (engine.generate(chats, GenerationOptions(max_tokens=n))[0] for n in (1, 5))
    assert (one.tokens_out, one.is_cut, five.tokens_out) == (1, True, 5)
    assert five.text is not None and one.text is not None and five.text.startswith(one.text)
    nearly_full = [user_chat("money " * 240)]
    expected = told(checkpoint.generate(nearly_full, GenerationOptions(max_tokens=500)))
    assert told(engine.generate(nearly_full, GenerationOptions(max_tokens=500))) == expected
    assert expected[0].tokens_in + expected[0].tokens_out <= 256


def test_a_text_ends_before_the_first_stop_string(engine: Engine, checkpoint: Engine) -> None:
    chats = [user_chat(text) for text in PLAIN]
    whole = checkpoint.generate(chats, GenerationOptions(max_tokens=24))[0].text
    assert whole is not None and len(whole) > 9
    options = GenerationOptions(max_tokens=24, stop=(whole[6:9], whole[4:8], "never said"))
    results = told(engine.generate(chats, options))
    assert results == told(checkpoint.generate(chats, options))
    first = min(whole.find(word) for word in options.stop[:2])
    assert (results[0].text, results[0].finish_reason) == (whole[:first], "stop")


@pytest.mark.parametrize(
    ("chat", "error"),
    [
        ([], "the chat has no messages"),
        ([{"role": "user"}], "a message of the chat has no content"),
        ([{"content": "hi"}], "a message of the chat has no role"),
        ([{"role": "user", "content": None}], "a message of the chat has no content"),
        (user_chat("money " * 300), "the prompt has 303 tokens; this engine takes 255"),
        (user_chat("a\0b"), "the prompt holds a NUL character"),
        (user_chat("\ud800"), "the prompt holds half of a surrogate pair, which is not valid Unicode"),
    ],
)
def test_a_prompt_that_cannot_be_is_refused_in_the_same_words_and_costs_nobody_else(
    engine: Engine, chat: Any, error: str
) -> None:
    good = user_chat("transfer money")
    options = GenerationOptions(max_tokens=3)
    before, bad, after = engine.generate([good, chat, good], options)
    assert (bad.text, bad.finish_reason, bad.error) == (None, "refused", error)
    assert before.text == after.text == engine.generate([good], options)[0].text
    assert before.error is None and before.tokens_out == 3


def test_a_seed_means_one_text_whatever_is_asked_beside_it(engine: Engine) -> None:
    chats = [user_chat("transfer money")] * 3
    texts = {
        seed: [
            one.text
            for one in engine.generate(chats, GenerationOptions(max_tokens=12, temperature=1.5, seed=seed))
        ]
        for seed in (1, 2, 3)
    }
    assert all(len(set(same)) == 1 for same in texts.values())
    assert len({same[0] for same in texts.values()}) > 1
    alone = engine.generate(chats[:1], GenerationOptions(max_tokens=12, temperature=1.5, seed=2))
    assert alone[0].text == texts[2][0]


def test_drawing_from_the_likeliest_token_alone_is_greedy(engine: Engine, checkpoint: Engine) -> None:
    chats = [user_chat(text) for text in PLAIN]
    drawn = engine.generate(chats, GenerationOptions(max_tokens=8, temperature=0.7, top_k=1, seed=5))
    greedy = checkpoint.generate(chats, GenerationOptions(max_tokens=8))
    assert [one.text for one in drawn] == [one.text for one in greedy]


def test_nothing_asked_is_nothing_answered(engine: Engine) -> None:
    assert engine.generate([], GenerationOptions()) == [] and engine.version
    engine.generate([user_chat("hi")], GenerationOptions(max_tokens=1))
