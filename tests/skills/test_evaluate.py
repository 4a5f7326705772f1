"""The skill against an endpoint that answers from a table; checkpoints and bundles are in tests/e2e."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from opswright.core.artifact_refs import BundleRef, CheckpointRef, DatasetRef
from opswright.core.contract import NullEvents
from opswright.core.errors import AskError, BackendError
from opswright.core.machine import Machine
from opswright.core.workspace import Workspace
from opswright.evals.report import read_report
from opswright.evals.runner import choose_items
from opswright.evals.suites import load_suite
from opswright.skills.evaluate import EvaluateRequest, EvaluateResult, evaluate
from opswright.ui.demo import example_suite

SUITE = example_suite()
ANSWERS = {item.question: item.answer for item in load_suite(SUITE).items if item.tags["domain"] != "banking"}


class Router(BaseHTTPRequestHandler):
    """Knows every domain but banking, fails on texts that hold the server's `fails_on`.

    With `knows` of the server empty it answers all alike.
    """

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet a reply

    def do_GET(self) -> None:
        self.say(200, {"data": [{"id": "router"}]})

    def do_POST(self) -> None:
        text = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"][0]["content"]
        if getattr(self.server, "fails_on", "\0") in text:
            self.say(400, {"error": "told to fail"})
        else:
            content = getattr(self.server, "knows", ANSWERS).get(text, "play music")
            self.say(200, {"choices": [{"message": {"role": "assistant", "content": content}}]})

    def say(self, status: int, document: Any) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the tests' output clean."""


class Units(NullEvents):
    """Remembers the units of the progress it was told of."""

    def __init__(self) -> None:
        self.units: set[str] = set()

    def progress(self, step: str, done: float, total: float | None, unit: str) -> None:
        self.units.add(unit)


@pytest.fixture
def router() -> Iterator[Any]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Router)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def run(router: Any, context: Any) -> Any:
    def one(events: Any = None, **fields: Any) -> EvaluateResult:
        ctx = context()
        ctx.events = events or ctx.events
        url = f"http://127.0.0.1:{router.server_address[1]}"
        return evaluate(
            EvaluateRequest.model_validate({"model": url, "suite": str(SUITE), "limit": 60, **fields}), ctx
        )

    return one


@pytest.fixture
def train(workspace: Workspace, tmp_path: Path) -> DatasetRef:
    """Training rows of two labels, one of them an item of the suite."""
    (tmp_path / "data").mkdir()
    first = choose_items(load_suite(SUITE), 60)[0]
    rows = [
        (first.question, first.answer, "train"),
        ("play jazz", "play music", "train"),
        ("x", "y", "validation"),
    ]
    rows += [(f"play song {i}", "play music", "train") for i in range(5)]
    frame = pl.DataFrame(rows, schema=["text", "label", "split"], orient="row")
    frame.write_parquet(tmp_path / "data" / "rows.parquet")
    return workspace.artifacts.save(DatasetRef, tmp_path / "data", {"train_rows": 7})


