"""What drift compares with: training data, earlier traffic, the model's own answers; and many windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest

from opswright.core.artifact_refs import BundleRef, DatasetRef
from opswright.core.contract import StepContext
from opswright.core.errors import AskError
from opswright.engines import Chat, GenerationOptions, GenerationResult, registry
from opswright.engines.builders import EngineBuilder
from opswright.engines.registry import TargetOptions
from opswright.serving.gateway.traffic_log import TrafficLog, TrafficRow
from opswright.serving.releases import EndpointState, new_release, write_state
from opswright.skills.drift import DriftRequest, DriftResult, drift
from opswright.skills.drift.evidence import after_window

Context = Callable[..., StepContext]
TOPICS = {
    "billing": "pay my {n} bill of {m} dollars for the {w} account",
    "travel": "book a {w} flight to city {n} with {m} bags",
    "kitchen": "how long do i cook {m} {w} eggs in {n} cups of water",
    "garden": "when should i plant {n} {w} roses in {m} rows",
}
WORDS = ("red", "old", "new", "big", "small", "cheap", "early", "late")


def ask(topic: str, rng: np.random.Generator) -> tuple[str, str]:
    n, m = rng.integers(1, 30, 2)
    return TOPICS[topic].format(n=n, m=m, w=rng.choice(WORDS)), topic


def asks(n: int, seed: int, **shares: float) -> list[tuple[str, str]]:
    """So many questions of topics with these shares."""
    rng = np.random.default_rng(seed)
    return [ask(topic, rng) for topic in rng.choice(list(shares), n, p=list(shares.values()))]


EVEN = {"billing": 0.34, "travel": 0.33, "kitchen": 0.33}
SKEWED = {"billing": 0.9, "travel": 0.05, "kitchen": 0.05}


class Knows:
    """An engine that answers the topic of a question."""

    version = "knows 1"

    def generate(
        self, chats: Sequence[Chat], options: GenerationOptions, progress: Any = None
    ) -> list[GenerationResult]:
        first = {form.split()[0]: topic for topic, form in TOPICS.items()}
        return [GenerationResult(first.get(chat[-1]["content"].split()[0])) for chat in chats]

    def close(self) -> None: ...


def no_builder(options: TargetOptions) -> EngineBuilder:
    raise NotImplementedError


@pytest.fixture
def ctx(context: Context, monkeypatch: pytest.MonkeyPatch) -> StepContext:
    """A workspace with an endpoint `shop` whose model learned from EVEN questions and answers their topic."""
    made = context()
    target = registry.EngineTarget("knows", "Knows topics.", lambda folder, threads: Knows(), no_builder)
    monkeypatch.setattr(registry, "engine_target", lambda name: target)
    dataset = save(made, asks(1200, 1, **EVEN), asks(300, 2, **EVEN))
    with made.artifacts.staging() as stage:
        (stage / "engine").mkdir()
        (stage / "engine" / "model").write_text("x")
        bundle = made.artifacts.save(BundleRef, stage, {"target": "knows"}, [dataset])
    state = EndpointState(endpoint="shop")
    write_state(
        made.workspace, state.model_copy(update={"stable": new_release(state, bundle, None, "knows")})
    )
    return made


def save(
    ctx: StepContext,
    train: list[tuple[str, str]],
    held_out: list[tuple[str, str]],
    task: str = "classify",
) -> DatasetRef:
    rows = [(*row, "train") for row in train] + [(*row, "validation") for row in held_out]
    with ctx.artifacts.staging() as stage:
        pl.DataFrame(rows, schema=["text", "label", "split"], orient="row").write_parquet(
            stage / "rows.parquet"
        )
        return ctx.artifacts.save(DatasetRef, stage, {"rows": len(rows), "task": task})


def traffic(ctx: StepContext, rows: list[tuple[str, str]], day: int) -> None:
    log = TrafficLog(ctx.workspace.endpoints / "shop")
    for i, (text, said) in enumerate(rows):
        time = f"2026-11-{day:02d}T{10 + i // 3600:02d}:{i // 60 % 60:02d}:{i % 60:02d}.000Z"
        log.append(TrafficRow(time, f"d{day}-{i}", "v1", "stable", text, said, "ok", None, 2.0, 1))
    log.close()


def check(ctx: StepContext, **options: Any) -> DriftResult:
    return drift(DriftRequest(endpoint="shop", **options), ctx)


def fired(found: DriftResult) -> set[str]:
    return {name for name, test in found.tests.items() if test.alarm}


@pytest.mark.e2e
def test_the_reference_is_by_default_what_the_stable_model_learned_from(ctx: StepContext) -> None:
    traffic(ctx, asks(300, 3, **EVEN), 1)
    found = check(ctx)
    assert not found.alarm and found.compared_with == "1,200 training texts"
    assert {"labels", "not_labels"} <= found.tests.keys() and found.note == ""
    assert found.visible_share is not None
    assert f"shows from {found.visible_share:.0%} of the texts on" in found.message


@pytest.mark.e2e
def test_users_who_ask_other_shares_than_the_training_set_are_no_drift_from_their_own_traffic(
    ctx: StepContext,
) -> None:
    traffic(ctx, asks(1500, 4, **SKEWED), 1)
    traffic(ctx, asks(300, 5, **SKEWED), 2)
    assert {"embedding", "labels"} <= fired(check(ctx))
    own = {"reference_until": "2026-11-01T23:00:00Z", "since": "2026-11-02T00:00:00Z"}
    found = check(ctx, **own)
    assert not found.alarm and "1,500 requests answered from 2026-11-01" in found.compared_with
    traffic(ctx, asks(300, 6, billing=0.6, travel=0.05, kitchen=0.05, garden=0.3), 3)
    assert "embedding" in fired(check(ctx, **own))


def test_a_stretch_without_traffic_is_named(ctx: StepContext) -> None:
    traffic(ctx, asks(200, 3, **EVEN), 2)
    with pytest.raises(AskError, match="answered no request from its start to 2026-11-01T00:00:00Z"):
        check(ctx, reference_until="2026-11-01T00:00:00Z")


def test_a_served_model_that_answers_garbage_is_seen(ctx: StepContext) -> None:
    traffic(ctx, [(text, "zzz") for text, _ in asks(300, 3, **EVEN)], 1)
    assert fired(check(ctx)) == {"not_labels"}


@pytest.mark.parametrize("held_out", [25, 45])
def test_few_held_out_answers_in_free_text_are_not_compared_and_that_is_said(
    ctx: StepContext, held_out: int
) -> None:
    data = save(ctx, asks(1200, 1, **EVEN), asks(300, 2, **EVEN), task="generate")
    traffic(ctx, asks(200, 3, **EVEN), 1)
    found = check(ctx, reference=data, held_out=held_out)
    assert ("answers" in found.tests) is (held_out == 45)
    assert ("25 held-out ones, 40 are needed" in found.note) is (held_out == 25)


def test_what_could_not_be_compared_is_said(ctx: StepContext) -> None:
    traffic(ctx, asks(200, 3, **EVEN), 1)
    found = check(ctx, held_out=0)
    assert "labels" not in found.tests and "held_out is 0" in found.note


def test_an_endpoint_of_unknown_making_asks_for_a_reference(ctx: StepContext) -> None:
    state = EndpointState(endpoint="shop")
    write_state(ctx.workspace, state)
    traffic(ctx, asks(200, 3, **EVEN), 1)
    with pytest.raises(AskError, match="Name a dataset as `reference`, or earlier traffic"):
        check(ctx)


@pytest.mark.e2e
def test_small_changes_add_up_over_windows_and_the_same_requests_count_once(ctx: StepContext) -> None:
    mixed = {"billing": 0.46, "travel": 0.27, "kitchen": 0.27}
    grown = []
    for day in range(1, 9):
        traffic(ctx, asks(300, 20 + day, **mixed), day)
        since = f"2026-11-{day:02d}T00:00:00Z"
        found = check(ctx, since=since, alpha=0.0005)
        again = check(ctx, since=since, alpha=0.0005)
        assert again.evidence == found.evidence
        grown.append(found.evidence)
        if found.alarm:
            break
    assert found.alarm and not fired(found)
    assert f"{len(grown)} windows together" in found.message and len(grown) > 1
    traffic(ctx, asks(300, 40, **EVEN), 20)
    assert check(ctx, since="2026-11-20T00:00:00Z", alpha=0.0005).evidence < 5  # an alarm ends the count


def test_windows_of_chance_reach_the_bound_as_seldom_as_promised() -> None:
    rng = np.random.default_rng(0)
    alarms, days, budget = 0, 30, 0.005
    for _ in range(300):  # streams
        state: tuple[float, int] = (1.0, 0)
        for p in rng.uniform(size=days):
            now = after_window(float(p), state, budget, checks_per_day=1)
            if now.alarm:
                alarms += 1
                break
            state = (now.value, now.windows)
    assert alarms / 300 <= days * budget


def test_two_windows_that_could_hardly_be_chance_are_enough() -> None:
    first = after_window(1 / 8001, (1.0, 0), 0.005, checks_per_day=1)
    assert not first.alarm
    assert after_window(1 / 8001, (first.value, 1), 0.005, checks_per_day=1).alarm


def test_twice_as_many_looks_a_day_need_twice_the_evidence() -> None:
    once, twice = (after_window(0.01, (1.0, 0), 0.005, looks) for looks in (1, 2))
    assert twice.bound == 2 * once.bound == 400
