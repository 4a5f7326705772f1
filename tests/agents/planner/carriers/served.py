"""What models answer and users write."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opswright.agents.agent import RunOutcome

from .common import Reading, carried_out, fresh_name, of_cleaned, of_failed, one_line


class _Says(BaseHTTPRequestHandler):
    """An endpoint whose model says one thing to everything, with one status."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.reply(200, {"data": [{"id": "a model"}]})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        says, status = self.server.says, self.server.status  # type: ignore[attr-defined]
        message = {"role": "assistant", "content": says}
        answer = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
        self.reply(status, answer if status == 200 else {"error": {"message": says}})

    def reply(self, status: int, document: Any) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@contextmanager
def _endpoint(says: str, status: int) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Says)
    server.daemon_threads, server.says, server.status = True, says, status  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()


def _measured(world: Any, texts: list[str], status: int) -> RunOutcome:
    """An endpoint that says the texts, measured on a suite whose slices are called by them."""
    rows = [{"text": f"is parcel {at} here", "label": f"kind {at % 2}", "kind": texts[at % len(texts)]}
            for at in range(24)]  # fmt: skip
    name = fresh_name(world)
    (world.folder / "suites" / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    suite = (
        f"task: classify\nsamples: {{file: {name}.jsonl}}\nscorers: [exact_match]\nslices: {{by: [kind]}}\n"
    )
    (world.folder / "suites" / f"{name}.yaml").write_text(suite)
    with _endpoint(" | ".join(one_line(text, 200) for text in texts), status) as url:
        step = f"e: {{skill: evaluate, with: {{model: '{url}', suite: suites/{name}.yaml}}}}"
        return carried_out(world, f"goal: g\nsteps:\n  {step}\n")


def evaluations(world: Any, texts: list[str]) -> Reading:
    """Slices of an evaluation, called by the tags of its suite's rows."""
    outcome = _measured(world, texts, 200)
    assert outcome.exit_code == 0, outcome.message
    asked = {"question": "what are the slices of the evaluation?"}
    return Reading([("list_artifacts", {"kind": "eval-report"}), ("search", asked)])


def endpoint_errors(world: Any, texts: list[str]) -> Reading:
    """What a measured endpoint says instead of an answer."""
    outcome = _measured(world, texts, 400)
    assert outcome.exit_code == 1, outcome.message
    return of_failed(world, outcome)


def traffic(world: Any, texts: list[str]) -> Reading:
    """Requests and answers that users called right, taken from the traffic into a dataset."""
    from opswright.serving.gateway.feedback import Feedback, FeedbackLog
    from opswright.serving.gateway.traffic_log import TrafficLog, TrafficRow
    from opswright.serving.releases import now
    from opswright.serving.traffic.samples import export_row, traffic_samples

    log, said = TrafficLog.of(world.workspace, "shop"), FeedbackLog.of(world.workspace, "shop")
    usual = [f"is parcel {at} of box {7 * at} here" for at in range(24)]
    for at, text in enumerate([*usual, *(one for one in texts for _ in range(2))]):
        log.append(TrafficRow(now(), f"r{at}", "v1", "stable", text, text, "ok", None, 1.0, 1))
        right = f"kind {at % 2}" if at < len(usual) else text
        said.append(Feedback(now(), f"r{at}", "up", right, comment=text))
    log.close()
    said.close()
    rows = [export_row(one) for one in traffic_samples(world.workspace, "shop", None, only_labelled=True)]
    source = f"{fresh_name(world)}.jsonl"
    (world.folder / source).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return of_cleaned(world, source)
