"""The controller: what is served follows what is desired, whatever dies or is damaged in between."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from opswright.serving.gateway.traffic_log import read
from opswright.serving.releases import desired_path, read_state, write_state

if TYPE_CHECKING:
    from tests.serving.conftest import House


@pytest.fixture
def served(house: House) -> House:
    house.rollout().deploy(house.bundle("one"), None, 100)
    return house


def test_after_a_death_of_the_server_everything_desired_is_loaded_again(served: House) -> None:
    served.rollout().deploy(served.bundle("two"), None, 50)
    served.rollout("orders").deploy(served.bundle("three"), None, 100)
    served.server.is_up = False
    assert served.chat("hello").status_code == 200
    served.wait(lambda: len(served.server.models) == 3, "all three releases are loaded again")
    assert served.server.starts == 2


def test_no_request_fails_while_the_server_is_dead_for_a_moment(served: House) -> None:
    served.server.is_up = False
    asked = [served.begin(served.call("POST", "/v1/chat/completions", body=body(n))) for n in range(20)]
    assert {one.result(timeout=120).status_code for one in asked} == {200}


def body(number: int) -> dict[str, object]:
    return {
        "model": "support",
        "user": f"u{number}",
        "messages": [{"role": "user", "content": f"hello {number}"}],
    }


def test_traffic_moves_only_when_the_new_release_answers(served: House) -> None:
    state = read_state(served.workspace, "support")
    two = served.bundle("two")
    served.server.ails[2] = "load"
    assert state.stable is not None
    broken = state.stable.model_copy(update={"id": "v2-broken", "number": 2, "bundle": two})
    write_state(served.workspace, state.model_copy(update={"stable": broken}))
    served.wait(lambda: 2 in served.server.loads, "the broken release was tried")
    assert served.chat("hello").headers["x-opswright-release"] == state.stable.id
    life = served.rollout().fleet.life("support")
    assert "engine is broken" in (life.releases["v2-broken"] or "")


def test_a_release_leaves_only_when_its_last_request_is_answered(served: House) -> None:
    async def hold() -> None:
        served.server.gate = asyncio.Event()

    async def free() -> None:
        assert served.server.gate is not None
        served.server.gate.set()

    first = read_state(served.workspace, "support").stable
    served.run(hold())
    asked = served.begin(served.call("POST", "/v1/chat/completions", body=body(1)))
    served.wait(lambda: served.controller.in_flight == 1, "the request is at the engine")
    state = read_state(served.workspace, "support")
    assert first is not None
    second = first.model_copy(update={"id": "v2-next", "number": 2})
    write_state(served.workspace, state.model_copy(update={"stable": second}))
    served.wait(lambda: served.rollout().fleet.life("support").serial == state.serial + 1, "traffic moved")
    assert f"support-v{first.number}" in served.server.models
    served.run(free())
    assert asked.result(timeout=120).headers["x-opswright-release"] == first.id
    served.wait(lambda: list(served.server.models) == ["support-v2"], "the first release left")


def test_a_release_that_is_wanted_again_while_it_leaves_comes_back_when_it_has_left(served: House) -> None:
    served.server.unload_s = 0.3
    state = read_state(served.workspace, "support")
    assert state.stable is not None
    second = state.stable.model_copy(update={"id": "v2-next", "number": 2})
    moved = write_state(served.workspace, state.model_copy(update={"stable": second}))
    served.wait(lambda: served.rollout().fleet.life("support").serial == moved.serial, "traffic moved")
    back = write_state(served.workspace, moved.model_copy(update={"stable": state.stable}))
    served.wait(lambda: served.rollout().fleet.life("support").serial == back.serial, "traffic moved back")
    assert served.chat("hello").headers["x-opswright-release"] == state.stable.id
    assert served.server.loads == [1, 2, 1]
    assert "release_reloads_total{" not in served.get("/metrics").text  # it was never found dead


def test_a_damaged_state_changes_nothing_of_what_is_served(served: House) -> None:
    desired_path(served.workspace, "support").write_bytes(b'{"endpoint": "support", "stab')
    served.wait(lambda: served.controller.endpoints["support"].fault is not None, "the fault was seen")
    assert served.chat("hello").status_code == 200


def test_a_damaged_bundle_is_not_loaded(served: House) -> None:
    bundle = served.bundle("two")
    weights = served.workspace.artifacts.folder(bundle) / "files" / "engine" / "model.onnx"
    weights.write_text("weights of somebody else")
    state = read_state(served.workspace, "support")
    assert state.stable is not None
    second = state.stable.model_copy(update={"id": "v2-bad", "number": 2, "bundle": bundle})
    write_state(served.workspace, state.model_copy(update={"candidate": second}))
    served.wait(
        lambda: bool(served.rollout().fleet.life("support").releases.get("v2-bad")), "the release is refused"
    )
    assert "model.onnx" in (served.rollout().fleet.life("support").releases["v2-bad"] or "")
    assert 2 not in served.server.loads


def test_requests_log_the_release_that_answered_them_through_a_switch(served: House) -> None:
    served.chat("before")
    served.rollout().deploy(served.bundle("two"), None, 100)
    served.chat("after")
    assert [row.model_version for row in read(served.workspace, "support")] == [1, 2]


def test_a_server_that_is_taken_over_keeps_its_releases_behind_their_rails_and_loses_the_others(
    house: House,
) -> None:
    house.rollout().deploy(house.bundle("one"), house.guardrails(), 100)
    (model,) = house.server.models.values()
    house.server.left = {model.name: model, "gone-v1": replace(model, name="gone-v1")}
    house.close()  # and the gateway is started anew while its server lives
    house.server.loads.clear()
    house.open()
    assert house.chat("a bomb").headers["x-opswright-rail"] == "topics"
    assert house.server.loads == []
    assert list(house.server.models) == [model.name]


def test_a_gateway_that_has_not_looked_yet_says_come_again_and_not_that_there_is_nothing(
    served: House,
) -> None:
    served.close()
    served.open(starts=False)
    reply = served.chat("hello")
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
    served.run(served.controller.start())
    served.wait(lambda: served.chat("hello").status_code == 200, "it has looked")
    assert served.chat("hello", model="nobody").status_code == 404


def test_while_its_server_starts_a_gateway_holds_requests_for_what_it_knows(served: House) -> None:
    served.server.cannot_start = True
    served.close()
    served.open()
    served.wait(lambda: served.controller.knows_endpoints, "it has read what is desired")
    asked = served.begin(served.call("POST", "/v1/chat/completions", body=body(1)))
    served.server.cannot_start = False
    assert asked.result(timeout=120).status_code == 200
