"""Rows that ask in other words what a golden row asks: found by an embedder, counted or left out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import BaseServer
from typing import Any

import pytest

from opswright.core.artifact_refs import DatasetRef
from opswright.core.contract import StepContext
from opswright.core.errors import AskError, BackendError
from opswright.core.machine import Machine
from opswright.skills.curate import CurateRequest, CurateResult, curate
from opswright.skills.golden import GoldenRequest, golden

GOLDEN = ["When does the library open on Sundays?", "Where may I leave my bicycle at the station?"]
ALIKE = {
    "At what hour can I borrow books at the weekend?": (GOLDEN[0], 0.95),
    "Is there a rack for bikes by the trains?": (GOLDEN[1], 0.9),
    "Which day is the market held in the square?": (GOLDEN[0], 0.4),
}
DISHES = ("soup", "stew", "pie", "cake")
OTHERS = [f"How do I cook a {dish} for {n} people?" for n, dish in enumerate(DISHES, 2)]


def vector(text: str) -> list[float]:
    """A direction of its own for each text, but for those that lie near a golden one."""
    if text in ALIKE:
        item, cosine = ALIKE[text]
        own = vector(f"beside {item}")
        return [cosine * a + (1 - cosine**2) ** 0.5 * b for a, b in zip(vector(item), own, strict=True)]
    axis = int.from_bytes(hashlib.sha256(text.encode()).digest()[:2]) % 512
    return [float(n == axis) for n in range(512)]


class Embedder(ThreadingHTTPServer):
    """Gives vectors; refuses a text, or fails from some request on, where it is told to."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str] = []
        self.refused, self.fails_from = "", 10**9
        self.requests = 0

    def named(self, **more: Any) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self.server_address[1]}/v1"
        return {"url": url, "model": "e-1", "min_cosine": 0.85, "retries": 0, "concurrency": 1, **more}


class Handler(BaseHTTPRequestHandler):
    server: Embedder

    def do_POST(self) -> None:
        texts = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["input"]
        self.server.requests += 1
        status = 400 if self.server.refused in texts else 200
        if self.server.requests >= self.server.fails_from:
            status = 500
        rows = [{"index": n, "embedding": vector(text)} for n, text in enumerate(texts)]
        data = json.dumps({"data": rows}).encode()
        if status == 200:
            self.server.asked += texts
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the tests' output clean."""


@pytest.fixture
def embedder(start_server: Callable[[BaseServer], None]) -> Embedder:
    one = Embedder()
    start_server(one)
    return one


@pytest.fixture
def ctx(context: Callable[..., StepContext]) -> StepContext:
    return context("data")


@pytest.fixture
def held_out(context: Callable[..., StepContext], tmp_path: Path) -> DatasetRef:
    written(tmp_path / "golden.jsonl", GOLDEN)
    suite = tmp_path / "town.yaml"
    suite.write_text("summary: Questions of a town.\ntask: generate\nsamples: {file: golden.jsonl}\n")
    return golden(GoldenRequest.model_validate({"suite": suite}), context("golden")).dataset


def written(path: Path, asked: list[str]) -> Path:
    path.write_text("".join(json.dumps({"question": one, "answer": f"About {one}"}) + "\n" for one in asked))
    return path


def run(source: Path, ctx: StepContext, held_out: DatasetRef, **embedder: Any) -> CurateResult:
    asked = {"source": source, "task": "generate", "golden": held_out, "golden_embedder": embedder}
    return curate(CurateRequest.model_validate({**asked, "validation_fraction": 0}), ctx)


def report(ctx: StepContext, result: CurateResult) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ctx.artifacts.open(result.dataset).path / "report.json").read_text())
    return found


def test_golden_rows_in_other_words_are_counted_and_shown_and_stay(
    embedder: Embedder, ctx: StepContext, held_out: DatasetRef, tmp_path: Path
) -> None:
    result = run(written(tmp_path / "raw.jsonl", [*ALIKE, *OTHERS]), ctx, held_out, **embedder.named())
    assert result.near_golden == 2 and result.rows == 7 and not result.leaked["meaning"]
    near = report(ctx, result)["near_golden"]
    assert near["near"] == 2 and near["not_compared"] == 0
    assert near["examples"][0] == {
        "where": "raw.jsonl row 1",
        "text": "At what hour can I borrow books at the weekend?",
        "why": f"cosine 0.95 to golden: {GOLDEN[0]}",
    }
    page = (ctx.artifacts.open(result.dataset).path / "card.html").read_text()
    assert "Near a golden row in meaning, by an embedder: 2" in page and "cosine 0.90" in page


def test_they_are_left_out_where_that_is_asked_for(
    embedder: Embedder, ctx: StepContext, held_out: DatasetRef, tmp_path: Path
) -> None:
    source = written(tmp_path / "raw.jsonl", [*ALIKE, *OTHERS])
    result = run(source, ctx, held_out, **embedder.named(near="drop"))
    assert result.dropped == {"golden_meaning": 2} and result.leaked["meaning"] == 2 and result.rows == 5
    kept = (ctx.artifacts.open(result.dataset).path / "train.jsonl").read_text()
    assert "borrow books" not in kept and "market held" in kept, "0.4 is below min_cosine"


