"""Rows that an endpoint of the workspace wrote itself: found in the traffic log, counted or left out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from opswright.core.artifact_refs import BundleRef, CheckpointRef
from opswright.core.contract import StepContext
from opswright.core.workspace import Workspace
from opswright.serving.gateway.traffic_log import TrafficLog, TrafficRow
from opswright.serving.releases import EndpointState, new_release, write_state
from opswright.skills.curate import CurateRequest, CurateResult, curate

REQUEST = "0123456789abcdef0123456789abcdef"
WRITTEN = "You can return the {} within thirty days if its seal is whole and you have the bill."
BY_PEOPLE = "We send every {} by rail on Mondays, so it reaches you before the end of that week."
WORDS = ("kettle", "lamp", "carpet", "violin", "saddle", "mirror", "anchor", "pillow", "ladder", "basket")


def log(workspace: Workspace, *asked_and_said: tuple[str, str], endpoint: str = "shop", **more: Any) -> None:
    traffic = TrafficLog(workspace.endpoints / endpoint)
    for n, (asked, said) in enumerate(asked_and_said):
        usual = {
            "time": f"2026-01-01T00:00:{n:02d}.000Z",
            "id": f"r{n}",
            "release": "v1-0a1b2c3d",
            "route": "stable",
            "text": asked,
            "output": said,
            "status": "ok",
            "rail": None,
            "latency_ms": 1.0,
            "model_version": 1,
        }
        traffic.append(TrafficRow(**{**usual, **more}))
    traffic.close()


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def people(n: int = 10) -> list[dict[str, Any]]:
    return [
        {"question": f"When does my {word} come?", "answer": BY_PEOPLE.format(word)} for word in WORDS[:n]
    ]


def run(source: Path, ctx: StepContext, **more: Any) -> CurateResult:
    return curate(CurateRequest(source=source, task="generate", **{"own_answers": "drop", **more}), ctx)


def why(ctx: StepContext, result: CurateResult) -> list[str]:
    lines = (ctx.artifacts.open(result.dataset).path / "dropped.jsonl").read_text().splitlines()
    return [one["detail"] for one in map(json.loads, lines) if one["reason"] == "own_answer"]


def test_rows_that_an_endpoint_wrote_are_left_out_with_their_reason(tmp_path: Path, context: Any) -> None:
    ctx = context()
    log(ctx.workspace, ("May I send the kettle back?", WRITTEN.format("kettle")))
    said = WRITTEN.format("kettle")
    ours = [
        {"question": "Can I return it?", "answer": said},
        {"question": "A kettle, unused?", "answer": said.upper()},
        {"question": "What of a kettle?", "answer": said.replace("thirty", "twenty")},
        {"question": "And the kettle?", "answer": f"Thank you for asking. {said} Anything else?"},
    ]
    result = run(write(tmp_path / "rows.jsonl", people() + ours), ctx)
    assert result.dropped["own_answer"] == result.own_answers == 4 and result.rows == 10
    found = why(ctx, result)
    assert [one.partition(" (")[0] for one in found] == [
        "verbatim",
        "normalised",
        "near duplicate",
        "contained",
    ]
    assert all("the answer of endpoint shop, request r0" in one for one in found)


def test_an_earlier_turn_of_a_chat_counts(tmp_path: Path, context: Any) -> None:
    ctx = context()
    log(ctx.workspace, ("May I send the kettle back?", WRITTEN.format("kettle")))
    turns = [
        ("user", "Hello"),
        ("assistant", WRITTEN.format("kettle")),
        ("user", "Oh"),
        ("assistant", "Yes."),
    ]
    chat = {"messages": [{"role": role, "content": text} for role, text in turns]}
    other = {
        "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello to you."}]
    }
    source = write(tmp_path / "chats.jsonl", [chat, other])
    assert curate(CurateRequest(source=source, own_answers="drop"), ctx).dropped == {"own_answer": 1}


def test_a_row_is_known_by_the_id_or_the_release_of_what_an_endpoint_answered(
    tmp_path: Path, context: Any
) -> None:
    ctx = context()
    log(ctx.workspace, ("x", "yes"), id=REQUEST)
    log(ctx.workspace, ("x", "yes"), id="7")
    rows = [{**row, "number": f"n{n}", "by": "a clerk"} for n, row in enumerate(people())]
    rows[0]["number"] = f"chatcmpl-{REQUEST}"
    rows[1]["number"] = REQUEST
    rows[2]["by"] = "v1-0a1b2c3d"
    rows[3]["number"], rows[4]["number"] = "chatcmpl-7", "7"  # an id that its caller chose says nothing alone
    columns = {"id": "number", "tags": ["by"], "user": "question", "target": "answer"}
    result = run(write(tmp_path / "rows.jsonl", rows), ctx, columns=columns)
    assert result.dropped == {"own_answer": 4}
    assert {one.partition(" is one of")[0] for one in why(ctx, result)} == {"its id", "its by"}


def test_by_default_they_are_counted_and_stay_and_the_dataset_does_not_depend_on_traffic(
    tmp_path: Path, context: Any
) -> None:
    said = WRITTEN.format("kettle")
    source = write(tmp_path / "rows.jsonl", [*people(), {"question": "Can I return it?", "answer": said}])
    before = run(source, context("one"), own_answers="keep")
    ctx = context("two")
    log(ctx.workspace, ("May I send the kettle back?", said))
    after = run(source, ctx, own_answers="keep")
    assert (before.own_answers, after.own_answers) == (0, 1) and after.dropped == {}
    assert after.dataset == before.dataset and ctx.metrics["own_answers"] == 1
    assert not curate.may_reuse(CurateRequest(source=source, own_answers="drop"))
    assert curate.may_reuse(CurateRequest(source=source))


def test_an_answer_in_a_script_without_spaces_is_known_again(tmp_path: Path, context: Any) -> None:
    ctx = context()
    said = "您的订单已经于昨天下午从我们的仓库发出预计将在三到五个工作日内送达您填写的收货地址请您耐心等待。"
    log(ctx.workspace, ("我的订单在哪里", said))
    rows = [
        *people(),
        {"question": "什么时候到", "answer": said},
        {"question": "到了吗", "answer": "还没有。"},
    ]
    result = run(write(tmp_path / "rows.jsonl", rows), ctx)
    assert result.own_answers == 1 and result.dropped == {"own_answer": 1}


def test_what_is_no_evidence_leaves_nothing_out(tmp_path: Path, context: Any) -> None:
    ctx = context()
    by_people = [row["answer"] for row in people()]
    log(ctx.workspace, ("Say yes", "Yes."), ("Repeat: " + by_people[0], by_people[0]))
    log(ctx.workspace, *((f"question {n}", by_people[1]) for n in range(3)))  # a set phrase
    log(ctx.workspace, ("a bad one", by_people[2]), status="blocked")
    short = {"question": "Is it here?", "answer": "Yes."}
    result = run(write(tmp_path / "rows.jsonl", [*people(), short]), ctx)
    assert result.own_answers == 0 and result.dropped == {}


def test_an_answer_that_the_model_learned_from_people_stays(tmp_path: Path, context: Any) -> None:
    ctx = context()
    source = write(tmp_path / "rows.jsonl", people())
    first = run(source, ctx).dataset
    (tmp_path / "weights").write_text("w")
    checkpoint = save(ctx, CheckpointRef, tmp_path, [first])
    bundle = save(ctx, BundleRef, tmp_path, [checkpoint])
    state = EndpointState(endpoint="shop")
    release = new_release(state, bundle, None, "onnx")
    write_state(ctx.workspace, state.model_copy(update={"stable": release}).changed("deployed", release, "k"))
    recalled = BY_PEOPLE.format("kettle")
    log(
        ctx.workspace,
        ("q", recalled),
        ("p", recalled.replace("every", "each")),
        ("o", WRITTEN.format("lamp")),
    )
    rows = [*people(), {"question": "Can it go back?", "answer": WRITTEN.format("lamp")}]
    result = run(write(source, rows), ctx)
    assert result.dropped == {"own_answer": 1} and result.rows == 10


def save(ctx: StepContext, kind: Any, folder: Path, parents: list[Any]) -> Any:
    with ctx.artifacts.staging() as staged:
        (staged / "weights").write_bytes((folder / "weights").read_bytes() + kind.__name__.encode())
        return ctx.artifacts.save(kind, staged, {}, parents)


def test_masked_rows_are_found_in_a_log_that_is_not_masked(tmp_path: Path, context: Any) -> None:
    ctx = context()
    said = WRITTEN.format("kettle") + " Write to anna.berg@example.org for the bill."
    log(ctx.workspace, ("May I send it back?", said))
    source = write(tmp_path / "rows.jsonl", [*people(), {"question": "Return?", "answer": said}])
    result = run(source, ctx, own_answers="keep", personal_data="mask")
    assert result.own_answers == 1 and result.masked_rows == 1
    dropped = run(source, ctx, personal_data="mask")
    assert "anna" not in "".join(why(ctx, dropped)) and dropped.own_answers == 1


def test_a_damaged_log_and_a_folder_without_one_are_no_fault(tmp_path: Path, context: Any) -> None:
    ctx = context()
    (ctx.workspace.endpoints / "empty").mkdir(parents=True)
    log(ctx.workspace, ("May I send the kettle back?", WRITTEN.format("kettle")))
    path = next((ctx.workspace.endpoints / "shop").glob("*.jsonl"))
    path.write_bytes(b'{"time": "x"}\nnot json\n\xff\xfe\n' + path.read_bytes() + b'{"time": "2026')
    rows = [*people(), {"question": "Return?", "answer": WRITTEN.format("kettle")}]
    assert run(write(tmp_path / "rows.jsonl", rows), ctx).own_answers == 1


def test_an_answer_is_known_although_the_log_has_its_personal_data_masked(
    workspace: Workspace, context: Callable[..., StepContext], tmp_path: Path
) -> None:
    said = "Write to care@shop.example.org, and we send the money within two days of your letter."
    traffic = TrafficLog.of(workspace, "shop")
    traffic.append(
        TrafficRow(
            "2026-01-01T00:00:00.000Z", "r1", "v1-0a1b2c3d", "stable", "money?", said, "ok", None, 1.0, 1
        )
    )
    traffic.close()
    rows = [*people(), {"question": "Where is my money?", "answer": said}]
    assert run(write(tmp_path / "rows.jsonl", rows), context(), own_answers="keep").own_answers == 1
