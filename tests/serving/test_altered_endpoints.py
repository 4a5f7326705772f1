"""Files of an endpoint's folder that somebody copied or altered: a fault of one endpoint, and of no other."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from opswright.core.errors import IntegrityError
from opswright.serving.canary.pair_log import PairLog
from opswright.serving.gateway.feedback import latest_feedback
from opswright.serving.gateway.traffic_log import read
from opswright.serving.releases import endpoint_names, read_state
from tests.serving.test_canary_watch import ship, watch_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.serving.conftest import House


@pytest.mark.parametrize("copy", ["support.bak", ".support", "Support"])
def test_a_copy_of_an_endpoints_folder_stops_no_other(served: House, copy: str) -> None:
    folder = served.workspace.endpoints
    shutil.copytree(folder / "support", folder / copy)
    assert endpoint_names(served.workspace) == ["support"]
    assert served.rollout("orders").deploy(served.bundle("one"), None, 100).route == "stable"


def test_a_copy_under_another_name_is_no_endpoint(served: House) -> None:
    folder = served.workspace.endpoints
    shutil.copytree(folder / "support", folder / "shop")
    with pytest.raises(IntegrityError, match="the state of endpoint support, not of shop"):
        read_state(served.workspace, "shop")
    assert served.rollout("orders").deploy(served.bundle("one"), None, 100).route == "stable"
    assert served.get("/v1/models/shop").status_code == 404


def test_a_state_that_cannot_be_read_stops_no_other_endpoint(served: House) -> None:
    (served.workspace.endpoints / "shop" / "desired.json").mkdir(parents=True)
    with pytest.raises(IntegrityError, match="cannot be read"):
        read_state(served.workspace, "shop")
    assert served.rollout("orders").deploy(served.bundle("one"), None, 100).route == "stable"


@pytest.mark.parametrize("name", ["traffic-backup.jsonl", "traffic-000001-copy.jsonl"])
def test_a_copy_of_a_segment_is_not_read_and_stops_no_answer(served: House, name: str) -> None:
    served.chat("hello")
    folder = served.workspace.endpoints / "support"
    shutil.copy(folder / "traffic-000001.jsonl", folder / name)
    served.close()
    served.open()
    served.wait(lambda: served.get("/readyz").status_code == 200, "it is ready")
    assert served.chat("hello").status_code == 200
    assert len(read(served.workspace, "support")) == 2


def test_altered_rows_are_left_out_and_the_others_read(served: House) -> None:
    number = served.chat("hello").json()["id"]
    said = {"model": "support", "id": number, "thumb": "up"}
    assert served.run(served.call("POST", "/v1/feedback", body=said)).status_code == 200
    folder = served.workspace.endpoints / "support"
    for name in ("traffic-000001.jsonl", "feedback-000001.jsonl"):
        _append_altered(folder / name)
    assert len(read(served.workspace, "support", after="2020-01-01")) == 1
    assert len(latest_feedback(served.workspace, "support", "2020-01-01")) == 1
    canary = ship(served, shadow=100)
    served.chat("hello", {"x-request-id": "one"})
    pairs = PairLog(served.workspace, "support", canary)
    pairs.path.write_text('{"id": "x", "kind": "shadow", "canary": {"status": "ok", "latency_ms": "x"}}\n')
    assert watch_of(served).look("support") == []
    assert list(pairs.rows()) == []


def _append_altered(file: Path) -> None:
    row = json.loads(file.read_text().splitlines()[0])
    altered = [{"time": 5}, {"id": None}, {"caller": ["ada"]}]
    with file.open("a") as more:
        more.writelines(json.dumps(row | one) + "\n" for one in altered)
        more.write("[" * 20_000 + "\n")