def test_a_row_that_is_left_out_anyway_is_not_sent(
    embedder: Embedder, ctx: StepContext, held_out: DatasetRef, tmp_path: Path
) -> None:
    run(written(tmp_path / "raw.jsonl", [GOLDEN[0].upper(), *OTHERS]), ctx, held_out, **embedder.named())
    assert sorted(embedder.asked) == sorted([*GOLDEN, *OTHERS])


def test_personal_data_is_masked_before_a_row_is_sent(
    embedder: Embedder, ctx: StepContext, held_out: DatasetRef, tmp_path: Path
) -> None:
    source = written(tmp_path / "raw.jsonl", ["May I write to ann@example.org at night?", *OTHERS])
    asked = {"source": source, "task": "generate", "golden": held_out, "personal_data": "mask"}
    curate(CurateRequest.model_validate({**asked, "golden_embedder": embedder.named()}), ctx)
    assert "May I write to <email> at night?" in embedder.asked
    assert not any("ann@example" in text for text in embedder.asked)


@pytest.mark.parametrize("near", ["count", "drop"])
def test_a_row_that_the_embedder_refuses_goes_where_near_ones_go(
    embedder: Embedder, ctx: StepContext, held_out: DatasetRef, tmp_path: Path, near: str
) -> None:
    embedder.refused = OTHERS[2]
    result = run(written(tmp_path / "raw.jsonl", OTHERS), ctx, held_out, **embedder.named(near=near))
    found = report(ctx, result)["near_golden"]
    assert (found["near"], found["not_compared"]) == (0, 1) and "not compared" in found["examples"][0]["why"]
    assert result.rows == (4 if near == "count" else 3)


def test_an_embedder_that_fails_ends_the_step_and_what_came_is_not_asked_again(
    embedder: Embedder, context: Callable[..., StepContext], held_out: DatasetRef, tmp_path: Path
) -> None:
    embedder.fails_from = 4
    source = written(tmp_path / "raw.jsonl", OTHERS)
    with pytest.raises(BackendError, match=r"500.*Run it again when it answers"):
        run(source, context("first"), held_out, **embedder.named(batch=1))
    came = list(embedder.asked)
    assert came == [*GOLDEN, OTHERS[0]], "a request for each text: two golden ones, then rows"
    embedder.fails_from = 10**9
    assert run(source, context("again"), held_out, **embedder.named(batch=1)).rows == 4
    assert sorted(embedder.asked) == sorted([*GOLDEN, *OTHERS]), "each text once"


def test_a_golden_row_without_a_vector_ends_the_step(
    embedder: Embedder, ctx: StepContext, held_out: DatasetRef, tmp_path: Path
) -> None:
    embedder.refused = GOLDEN[1]
    with pytest.raises(BackendError, match="no vector of the golden item 'Where may I leave"):
        run(written(tmp_path / "raw.jsonl", OTHERS), ctx, held_out, **embedder.named())


def test_it_is_refused_without_golden_rows_and_on_a_cluster(
    embedder: Embedder, ctx: StepContext, held_out: DatasetRef, tmp_path: Path
) -> None:
    source = written(tmp_path / "raw.jsonl", OTHERS)
    with pytest.raises(AskError, match="no golden rows to compare with"):
        CurateRequest.model_validate({"source": source, "golden_embedder": embedder.named()})
    asked = {"source": source, "golden": held_out, "golden_embedder": embedder.named(), "compute": "ray"}
    request = CurateRequest.model_validate(asked)
    with pytest.raises(AskError, match="from this machine alone"):
        curate(request, ctx)
    assert any("from this machine alone" in one for one in findings(request, ctx, "stop"))


def test_before_it_runs_a_plan_says_who_is_sent_what(
    embedder: Embedder, ctx: StepContext, held_out: DatasetRef, tmp_path: Path
) -> None:
    asked = {"source": written(tmp_path / "raw.jsonl", OTHERS), "golden": held_out}
    keyless = embedder.named(key="secret:env:NOT_THERE")
    request = CurateRequest.model_validate({**asked, "golden_embedder": keyless})
    assert any("the embedder's key" in one for one in findings(request, ctx, "stop"))
    request = CurateRequest.model_validate({**asked, "golden_embedder": embedder.named()})
    assert not findings(request, ctx, "stop") and not embedder.asked
    told = [one for one in findings(request, ctx, "warn") if "are sent to the embedder e-1" in one]
    assert len(told) == 1 and not curate.may_reuse(request)


def findings(request: CurateRequest, ctx: StepContext, level: str) -> list[str]:
    assert curate.preflight is not None
    found = curate.preflight(request, Machine.here(ctx.workspace.root), ctx.workspace)
    return [one.message for one in found if one.level == level]
