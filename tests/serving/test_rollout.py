"""Rollout: what users get changes only when the new release is seen to answer, and can be taken back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from opswright.core.artifact_refs import BundleRef
from opswright.core.errors import AskError, BackendError, HeldError, IntegrityError, OpswrightError
from opswright.core.gate import Decision
from opswright.core.workspace import Workspace
from opswright.serving.canary.judgement import Bars
from opswright.serving.releases import desired_path, read_state, stable_release
from opswright.serving.rollout import Rollout
from opswright.serving.status import status

if TYPE_CHECKING:
    from tests.serving.conftest import House


def who(house: House, sessions: int = 20) -> set[str]:
    """The releases that users meet."""
    replies = [house.chat("hello", {"x-session-id": f"s{n}"}) for n in range(sessions)]
    assert {reply.status_code for reply in replies} == {200}
    return {reply.headers["x-opswright-release"].partition("-")[0] for reply in replies}


def test_an_endpoints_first_release_is_stable_whatever_was_asked(house: House) -> None:
    done = house.rollout().deploy(house.bundle("one"), None, 10)
    assert (done.route, done.state.canary) == ("stable", None)
    assert stable_release(house.workspace, "support") == done.release
    assert done.release.engine == "onnx-int8"
    assert who(house) == {"v1"}


def test_a_canary_gets_its_share_and_promotion_gives_it_all(served: House) -> None:
    done = served.rollout().deploy(served.bundle("two"), None, 50)
    assert done.route == "canary"
    assert who(served) == {"v1", "v2"}
    promoted = served.rollout().promote()
    assert (promoted.now, promoted.verdict.decision) == ("stable", Decision.GO)
    assert who(served) == {"v2"}
    served.wait(lambda: list(served.server.models) == ["support-v2"], "the old release left the server")


def test_deploying_what_is_served_changes_nothing(served: House) -> None:
    before = read_state(served.workspace, "support")
    again = served.rollout().deploy(served.bundle("one"), None, 100)
    assert again.is_repeated and again.release == before.stable
    assert read_state(served.workspace, "support") == before


def test_the_same_bundle_behind_other_rails_is_another_release(served: House) -> None:
    done = served.rollout().deploy(served.bundle("one"), served.guardrails(), 100)
    assert done.release.id.startswith("v2-") and not done.is_repeated


def test_a_second_canary_is_refused_and_the_first_ones_share_can_be_raised(served: House) -> None:
    served.rollout().deploy(served.bundle("two"), None, 10)
    with pytest.raises(AskError, match="has a canary already"):
        served.rollout().deploy(served.bundle("three"), None, 10)
    assert served.rollout().deploy(served.bundle("two"), None, 60).state.canary_percent == 60
    assert served.rollout().deploy(served.bundle("two"), None, 100).route == "stable"
    assert who(served) == {"v2"}


@pytest.mark.parametrize("ail", ["load", "dead and stays so", "error", "liar"])
def test_a_release_that_does_not_answer_never_gets_traffic(served: House, ail: str) -> None:
    served.server.ails[2] = ail if ail != "dead and stays so" else "error"
    for percent in (10, 100):
        with pytest.raises(BackendError):
            served.rollout().deploy(served.bundle(f"bad {percent}"), None, percent)
        served.server.ails[3] = served.server.ails[2]
    state = read_state(served.workspace, "support")
    assert (state.canary, state.candidate) == (None, None)
    assert [change.what for change in state.changes] == ["deployed", "refused", "refused"]
    assert who(served) == {"v1"}


@pytest.mark.parametrize("ail", ["error", "liar", "slow"])
def test_a_canary_that_fails_is_withdrawn_instead_of_promoted(served: House, ail: str) -> None:
    served.rollout().deploy(served.bundle("two"), None, 50)
    served.server.ails[2] = ail
    judged = served.rollout().promote(probes=[f"question {n}" for n in range(25)])
    assert (judged.now, judged.verdict.decision) == ("withdrawn", Decision.NO_GO)
    assert judged.stable.startswith("v1-")
    served.server.ails.clear()
    assert who(served) == {"v1"}


def test_a_canary_whose_own_requests_failed_is_not_promoted_though_its_probes_pass(served: House) -> None:
    served.rollout().deploy(served.bundle("two"), None, 50)
    served.server.ails[2] = "error"
    statuses = [served.chat("hello", {"x-session-id": f"s{n}"}).status_code for n in range(30)]
    assert 500 in statuses
    del served.server.ails[2]
    judged = served.rollout().promote()
    assert judged.verdict.decision is Decision.NO_GO
    (row,) = [row for row in judged.verdict.rows if row.decision is Decision.NO_GO]
    assert row.name == "errors"


def test_a_canary_without_enough_traffic_stays_a_canary_when_traffic_is_asked_for(served: House) -> None:
    served.rollout().deploy(served.bundle("two"), None, 50)
    judged = served.rollout().promote(bars=Bars(min_requests=20))
    assert (judged.now, judged.verdict.decision) == ("canary", Decision.INCONCLUSIVE)
    (row,) = [row for row in judged.verdict.rows if row.name == "requests"]
    assert "0 requests of its own; 20 are asked for" in row.message
    assert who(served) == {"v1", "v2"}


def test_promoting_on_probes_alone_says_that_there_was_no_traffic(served: House) -> None:
    served.rollout().deploy(served.bundle("two"), None, 50)
    judged = served.rollout().promote()
    (row,) = [row for row in judged.verdict.rows if row.name == "requests"]
    assert "no traffic of its own" in row.message


def test_a_canary_that_took_the_judged_ones_place_is_not_promoted(served: House) -> None:
    two, three = served.bundle("two"), served.bundle("three")
    served.rollout().deploy(two, None, 50)
    served.rollout().rollback()
    served.rollout().deploy(three, None, 50)
    with pytest.raises(HeldError, match="another canary by now"):
        served.rollout().promote(only=[str(two)])
    assert "v1" in who(served)
    assert served.rollout().promote(only=[str(three)]).now == "stable"


def test_a_release_that_took_the_place_of_the_one_before_is_not_brought_back(served: House) -> None:
    before = served.bundle("one")
    served.rollout().deploy(served.bundle("two"), None, 100)
    with pytest.raises(HeldError, match="another release by now"):
        served.rollout().rollback(only=[])
    assert "v2" in who(served)
    assert served.rollout().rollback(only=[str(before)]).release.bundle == before


def test_there_is_nothing_to_promote_without_a_canary(served: House) -> None:
    with pytest.raises(AskError, match="has no canary"):
        served.rollout().promote()


def test_promoting_what_the_watch_withdrew_says_why_it_is_gone(served: House) -> None:
    canary = served.rollout().deploy(served.bundle("two"), None, 50).release.id
    served.rollout().withdraw(canary, "canary-watch", "errors: 9 of 10")
    with pytest.raises(AskError, match=rf"no canary to promote: {canary} was withdrawn at .*errors: 9 of 10"):
        served.rollout().promote()


def test_rolling_back_withdraws_the_canary_first_then_the_release(served: House) -> None:
    served.rollout().deploy(served.bundle("two"), None, 100)
    served.rollout().deploy(served.bundle("three"), None, 50)
    assert served.rollout().rollback().withdrawn.startswith("v3-")
    assert who(served) == {"v2"}
    done = served.rollout().rollback()
    assert (done.withdrawn[:3], done.release.id[:3]) == ("v2-", "v1-")
    assert who(served) == {"v1"}


def test_rolling_back_twice_does_not_bring_the_bad_release_back(served: House) -> None:
    served.rollout().deploy(served.bundle("two"), None, 100)
    served.rollout().rollback()
    with pytest.raises(AskError, match=r"nothing to go back to: it serves v1-\w+, and nothing before it"):
        served.rollout().rollback()
    with pytest.raises(AskError, match="it serves nothing"):
        served.rollout("nobody").rollback()


def test_of_two_operators_who_roll_back_at_once_the_second_is_refused(served: House) -> None:
    served.rollout().deploy(served.bundle("two"), None, 100)
    served.rollout().deploy(served.bundle("three"), None, 100)
    seen = read_state(served.workspace, "support").fingerprint
    first = served.rollout().rollback(key="ada", planned_for=seen)
    with pytest.raises(HeldError, match=r"changed since this was planned \(rolled back v2"):
        served.rollout().rollback(key="bob", planned_for=seen)
    assert who(served) == {"v2"}
    again = served.rollout().rollback(key="ada", planned_for=seen)
    assert (again.is_repeated, again.release) == (True, first.release)


def test_a_promotion_is_for_the_canary_that_was_there_when_it_was_planned(served: House) -> None:
    served.rollout().deploy(served.bundle("two"), None, 50)
    seen = read_state(served.workspace, "support").fingerprint
    served.rollout().rollback()
    served.rollout().deploy(served.bundle("two"), None, 50)
    with pytest.raises(HeldError, match="changed since"):
        served.rollout().promote(planned_for=seen)
    assert "v1" in who(served)


def test_what_was_taken_back_can_be_rolled_forward(served: House) -> None:
    two = served.bundle("two")
    served.rollout().deploy(two, None, 100)
    served.rollout().rollback()
    served.rollout().deploy(two, None, 50)
    assert served.rollout().promote().now == "stable"
    assert who(served) == {"v3"}
    assert served.rollout().rollback().release.id.startswith("v1-")


def test_a_rollback_to_a_release_that_no_longer_loads_leaves_users_where_they_are(served: House) -> None:
    served.rollout().deploy(served.bundle("two"), None, 100)
    served.wait(lambda: list(served.server.models) == ["support-v2"], "the first release left")
    served.server.ails[1] = "load"
    with pytest.raises(BackendError, match="engine is broken"):
        served.rollout().rollback()
    assert who(served) == {"v2"}
    assert [r.id[:2] for r in read_state(served.workspace, "support").previous] == ["v1"]


def test_the_same_call_again_does_nothing_and_gives_the_same(served: House) -> None:
    served.rollout().deploy(served.bundle("two"), None, 50)
    first = served.rollout().promote(key="run-1/promote")
    before = read_state(served.workspace, "support")
    again = served.rollout().promote(key="run-1/promote")
    assert (again.now, again.stable, again.canary) == (first.now, first.stable, first.canary)
    assert again.verdict.is_go
    back = served.rollout().rollback(key="run-1/rollback")
    repeated = served.rollout().rollback(key="run-1/rollback")
    assert (repeated.release.id, repeated.withdrawn) == (back.release.id, back.withdrawn)
    assert len(read_state(served.workspace, "support").changes) == len(before.changes) + 1


def test_a_call_that_was_carried_out_and_then_overtaken_is_not_reported_as_a_success(served: House) -> None:
    served.rollout().deploy(served.bundle("two"), None, 100)
    served.rollout().rollback(key="run-1/rollback")
    served.rollout().deploy(served.bundle("three"), None, 100)
    with pytest.raises(AskError, match="changed again since"):
        served.rollout().rollback(key="run-1/rollback")


def test_a_server_that_does_not_start_is_named_as_the_reason(house: House) -> None:
    house.server.cannot_start = True
    house.server.is_up = False
    house.wait(lambda: house.controller.server_fault is not None, "the controller met the fault")
    impatient = Rollout(house.workspace, "support", house.rollout().fleet, timeout_s=0.3)
    with pytest.raises(BackendError, match=r"did not load.*no server binary here"):
        impatient.deploy(house.bundle("one"), None, 100)
    assert read_state(house.workspace, "support").stable is None


def test_a_cancelled_caller_stops_and_leaves_users_where_they_are(served: House) -> None:
    class Stop(OpswrightError):
        pass

    def check() -> None:
        raise Stop("a person stopped it")

    with pytest.raises(Stop):
        served.rollout(check=check).deploy(served.bundle("two"), None, 100)
    assert read_state(served.workspace, "support").candidate is None
    assert who(served) == {"v1"}


def test_a_bundle_that_is_not_there_is_refused_before_anything_changes(served: House) -> None:
    before = read_state(served.workspace, "support")
    with pytest.raises(AskError, match="not found in"):
        served.rollout().deploy(BundleRef.of("1" * 64), None, 100)
    assert read_state(served.workspace, "support") == before


def test_a_state_that_was_damaged_is_not_overwritten(served: House) -> None:
    path = desired_path(served.workspace, "support")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(IntegrityError, match=r"desired\.json is not the state of an endpoint"):
        served.rollout().deploy(served.bundle("two"), None, 100)


@pytest.mark.parametrize("name", ["", "Support", "../x", "a/b", "-a", "a" * 41, "a b"])
def test_an_endpoints_name_is_a_safe_folder(workspace: Workspace, name: str) -> None:
    with pytest.raises(AskError, match="invalid endpoint name"):
        read_state(workspace, name)


def test_the_state_on_disk_is_plain_json_that_tells_what_was_live_when(served: House) -> None:
    served.rollout().deploy(served.bundle("two"), None, 25, key="k")
    found: Mapping[str, Any] = json.loads(Path(desired_path(served.workspace, "support")).read_text())
    assert found["canary_percent"] == 25
    assert [(c["what"], c["canary_percent"]) for c in found["changes"]] == [("deployed", 0), ("canary", 25)]
    assert found["changes"][1]["stable"] == found["stable"]["id"]


def test_status_says_what_is_deployed_though_nothing_runs(served: House) -> None:
    found = status(served.workspace)
    assert found["gateway"] is None
    (row,) = found["endpoints"]
    assert (row["endpoint"], row["answers"]) == ("support", False)
    assert row["stable"].startswith("v1-")
