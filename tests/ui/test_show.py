"""What a terminal shows of a plan: everything an approver consents to, and nothing that moves the cursor."""

from __future__ import annotations

import json

import pytest

from opswright.agents.agent import RunOutcome
from opswright.core.contract import Effect, Impact, Request, Result, StepContext, skill
from opswright.core.gate import GateSpec, SliceBar
from opswright.core.plan import Budget, Plan, StepCall
from opswright.core.registry import Registry
from opswright.core.text import unseen_in
from opswright.ui.console.chat.blocks import result as result_blocks
from opswright.ui.console.markup import environment
from opswright.ui.progress import PlainEvents
from opswright.ui.show import gate_words, print_json, show_outcome, show_plan

HOSTILE = "x\x1b[1A\x1b[2K\x9b8m\u202ey\x07"


def hostile_plan() -> Plan:
    step = StepCall(id="live", skill=HOSTILE, effect=Effect.SERVES, arguments={}, waive_gate=HOSTILE)
    gates = {HOSTILE: GateSpec(suite=HOSTILE)}
    return Plan(goal=f"tidy\nup{HOSTILE}", budget=Budget(), gates=gates, inputs={}, steps=(step,))


def test_the_card_of_a_plan_shows_escapes_and_obeys_none(capsys: pytest.CaptureFixture[str]) -> None:
    finding = {"level": "warn", "step": HOSTILE, "message": f"gate waived: {HOSTILE}\nforged", "fix": HOSTILE}
    impact = Impact(endpoint=HOSTILE, before=HOSTILE, after=HOSTILE)
    show_plan(hostile_plan(), Registry(), [finding], {}, [(HOSTILE, impact)])
    shown = capsys.readouterr().err
    assert not unseen_in(shown.replace("\n", "")) and "\\x1b[1A" in shown and "\\u202e" in shown
    assert "tidy\\nup" in shown and "\nforged" not in shown and "\n  forged" in shown


class TrainRequest(Request):
    data: str
    steps: int = 10
    shape: dict[str, int | None] | None = None


class TrainResult(Result):
    pass


@skill(effect=Effect.WRITES, summary="Train.")
def train(request: TrainRequest, ctx: StepContext) -> TrainResult:
    raise RuntimeError("never run here")


def test_a_plan_shows_what_was_chosen_what_it_may_take_and_which_cost_is_not_known(
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = {"data": "rows", "steps": 10, "shape": {"width": 64, "layers": None}}
    steps = [
        StepCall(id=name, skill="train", effect=Effect.WRITES, arguments=arguments) for name in ("one", "two")
    ]
    plan = Plan(goal="x", budget=Budget(minutes=1500, usd=2.5), gates={}, inputs={}, steps=tuple(steps))
    cost = {"minutes": 3.0, "gpu_hours": 0.5, "usd": 1.0, "disk_bytes": 0}
    show_plan(plan, Registry([train]), (), {"one": cost})
    shown = " ".join(capsys.readouterr().err.split())
    assert 'data=rows, shape={"width": 64}' in shown and "steps=" not in shown
    assert "3.0 min and what two will take, known when it starts, 0.5 GPU hours, 1.00 US dollars" in shown
    assert "the plan's budget: 1,500 minutes, 2.5 US dollars" in shown and "known later" in shown


def test_a_json_document_is_the_same_document_without_what_moves_text(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_json({"goal": HOSTILE, "ü": "数"})
    shown = capsys.readouterr().out
    assert json.loads(shown) == {"goal": HOSTILE, "ü": "数"} and "数" in shown
    assert not unseen_in(shown.replace("\n", ""))


def test_a_line_of_log_moves_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    PlainEvents().log("a", HOSTILE)
    assert not unseen_in(capsys.readouterr().err.replace("\n", ""))


def test_the_consoles_pages_show_escapes_too() -> None:
    page = environment().from_string("{{ goal }} {{ '<b>' }}").render(goal=HOSTILE)
    assert not unseen_in(page) and "\\u202e" in page and "&lt;b&gt;" in page


def test_every_bar_of_a_gate_is_said_even_the_lowest() -> None:
    spec = GateSpec(
        suite="A",
        min=0.0,
        min_items=1,
        slices={"s": SliceBar(min=0.0, max_drop=0.0)},
        against="stable",
        endpoint="chat",
    )
    assert gate_words(spec.model_dump()) == (
        "score on A at least 0.0%, at least 1 items, s at least 0.0%, s at most 0 points below "
        "stable, at most 5 points below stable of endpoint chat (alpha 0.05)"
    )
    assert gate_words(GateSpec(suite="A").model_dump()) == ("score on A, at least 20 items (alpha 0.05)")
    more = GateSpec.model_validate(
        {"suite": "A", "looks": 2, "slices": {"s": {"min": 0.5, "tier": "supporting"}}}
        | {"suites": {"B": {"min": 0.9}}, "latency": {"max_p95_ms": 300, "tier": "advisory"}}
        | {"cost": {"max_usd_per_1000": 0.5, "usd_per_hour": 2}}
    )
    assert gate_words(more.model_dump()) == (
        "score on A, at least 20 items, s at least 50.0% (supporting), "
        "score on B at least 90.0%, p95 at most 300 ms (advisory), "
        "at most $0.5 for 1,000 (alpha 0.05, 2 looks)"
    )


def test_rows_that_a_skill_found_are_shown_and_not_only_counted(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"row": 3, "cosine": 0.91234, "text": f"lost card{HOSTILE}", "other_row": None, "other_text": ""}]
    outcome = RunOutcome("run-1", "done", 0, "ok", results={"like": {"rows": rows, "found": 1}})
    show_outcome(outcome)
    shown = capsys.readouterr().out
    assert "found 1" in shown and "0.9123" in shown and "lost card" in shown and "other" not in shown
    assert not unseen_in(shown.replace("\n", ""))


def test_what_makes_a_figure_worth_less_is_shown_beside_it_however_long(
    capsys: pytest.CaptureFixture[str],
) -> None:
    note = "101 of 104 items are among the rows that this model learned from; " + "and so on " * 20
    result = {"n": 104, "value": 0.97, "note": note}
    show_outcome(RunOutcome("r", "done", 0, "every step is done", results={"eval": result}))
    shown = " ".join(capsys.readouterr().out.split())
    assert "eval: n 104, value 0.97 note: 101 of 104 items are among" in shown and note.strip() in shown
    assert {"type": "text", "text": f"note: {note}", "tone": "warn"} in result_blocks(result)


def test_a_step_whose_time_nobody_knows_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    def cost(minutes: float | None) -> dict[str, float | None]:
        return {"minutes": minutes, "gpu_hours": 0.0, "usd": 0.0, "disk_bytes": 0.0}

    show_plan(hostile_plan(), Registry(), [], {"live": cost(None)})
    assert "known later" in capsys.readouterr().err
    show_plan(hostile_plan(), Registry(), [], {"live": cost(2.0)})
    shown = capsys.readouterr().err
    assert "2.0 min" in shown and "known later" not in shown and "of disk" not in shown
    for size, words in ((5_000, "less than 1 MB of disk"), (2_400_000, "2 MB of disk")):
        show_plan(hostile_plan(), Registry(), [], {"live": cost(2.0) | {"disk_bytes": size}})
        assert words in " ".join(capsys.readouterr().err.split())
    show_plan(hostile_plan(), Registry())  # nothing was estimated
    assert "known later" not in capsys.readouterr().err
