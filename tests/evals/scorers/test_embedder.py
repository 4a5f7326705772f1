"""Similarity by an embedder behind HTTP: a local server, which also misbehaves."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import BaseServer
from typing import Any

import pytest

from opswright.core.errors import AskError
from opswright.data.sample import Sample
from opswright.evals.embedder_settings import EmbedderSettings
from opswright.evals.scorers import ScorerSpec, ServerAccess
from opswright.evals.scorers.embedder import EmbedderSimilarity
from opswright.evals.suites import Suite, load_suite

WORDS = {
    "cat": [1.0, 0.0, 0.0],
    "kitten": [0.8, 0.6, 0.0],
    "car": [0.0, 0.0, 2.0],
    "not cat": [-3.0, 0.0, 0.0],
}
Rows = list[dict[str, Any]]


def first_only(change: Callable[[dict[str, Any]], Mapping[str, Any]]) -> Callable[[Rows], Any]:
    return lambda rows: [change(rows[0]), *rows[1:]]


LIES: dict[str, tuple[Callable[[Rows], Any], str]] = {
    "another length": (first_only(lambda row: {**row, "embedding": [1.0, 2.0]}), "dimensions"),
    "NaN": (first_only(lambda row: {**row, "embedding": [float("nan"), 0.0, 1.0]}), "not finite"),
    "infinite": (first_only(lambda row: {**row, "embedding": [1e308, 1e308, 1.0]}), "not finite"),
    "zeros": (first_only(lambda row: {**row, "embedding": [0, 0, 0]}), "all zeros"),
    "text": (first_only(lambda row: {**row, "embedding": "AAAA"}), "expected a list of numbers"),
    "booleans": (first_only(lambda row: {**row, "embedding": [True, False, True]}), "no number"),
    "no index": (first_only(lambda row: {"embedding": row["embedding"]}), "no embeddings in the reply"),
    "index twice": (first_only(lambda row: {**row, "index": 1}), "indexes"),
    "index beyond": (first_only(lambda row: {**row, "index": 9}), "indexes"),
    "index as text": (first_only(lambda row: {**row, "index": "0"}), "indexes"),
    "one too few": (lambda rows: rows[1:], "indexes"),
    "one too many": (lambda rows: [*rows, {"index": len(rows), "embedding": [1, 1, 1]}], "indexes"),
    "no list": (lambda rows: None, "no embeddings in the reply"),
}


class Embedder(ThreadingHTTPServer):
    """Gives the vector of each word it knows. misbehave: how, once for each request that comes."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.misbehave: list[str] = []
        self.always, self.poison = "", ""
        self.asked: list[list[str]] = []
        self.keys: list[str | None] = []
        self.guard = threading.Lock()
        self.busy = self.most_busy = 0
        self.both = threading.Event()  # two were under way at once

    def settings(self, **more: Any) -> EmbedderSettings:
        given: dict[str, Any] = {
            "url": f"http://127.0.0.1:{self.server_address[1]}/v1",
            "model": "e-1",
            "retries": 1,
        }
        return EmbedderSettings.model_validate(given | more)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is what the test wanted."""


class Handler(BaseHTTPRequestHandler):
    server: Embedder
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        texts = body["input"]
        with self.server.guard:
            self.server.asked.append(texts)
            self.server.keys.append(self.headers["Authorization"])
            how = self.server.always or (self.server.misbehave.pop(0) if self.server.misbehave else "")
            self.server.busy += 1
            self.server.most_busy = max(self.server.busy, self.server.most_busy)
            if self.server.busy == 2:
                self.server.both.set()
        if how == "slow":
            self.server.both.wait(timeout=60)
            time.sleep(0.05)
        rows = [{"index": n, "embedding": WORDS.get(text, [1.0, 1.0, 1.0])} for n, text in enumerate(texts)]
        if how == "reordered":
            rows.reverse()
        data = json.dumps(
            {"data": LIES[how][0](rows) if how in LIES else rows, "model": body["model"]}
        ).encode()
        status = 400 if self.server.poison in texts and self.server.poison else 200
        with self.server.guard:
            self.server.busy -= 1
        self.reply(int(how) if how.isdigit() else status, data, how)

    def reply(self, status: int, data: bytes, how: str) -> None:
        if how == "hang up":
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        if status == 429:
            self.send_header("Retry-After", "0.05")
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if how == "cut" else data)
        self.close_connection = how == "cut"

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the tests' output clean."""


@pytest.fixture
def embedder(start_server: Callable[[BaseServer], None]) -> Embedder:
    one = Embedder()
    start_server(one)
    return one


CAT = Sample.of("1", "what is it?", "cat")
PAIRS = [(CAT, "kitten"), (CAT, "car"), (CAT, "not cat"), (CAT, "cat"), (CAT, "")]


def test_similarity_is_the_cosine_with_the_nearest_right_answer(embedder: Embedder) -> None:
    asked = EmbedderSimilarity(embedder.settings(batch=2), ServerAccess())
    assert [one.value for one in asked.score_all(PAIRS)] == pytest.approx([0.8, 0, 0, 1, 0])
    several = Sample.of("2", "?", "car", "kitten")
    assert asked.score_all([(several, "cat")])[0].value == pytest.approx(0.8)
    assert sorted(text for some in embedder.asked for text in some) == ["car", "cat", "kitten", "not cat"]
    summary = asked.summary()
    assert (summary["model"], summary["dimensions"], summary["texts"], summary["failed"]) == ("e-1", 3, 4, 0)


