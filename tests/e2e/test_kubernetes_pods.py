"""What pods of a release would run, run here: init containers, a real Triton, its probes, a real gateway.

Commands, arguments, variables, files and probes are the manifests'; a pod's folders are folders of the
test. What only a cluster does is not shown: networks, scheduling, images.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from opswright.core.settings import load_settings
from opswright.core.settings.serving import StoreSettings
from opswright.core.workspace import Workspace
from opswright.serving.gateway.traffic_log import read
from opswright.serving.keys.redis_keys import SharedKeyStore
from opswright.serving.keys.redis_usage import RedisUsage
from opswright.serving.keys.store import KeyStore, Limits, NewKey
from opswright.serving.shipped_traffic import pull
from opswright.serving.traffic.samples import labelled_requests
from opswright.serving.triton.environment import PlatformFacts, locate

from .asking import wait_until
from .pods_here import SECRET, PodHere, Site

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


@pytest.fixture
def site(tmp_path: Path, triton_home: Path, free_port: Callable[[], int]) -> Iterator[Site]:
    install = locate(triton_home, PlatformFacts.here(), print)
    workspace = Workspace(load_settings(home=tmp_path / "home"))
    found = Site(tmp_path, workspace, install, free_port)
    yield found
    for pod in found.pods:
        pod.end()


def test_the_pods_of_a_release_answer_users_and_prove_who_they_are(
    site: Site, engines: tuple[Path, Path]
) -> None:
    release = site.release(engines[0], "one")
    key = KeyStore(site.workspace).create("webshop")
    triton = site.triton(release)
    wait_until(lambda: triton.probe("startupProbe").returncode == 0, "Triton does not get ready")
    assert triton.probe("livenessProbe").returncode == 0
    assert httpx.get(f"http://127.0.0.1:{site.port}/v2/health/live", timeout=60).status_code == 403

    _, url = site.gateway(release, site.workspace.root / "keys.json")

    wait_until(lambda: answers(url), "the gateway does not get ready")
    assert httpx.get(f"{url}/readyz", timeout=60).json() == {"ready": True, "serves": release.serves}
    asked = {"model": "shop", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 3}
    bearer = {"authorization": f"Bearer {key.text}"}
    answer = httpx.post(f"{url}/v1/chat/completions", json=asked, headers=bearer, timeout=60)
    assert answer.status_code == 200 and answer.headers["x-opswright-release"] == release.id
    assert httpx.post(f"{url}/v1/chat/completions", json=asked, timeout=60).status_code == 401

    triton.end()
    wait_until(lambda: not answers(url), "the gateway is ready without Triton")
    assert triton.probe("livenessProbe").returncode == 1
    site.start_triton(triton)
    wait_until(lambda: answers(url), "the gateway does not come back")


def test_a_triton_of_another_release_is_ready_for_nobody(site: Site, engines: tuple[Path, Path]) -> None:
    wanted, other = site.release(engines[0], "one"), site.release(engines[1], "two")
    bearer = {"authorization": f"Bearer {KeyStore(site.workspace).create('webshop').text}"}
    running = site.triton(other, "other")
    wait_until(lambda: running.probe("readinessProbe").returncode == 0, "Triton does not get ready")
    mistaken = site.pod(wanted, "triton", "mistaken")
    mistaken.replaced = running.replaced
    says = f"release {other.id} answers, not {wanted.id}"
    wait_until(lambda: says in mistaken.probe("readinessProbe").stderr, "the probe takes it for its own")
    _, url = site.gateway(wanted, site.workspace.root / "keys.json")

    def document() -> dict[str, Any]:
        try:
            return dict(httpx.get(f"{url}/readyz", headers=bearer, timeout=60).json())
        except (httpx.HTTPError, json.JSONDecodeError):
            return {}

    def refused() -> dict[str, Any]:
        """What the gateway says once it has met that Triton and did not take it; empty before."""
        found = document()
        errors = [row.get("error", "no answer") for row in found.get("releases", ())]
        return found if any(error != "no answer" for error in errors) else {}

    seen: list[dict[str, Any]] = []

    def looked() -> bool:
        seen.append(refused())
        return bool(seen[-1])

    wait_until(looked, "the gateway never looked")
    assert seen[-1]["ready"] is False and seen[-1]["serves"] != wanted.serves


def test_files_that_were_changed_where_they_lie_are_not_served(
    site: Site, engines: tuple[Path, Path]
) -> None:
    release = site.release(engines[0], "one")
    pod = site.pod(release, "triton", "triton")
    (weights,) = pod.folder("/artifacts").glob("artifacts/bundle/*/files/engine/model.onnx")
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    done = pod.fetch()
    assert done.returncode == 7 and "model.onnx" in done.stderr
    assert not (pod.folder("/models") / "repository").exists()


def test_files_that_are_not_there_are_named(site: Site, engines: tuple[Path, Path]) -> None:
    release = site.release(engines[0], "one")
    pod = site.pod(release, "triton", "triton")
    shutil.rmtree(pod.folder("/artifacts") / "artifacts")
    done = pod.fetch()
    assert done.returncode == 2 and f"no {release.bundle.short} at" in done.stderr


def asked(url: str, key: str, **more: Any) -> httpx.Response:
    body = {"model": "shop", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 3, **more}
    bearer = {"authorization": f"Bearer {key}"}
    return httpx.post(f"{url}/v1/chat/completions", json=body, headers=bearer, timeout=60)


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=60).status_code == 200
    except httpx.HTTPError:
        return False


def knows(url: str, key: str) -> bool:
    """Whether a gateway lets a key in; asked of what counts against no limit."""
    bearer = {"authorization": f"Bearer {key}"}
    return httpx.get(f"{url}/v1/models", headers=bearer, timeout=60).status_code == 200


def test_two_gateway_pods_share_keys_limits_and_traffic_whatever_dies(
    site: Site,
    engines: tuple[Path, Path],
    redis_server: Callable[..., Any],
    s3_bucket: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One Redis that asks for a password and writes each change down, one S3, two pods, one Triton."""
    monkeypatch.setenv("STORE_PASSWORD", SECRET)
    redis = redis_server("--requirepass", SECRET, "--appendonly", "yes", "--appendfsync", "always")
    store = StoreSettings.model_validate(
        {"url": redis.url, "password": "secret:env:STORE_PASSWORD", "timeout_s": 20}
    )
    keys = SharedKeyStore(store)
    limited = keys.create("limited", limits=Limits(requests_per_minute=4))
    webshop = keys.create("webshop", limits=Limits(budget_tokens=100_000, budget_period="forever"))
    release = site.release(engines[0], "one")
    triton = site.triton(release)
    wait_until(lambda: triton.probe("startupProbe").returncode == 0, "Triton does not get ready")
    shared = {
        "store": {"url": redis.url},
        "traffic": {"ship_to": f"s3://{s3_bucket}/logs", "ship_every_s": 2},
        "secrets": {"traffic": "writer"},
    }
    pods = [site.gateway(release, None, f"gateway-{number}", **shared) for number in range(2)]
    (one, first), (_, second) = pods
    for url in (first, second):
        wait_until(lambda at=url: answers(at), "a gateway does not get ready")  # type: ignore[misc]

    let_in = one_limit_holds_over_both(first, second, limited.text)
    late = keys_change_for_both(first, second, keys, limited)
    reply = use_outlives_a_pod_and_the_store(
        one, first, second, redis, RedisUsage(store, None), webshop, late
    )
    one.start([sys.executable])  # the killed pod's container begins again, on its folder
    wait_until(lambda: answers(first), "the pod does not come back")
    feedback_joins_through_the_other_pod(second, webshop.text, reply["id"])
    for pod, _ in pods:
        pod.end()

    home = Workspace(load_settings(home=site.root / "analyst"))
    assert pull(home, "shop", f"s3://{s3_bucket}/logs", since=None, own=None).new >= 3
    rows = read(home, "shop", pulled=True)
    ids = [row.id for row in rows]
    assert len(set(ids)) == len(ids)
    by_caller = Counter(row.caller for row in rows if row.status == "ok")
    assert by_caller == {"limited": let_in, "webshop": 3, "late": 1}
    (labelled,) = labelled_requests(home, "shop")
    assert labelled.right_answer == "lost_card" and labelled.row.caller == "webshop"
    files = [path for pod, _ in pods for path in pod.root.rglob("*") if path.is_file()]
    assert not any(SECRET.encode() in path.read_bytes() for path in files)