def test_a_report_holds_figures_slices_and_every_item(run: Any, workspace: Workspace) -> None:
    result = run()
    banking = result.slices["banking"]
    assert result.n == 60 and result.errors == 0 and banking.n > 0
    assert banking.value == 0.0 and result.slices["new_domains"].value == 1.0
    assert result.value == pytest.approx(1 - banking.n / 60)
    assert result.low < result.value < result.high and result.p50_ms > 0
    artifact = workspace.artifacts.open(result.report)
    assert artifact.facts["suite_digest"] == load_suite(SUITE).digest
    lines = [json.loads(line) for line in (artifact.path / "items.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == sorted(line["id"] for line in lines) and len(lines) == 60
    assert set(lines[0]) >= {"id", "text", "expected", "got", "scores", "slices"}
    assert artifact.read_json("report.json")["confusions"][0]["got"] == "play music"
    assert len(read_report(artifact).items) == 60


def test_slices_the_asker_names_are_reported_too(run: Any) -> None:
    result = run(slices={"chat": ("small_talk", "meta")})
    assert result.slices["chat"].n == result.slices["new_domains"].n > result.slices["meta"].n


def test_without_training_rows_there_are_no_baselines_and_that_is_said(run: Any) -> None:
    result = run()
    assert result.baselines == {} and result.leaked is None and "give them as train" in result.note


def test_baselines_stand_beside_the_model_and_leaked_items_are_counted(
    run: Any, train: DatasetRef, workspace: Workspace
) -> None:
    result = run(train=str(train))
    assert set(result.baselines) == {"majority", "tfidf_logreg", "tfidf_svc"}
    asked = choose_items(load_suite(SUITE), 60)
    assert result.baselines["majority"] == sum(item.answer == "play music" for item in asked) / 60
    assert result.leaked == 1
    assert result.note.startswith("1 of 60 items are among the rows that this model learned from")
    artifact = workspace.artifacts.open(result.report)
    assert artifact.facts["baselines"]["tfidf_svc"]["slices"]["old_domains"]["n"] > 30
    assert train in artifact.parents and artifact.facts["train_dataset"] == train
    assert set(result.shortcuts) == set(artifact.facts["shortcuts"]) == {"length", "keyword", "shuffled"}


def test_altered_items_are_asked_on_request_and_kept_in_the_report(run: Any, workspace: Workspace) -> None:
    result = run(robustness=["case", "prefix"])  # the router knows no text but those of the suite
    assert {name: one.n for name, one in result.robustness.items()} == {"case": 60, "prefix": 60}
    assert result.robustness["case"].drop > 0.5 and "asked in capitals, its exact_match falls" in result.note
    measured = read_report(workspace.artifacts.open(result.report))
    assert [len(measured.variants[name]) for name in ("case", "prefix")] == [60, 60]
    assert len(measured.items) == result.n == 60


def test_a_model_that_a_shortcut_equals_is_told_so(run: Any, train: DatasetRef, router: Any) -> None:
    router.knows = {}
    result = run(train=str(train))
    assert (
        "the model is not shown to be better than a shortcut, keyword (one word for each label" in result.note
    )


def test_baselines_of_the_same_rows_are_not_fitted_again(
    run: Any, train: DatasetRef, workspace: Workspace
) -> None:
    first, heard = run(train=str(train)), Units()
    second = run(train=str(train), slices={"money": ("banking",)}, events=heard)
    assert heard.units == {"items"} and first.baselines == second.baselines
    document = workspace.artifacts.open(second.report).read_json("report.json")
    assert document["baselines"]["majority"]["slices"]["money"]["n"] > 0  # in slices asked for only now
    again = Units()
    run(train=str(train), limit=61, events=again)
    assert again.units == {"items", "baselines"}  # other items: asked anew


def test_items_the_endpoint_fails_on_are_errors_in_the_report(run: Any, router: Any) -> None:
    router.fails_on = "what"
    result = run()
    assert 0 < result.errors < 60
    router.fails_on = ""
    assert run().reused == 60 - result.errors  # what it answered in this step is not asked again
    with pytest.raises(BackendError, match="answered none of 60 prompts"):
        run(cache=False)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"suite": "clinc"}, "unknown suite"),
        ({"slices": {"x": ("bankin",)}}, "Did you mean 'banking'"),
        ({"model": str(CheckpointRef.of("a" * 64))}, "checkpoint:aaaaaaaaaaaa not found"),
        ({"train": str(DatasetRef.of("a" * 64))}, "dataset:aaaaaaaaaaaa not found"),
    ],
)
def test_a_request_that_names_what_is_not_there_is_refused(
    run: Any, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(AskError, match=message):
        run(**fields)


@pytest.mark.parametrize(
    "model", ["dataset:" + "a" * 64, "checkpoint:abc", "ftp://host", "support", "http://me:secret@host"]
)
def test_only_a_checkpoint_a_bundle_or_an_address_can_be_evaluated(model: str) -> None:
    with pytest.raises(AskError, match="argument 'model"):
        evaluate.parse({"model": model, "suite": "clinc150"})


def test_a_bundle_of_another_engine_is_sent_to_its_endpoint(
    workspace: Workspace, tmp_path: Path, context: Any
) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "manifest.json").write_text("{}")
    bundle = workspace.artifacts.save(BundleRef, tmp_path / "b", {"target": "abacus"})
    with pytest.raises(AskError, match=r"unknown engine target 'abacus'.*evaluate the endpoint's address"):
        evaluate(EvaluateRequest(model=bundle, suite="clinc150"), context())


def test_only_what_cannot_change_may_stand_for_a_new_evaluation() -> None:
    assert evaluate.may_reuse(EvaluateRequest(model=CheckpointRef.of("a" * 64), suite="clinc150"))
    assert not evaluate.may_reuse(EvaluateRequest(model="http://127.0.0.1:8700", suite="clinc150"))


def test_a_report_keeps_how_many_paraphrases_can_be_used_and_why_not(
    run: Any, workspace: Workspace, tmp_path: Path
) -> None:
    suite = tmp_path / "mail.yaml"
    rows = [{"text": f"send letter {n}", "target": "post"} for n in range(9)]
    rows[0]["metadata"] = rows[1]["metadata"] = {"paraphrase": "put 0 into the box"}  # type: ignore[assignment]
    suite.write_text(json.dumps({"name": "mail", "task": "classify", "samples": rows}))
    result = run(suite=str(suite), robustness=["paraphrase"], baselines=False)
    known = result.paraphrases
    assert (known.asked, known.usable, known.own, known.model) == (9, 1, 2, None)
    assert known.refused == {"none given": 7, "numbers differ": 1} and result.robustness["paraphrase"].n == 1
    assert "1 of 9 items have a usable paraphrase (refused: none given: 7, numbers differ: 1)" in result.note
    measured = read_report(workspace.artifacts.open(result.report))
    assert measured.paraphrases["usable"] == 1 and len(measured.variants["paraphrase"]) == 1


