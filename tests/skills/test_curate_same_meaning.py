"""Rows that mean what an earlier one does: left out with their reason, where that is asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from opswright.core.contract import StepContext
from opswright.core.errors import AskError, BackendError
from opswright.core.machine import Machine
from opswright.skills.curate import CurateRequest, CurateResult, curate, same_meaning
from opswright.skills.curate.same_meaning import TextFile

pytest.importorskip("pymilvus")
pytest.importorskip("milvus_lite")

ROWS = [
    {"text": "how do i reset the password of my mailbox", "label": "mail"},
    {"text": "where is the parking of the northern office", "label": "office"},
    {"text": "please tell me how i do reset my mailbox password", "label": "mail"},  # of row 1
    {"text": "the northern office parking is where", "label": "other"},  # near row 2, another answer
    {"text": "who signs the travel expenses", "label": "money"},
    {"text": "is the canteen open on fridays", "label": "office"},
]
STEP = {"min_cosine": 0.75}


def curated(
    context: Callable[..., StepContext], folder: Path, rows: list[dict[str, str]] = ROWS, **more: Any
) -> tuple[CurateResult, StepContext]:
    source = folder / "rows.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    ctx = context()
    asked = CurateRequest(source=source, validation_fraction=0, near_duplicate_jaccard=1, **more)
    return curate(asked, ctx), ctx


def dropped(result: CurateResult, ctx: StepContext) -> list[dict[str, Any]]:
    folder = ctx.artifacts.open(result.dataset).path
    return [json.loads(line) for line in (folder / "dropped.jsonl").read_text().splitlines()]


def report(result: CurateResult, ctx: StepContext) -> dict[str, Any]:
    folder = ctx.artifacts.open(result.dataset).path
    found: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return found


def test_a_row_that_means_an_earlier_one_with_its_answer_is_left_out_and_says_of_which(
    context: Callable[..., StepContext], tmp_path: Path
) -> None:
    plain, _ = curated(context, tmp_path)
    assert plain.dropped == {} and plain.semantic_embedder == ""
    result, ctx = curated(context, tmp_path, semantic_duplicates=STEP)
    assert result.dropped == {"semantic_duplicate": 1} and result.rows == 5
    (row,) = dropped(result, ctx)
    assert row["text"] == ROWS[2]["text"] and row["reason"] == "semantic_duplicate"
    assert "cosine 0." in row["detail"] and "row 1" in row["detail"]
    told = report(result, ctx)["semantic_duplicates"]
    assert told["compared"] == 6 and told["answers_differ"] >= 1
    assert told["embedder"] == result.semantic_embedder == "offline: word pieces of these rows"


def test_rows_with_other_numbers_are_not_one(context: Callable[..., StepContext], tmp_path: Path) -> None:
    booked = [{"text": f"please book a table for {n} at the harbour", "label": "mail"} for n in (5, 6, 15)]
    result, _ = curated(context, tmp_path, [*ROWS, *booked], semantic_duplicates=STEP)
    assert result.dropped == {"semantic_duplicate": 1}  # the row of ROWS alone


def test_the_same_rows_come_out_each_time(context: Callable[..., StepContext], tmp_path: Path) -> None:
    one, _ = curated(context, tmp_path, semantic_duplicates=STEP)
    other, _ = curated(context, tmp_path, semantic_duplicates=STEP)
    assert one.dataset == other.dataset
    assert CurateRequest(source=tmp_path / "rows.jsonl", semantic_duplicates=STEP).is_repeatable
    asked = {**STEP, "embedder": {"url": "http://127.0.0.1:9/v1", "model": "e"}}
    assert not CurateRequest(source=tmp_path / "rows.jsonl", semantic_duplicates=asked).is_repeatable


class Embedder(BaseHTTPRequestHandler):
    """Gives one direction to what asks about a password, in whatever words, and others to the rest."""

    refuses = ""

    def do_POST(self) -> None:
        texts = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["input"]
        rows = []
        for n, text in enumerate(texts):
            axis = 0 if "password" in text or "log in" in text else 1 + sum(text.encode()) % 200
            rows.append({"index": n, "embedding": [float(axis == at) for at in range(201)]})
        status = 400 if self.refuses and any(self.refuses in text for text in texts) else 200
        data = json.dumps({"data": rows}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the tests' output clean."""


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Embedder)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()
    server.server_close()


def test_an_embedder_of_your_own_finds_other_words_and_is_named(
    context: Callable[..., StepContext], tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [*ROWS[:2], {"text": "i cannot log in to my letters any more", "label": "mail"}, *ROWS[4:]]
    asked = {"min_cosine": 0.9, "embedder": {"url": url, "model": "e-1", "retries": 0}}
    result, ctx = curated(context, tmp_path, rows, semantic_duplicates=asked)
    assert [row["text"] for row in dropped(result, ctx)] == [rows[2]["text"]]
    assert result.semantic_embedder == f"e-1 at {url}"
    monkeypatch.setattr(Embedder, "refuses", "vault")
    with pytest.raises(BackendError, match="no vector"):
        curated(context, tmp_path, [*rows, {"text": "the vault", "label": "x"}], semantic_duplicates=asked)


def test_what_cannot_be_compared_here_is_refused(
    context: Callable[..., StepContext], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(same_meaning, "_MOST_ROWS", 3)
    with pytest.raises(AskError, match="at most 3 rows, and 6 are left"):
        curated(context, tmp_path, semantic_duplicates=STEP)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    ctx = context()
    asked = CurateRequest(source=tmp_path / "rows.jsonl", semantic_duplicates=STEP, compute="ray")
    assert curate.preflight is not None
    found = curate.preflight(asked, Machine.here(ctx.workspace.root), ctx.workspace)
    assert any(one.level == "stop" and "semantic_duplicates" in one.message for one in found)


def test_texts_on_disk_are_as_they_were(tmp_path: Path) -> None:
    texts = ["", "one", "zw\u00f6lf \U0001f680", "\ud83d", "x" * 100_000]
    with TextFile(tmp_path) as kept:
        for text in texts:
            kept.add(text)
        assert list(kept) == texts and kept[1:3] == texts[1:3] and kept[::2] == texts[::2]
    assert list(tmp_path.iterdir()) == []