def one_limit_holds_over_both(first: str, second: str, key: str) -> int:
    """Asks both in turns, more often than the limit of 4 a minute lets in; how many were let in."""
    codes = [asked(url, key).status_code for url in (first, second) * 4]
    assert codes.count(200) in range(4, 7) and codes[-1] == 429  # a minute may turn in between
    return codes.count(200)


def keys_change_for_both(first: str, second: str, keys: SharedKeyStore, revoked: NewKey) -> NewKey:
    """A key that is taken back is refused by both, a new one is let in by both; the new one."""
    keys.revoke(revoked.key.name)
    wait_until(lambda: not knows(first, revoked.text) and not knows(second, revoked.text), "it still opens")
    new = keys.create("late")
    wait_until(lambda: knows(first, new.text) and knows(second, new.text), "a new key is not taken")
    return new


def use_outlives_a_pod_and_the_store(
    pod: PodHere,
    first: str,
    second: str,
    redis: Any,
    counts: RedisUsage,
    budgeted: NewKey,
    unlimited: NewKey,
) -> dict[str, Any]:
    """What a key used is still counted when a pod and the store were killed; the killed pod's reply."""
    told = [asked(url, budgeted.text) for url in (first, second)]
    assert [reply.status_code for reply in told] == [200, 200]
    used = sum(reply.json()["usage"]["total_tokens"] for reply in told)
    wait_until(lambda: counts.used(budgeted.key).tokens == used, "it is not counted")
    pod.kill()
    redis.kill()
    assert asked(second, budgeted.text).status_code == 503  # limits cannot be looked at
    assert asked(second, unlimited.text).status_code == 200  # and a key without any goes on
    redis.start()
    wait_until(lambda: asked(second, budgeted.text).status_code == 200, "the store is not used again")
    counts.close()
    wait_until(lambda: counts.used(budgeted.key).requests == 3, "what was used before is forgotten")
    counts.close()
    return dict(told[0].json())


def feedback_joins_through_the_other_pod(url: str, key: str, answer: str) -> None:
    """What users say to one pod of an answer that another gave joins it when traffic is read."""
    said = {"model": "shop", "id": answer, "answer": "lost_card"}
    bearer = {"authorization": f"Bearer {key}"}
    reply = httpx.post(f"{url}/v1/feedback", json=said, headers=bearer, timeout=60)
    assert reply.status_code == 200 and reply.json()["joined"] == "when read"
