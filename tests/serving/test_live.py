"""What was live at a moment, also of releases that were withdrawn long ago."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from opswright.core.errors import AskError
from opswright.core.workspace import Workspace
from opswright.serving.fleet import starts_path
from opswright.serving.live import live_at
from opswright.serving.releases import EndpointState, desired_path, now, read_state

if TYPE_CHECKING:
    from tests.serving.conftest import House


def moment() -> str:
    """A time that no change shares."""
    time.sleep(0.003)
    here = now()
    time.sleep(0.003)
    return here


def test_each_moment_of_a_canarys_life_has_its_releases_with_shares_and_digests(house: House) -> None:
    before = moment()
    one, two, rails = house.bundle("one"), house.bundle("two"), house.guardrails()
    house.rollout().deploy(one, rails, 100, key="k1")
    alone = moment()
    house.rollout().deploy(two, None, 25, key="k2")
    house.chat("hello")
    beside = moment()
    house.rollout().rollback(key="k3")
    after = moment()

    assert live_at(house.workspace, before) == []
    (live,) = live_at(house.workspace, alone)
    (only,) = live.releases
    assert (only.percent, only.route, only.bundle, only.guardrails) == (100, "stable", one, rails)
    assert (live.key, live.last_request) == ("k1", None)
    (live,) = live_at(house.workspace, beside)
    assert [(r.percent, r.bundle) for r in live.releases] == [(75, one), (25, two)]
    assert (live.stable, live.canary) == tuple(r.release for r in live.releases)
    assert live.canary_percent == 25
    assert live.last_release in {r.release for r in live.releases}
    (live,) = live_at(house.workspace, after)
    assert [(r.percent, r.bundle) for r in live.releases] == [(100, one)]
    assert live.change.startswith("withdrawn v2-") and live.key == "k3"
    assert live_at(house.workspace)[0].releases == live.releases


def test_a_state_from_before_releases_were_kept_still_says_which_release_it_was(house: House) -> None:
    house.rollout().deploy(house.bundle("one"), None, 100)
    house.rollout().deploy(house.bundle("two"), None, 25)
    beside = moment()
    house.rollout().rollback()
    path = desired_path(house.workspace, "support")
    old = EndpointState.model_validate_json(path.read_bytes()).model_copy(update={"known": ()})
    path.write_text(old.model_dump_json(exclude={"known"}))
    stable, canary = live_at(house.workspace, beside)[0].releases
    assert stable.bundle and (canary.release[:3], canary.bundle) == ("v2-", "")


def test_a_refused_release_is_known_but_was_never_live(house: House) -> None:
    house.rollout().deploy(house.bundle("one"), None, 100)
    house.server.ails[2] = "load"
    with pytest.raises(Exception, match="refused"):
        house.rollout().deploy(house.bundle("two"), None, 100)
    assert [r.number for r in read_state(house.workspace, "support").known] == [1, 2]
    assert [r.release[:3] for r in live_at(house.workspace)[0].releases] == ["v1-"]


def test_a_time_to_come_no_time_and_an_unknown_endpoint_are_told(workspace: Workspace) -> None:
    assert live_at(workspace) == []
    with pytest.raises(AskError, match="still to come"):
        live_at(workspace, "2999-01-01")
    with pytest.raises(AskError, match="ISO 8601"):
        live_at(workspace, "noon")
    with pytest.raises(AskError, match="it has none yet"):
        live_at(workspace, endpoint="nobody")


def test_the_gateways_settings_are_those_that_were_in_force_then(house: House) -> None:
    house.rollout().deploy(house.bundle("one"), None, 100)
    first, path = moment(), starts_path(house.workspace)
    path.parent.mkdir(parents=True, exist_ok=True)
    assert live_at(house.workspace)[0].gateway is None
    lines = [{"at": now(), "version": "1", "settings": {"hold_s": 20, "gateway_port": 8700}}]
    path.write_text(json.dumps(lines[0]) + "\n")
    second = moment()
    lines.append({"at": now(), "version": "1", "settings": {"hold_s": 5, "gateway_port": 8701}})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"at": "2026-')
    assert live_at(house.workspace, first)[0].gateway is None
    assert live_at(house.workspace, second)[0].gateway == lines[0]
    assert live_at(house.workspace)[0].gateway == lines[1]