@pytest.mark.parametrize("how", ["reordered", "429", "503", "hang up", "cut", *LIES])
def test_one_bad_reply_is_asked_for_again(embedder: Embedder, how: str) -> None:
    embedder.misbehave = ["", how]  # the first reply says how long a vector is
    asked = EmbedderSimilarity(embedder.settings(), ServerAccess())
    asked.score_all([(CAT, "car")])
    assert asked.score_all([(Sample.of("2", "?", "kitten"), "not cat"), (CAT, "kitten")])[
        1
    ].value == pytest.approx(0.8)
    assert len(embedder.asked) == (2 if how == "reordered" else 3)


@pytest.mark.parametrize(("how", "why"), [(how, why) for how, (_, why) in LIES.items()])
def test_a_vector_that_cannot_be_believed_is_a_fault_and_no_score(
    embedder: Embedder, how: str, why: str
) -> None:
    if how == "another length":
        embedder.misbehave = [how, how]
    else:
        embedder.always = how
    found = EmbedderSimilarity(embedder.settings(), ServerAccess()).score_all([(CAT, "kitten")])
    assert found[0].value is None and why in str(found[0].fault)


def test_a_text_that_the_server_refuses_costs_no_other_its_vector(embedder: Embedder) -> None:
    embedder.poison = "car"
    found = EmbedderSimilarity(embedder.settings(), ServerAccess()).score_all(PAIRS)
    assert [one.value for one in found] == [pytest.approx(0.8), None, 0, pytest.approx(1), 0]
    assert "HTTP 400" in str(found[1].fault)


def test_an_embedder_that_is_down_is_given_up(embedder: Embedder) -> None:
    embedder.always = "500"
    settings = embedder.settings(batch=1, concurrency=1, retries=0)
    found = EmbedderSimilarity(settings, ServerAccess()).score_all([(CAT, f"word {n}") for n in range(40)])
    assert all(one.value is None for one in found) and len(embedder.asked) == 4
    assert "not asked: 4 requests in a row failed: HTTP 500" in str(found[-1].fault)


def test_no_more_requests_are_under_way_than_are_allowed(embedder: Embedder) -> None:
    embedder.always = "slow"
    settings = embedder.settings(batch=1, concurrency=2)
    EmbedderSimilarity(settings, ServerAccess()).score_all([(CAT, f"word {n}") for n in range(12)])
    assert embedder.most_busy == 2


def test_vectors_are_kept_by_address_model_and_text(embedder: Embedder, tmp_path: Path) -> None:
    access = ServerAccess(tmp_path / "kept.sqlite")
    digests = []
    for model, asked in (("e-1", 1), ("e-1", 1), ("e-2", 2)):
        again = EmbedderSimilarity(embedder.settings(model=model), access)
        assert again.score_all([(CAT, "kitten")])[0].value == pytest.approx(0.8)
        assert len(embedder.asked) == asked
        digests.append(again.summary()["digest"])
    assert digests[0] == digests[1]


def test_vectors_of_a_model_that_changed_behind_its_name_are_not_mixed(
    embedder: Embedder, tmp_path: Path
) -> None:
    access = ServerAccess(tmp_path / "kept.sqlite")
    EmbedderSimilarity(embedder.settings(), access).score_all([(CAT, "cat")])
    embedder.always = "another length"
    found = EmbedderSimilarity(embedder.settings(), access).score_all([(CAT, "new")])
    assert found[0].value is None and "dimensions" in str(found[0].fault)


def test_a_key_is_sent_and_never_said(embedder: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBED_KEY", "k3y-of-nobody")
    embedder.always = "no list"
    settings = embedder.settings(key="secret:env:EMBED_KEY")
    found = EmbedderSimilarity(settings, ServerAccess()).score_all([(CAT, "kitten")])
    assert set(embedder.keys) == {"Bearer k3y-of-nobody"}
    assert "k3y-of-nobody" not in json.dumps([found[0].fault, settings.document()])


def test_another_embedder_is_another_suite(embedder: Embedder) -> None:
    def digest(**more: Any) -> str:
        spec = (ScorerSpec("embedding_similarity"),)
        return Suite("s", (CAT,), task="generate", scorers=spec, embedder=embedder.settings(**more)).digest

    assert digest() == digest(concurrency=9, retries=7) and digest() != digest(model="e-2")


def test_a_suite_names_its_embedder(tmp_path: Path) -> None:
    path = tmp_path / "near.yaml"
    text = "task: generate\nsamples: [{text: what, target: cat}]\n"
    text += "embedder: {url: 'http://127.0.0.1:9', model: e}\n"
    path.write_text(f"{text}scorers: [embedding_similarity]\n")
    suite = load_suite(path)
    assert suite.asks_server and isinstance(suite.load_scorers()[0].function, EmbedderSimilarity)
    path.write_text(text)
    with pytest.raises(AskError, match=r"line 3: an embedder is named, and no embedding_similarity asks it"):
        load_suite(path)
