from __future__ import annotations

from opswright.core.artifact_refs import BundleRef
from opswright.serving.gateway.router import choose
from opswright.serving.releases import EndpointState, Release


def release(number: int) -> Release:
    return Release(id=f"v{number}-abc", number=number, bundle=BundleRef.of("0" * 64), made="2026-01-01")


def split(percent: int, canary: int = 2) -> EndpointState:
    return EndpointState(
        endpoint="support", stable=release(1), canary=release(canary), canary_percent=percent
    )


def canaries(state: EndpointState, keys: int = 10_000) -> set[str]:
    routed = {f"user-{n}": choose(state, f"user-{n}") for n in range(keys)}
    return {key for key, chosen in routed.items() if chosen is not None and chosen[1] == "canary"}


def test_a_canary_gets_its_percentage_of_sessions() -> None:
    for percent in (1, 10, 50, 99):
        assert abs(len(canaries(split(percent))) / 10_000 - percent / 100) < 0.012


def test_a_session_stays_on_its_release_and_raising_the_percentage_only_adds_sessions() -> None:
    ten, thirty = canaries(split(10)), canaries(split(30))
    assert ten == canaries(split(10))
    assert ten < thirty


def test_another_canary_meets_another_sample_of_sessions() -> None:
    first, second = canaries(split(10, canary=2)), canaries(split(10, canary=3))
    assert len(first & second) < 0.3 * len(first)


def test_without_a_canary_everyone_gets_stable_and_without_a_release_nobody_is_routed() -> None:
    assert choose(EndpointState(endpoint="support", stable=release(1)), "anyone") == (release(1), "stable")
    assert choose(EndpointState(endpoint="support"), "anyone") is None


def test_a_candidate_gets_no_traffic() -> None:
    state = EndpointState(endpoint="support", stable=release(1), candidate=release(2))
    assert {choose(state, f"user-{n}") for n in range(500)} == {(release(1), "stable")}