def test_preflight_stops_where_nobody_writes_paraphrases_or_nobody_wants_them(
    workspace: Workspace, tmp_path: Path
) -> None:
    machine = Machine.here(tmp_path)

    def levels(**fields: Any) -> list[str]:
        given = {"model": "http://127.0.0.1:1/v1", "suite": str(SUITE), **fields}
        request, check = EvaluateRequest.model_validate(given), evaluate.preflight
        assert check is not None
        return [one.level for one in check(request, machine, workspace) if "paraphrase" in one.message]

    writer = {"url": "http://127.0.0.1:1/v1", "model": "writer"}
    assert levels() == [] and levels(robustness=["paraphrase"]) == ["stop"]
    assert levels(paraphraser=writer) == ["stop"]
    assert levels(robustness=["paraphrase"], paraphraser=writer) == ["warn"]
    missing = writer | {"key": "secret:env:NO_SUCH_KEY_HERE"}
    assert levels(robustness=["paraphrase"], paraphraser=missing) == ["stop"]


def test_preflight_finds_what_would_stop_the_step(workspace: Workspace, tmp_path: Path) -> None:
    machine = Machine.here(tmp_path)
    assert evaluate.preflight is not None and evaluate.estimate is not None

    def levels(**fields: Any) -> list[str]:
        request = EvaluateRequest.model_validate(
            {"model": CheckpointRef.pending(), "suite": "clinc150", **fields}
        )
        assert evaluate.preflight is not None
        return [one.level for one in evaluate.preflight(request, machine, workspace)]

    assert set(levels()) == {"ok"}
    assert "stop" in levels(suite="clinc")
    assert "stop" in levels(slices={"x": ("bankin",)})
    assert "stop" in levels(model=str(CheckpointRef.of("a" * 64)))
    assert "stop" in levels(model="http://127.0.0.1:1", api_key_env="NO_SUCH_VARIABLE")
    assert (
        evaluate.estimate(EvaluateRequest(model="http://x", suite="clinc150"), machine, workspace).minutes
        is None
    )


@pytest.fixture
def own_suite(tmp_path: Path) -> Path:
    """A suite of another task: five free questions, one of which the router answers."""
    text = next(iter(ANSWERS))
    rows = [{"text": f"what is {i}?", "target": "play music now", "tags": {"kind": "a"}} for i in range(4)]
    rows.append({"text": text, "target": str(ANSWERS[text]), "tags": {"kind": "b"}})
    (tmp_path / "own.yaml").write_text(
        json.dumps({"task": "generate", "samples": rows, "slices": {"by": ["kind"]}, "scorers": SCORERS})
    )
    return tmp_path / "own.yaml"


SCORERS = ["token_f1", "exact_match", {"name": "numeric"}]


def test_a_suite_of_ones_own_is_judged_by_its_own_scorer(
    run: Any, own_suite: Path, workspace: Workspace
) -> None:
    result = run(suite=str(own_suite))
    assert (result.suite, result.metric, result.n) == ("own", "token_f1", 5)
    assert result.value == pytest.approx((4 * 0.8 + 1) / 5) and result.low < result.value < result.high
    assert result.metrics["exact_match"] == 0.2 and result.metrics["numeric"] is None
    assert "scorer numeric failed on 5 answers" in result.note
    assert set(result.slices) == {"a", "b"} and result.slices["b"].value == 1
    assert result.trivial == "copy" and set(result.baselines) == {"copy"}
    facts = workspace.artifacts.open(result.report).facts
    assert facts["metrics"]["token_f1"]["binary"] is False and facts["metrics"]["numeric"]["faults"] == 5
    measured = read_report(workspace.artifacts.open(result.report))
    assert measured.metric == "token_f1" and next(iter(measured.scorers.values())) is False
    assert measured.items[0].faults == {"numeric": "ValueError: the right answer holds no number"}


def test_a_scorer_that_scores_nothing_fails_the_evaluation_instead_of_passing_it(
    run: Any, own_suite: Path
) -> None:
    own_suite.write_text(own_suite.read_text().replace('"token_f1", "exact_match", ', ""))
    with pytest.raises(BackendError, match=r"scored none of 5 answers; the first fault: .*holds no number"):
        run(suite=str(own_suite))


def test_slices_by_several_tags_may_be_named_by_the_asker(run: Any, own_suite: Path) -> None:
    result = run(suite=str(own_suite), slices={"first": {"kind": ("a", "b")}, "second": ("b",)})
    assert (result.slices["first"].n, result.slices["second"].n) == (5, 1)
    with pytest.raises(AskError, match=r"no item of suite own has the tag 'knid'.*Did you mean 'kind'"):
        run(suite=str(own_suite), slices={"x": {"knid": ("a",)}})
