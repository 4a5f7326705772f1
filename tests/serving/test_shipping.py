"""Traffic of gateways that come and go: shipped once, found again, joined with what users said elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from opswright.core.errors import AskError, IntegrityError, NeedsError
from opswright.core.registry import Registry
from opswright.core.settings import load_settings
from opswright.core.settings.serving import ServingSettings, TrafficSettings
from opswright.core.workspace import Workspace
from opswright.serving.gateway.feedback import Feedback, FeedbackLog
from opswright.serving.gateway.shipping import TrafficShipper
from opswright.serving.gateway.traffic_log import TrafficLog, TrafficRow, last_before, read
from opswright.serving.shipped_traffic import LogPart, ShippedTraffic, pull
from opswright.serving.traffic.samples import labelled_requests, traffic_samples
from opswright.ui.cli import run

if TYPE_CHECKING:
    from tests.serving.conftest import House

BEGAN = datetime.now(UTC) - timedelta(minutes=30)


def row(number: int, writer: str = "a", caller: str = "ada") -> TrafficRow:
    at = (BEGAN + timedelta(seconds=number)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return TrafficRow(
        at,
        f"{writer}-{number}",
        "c-1",
        "stable",
        f"question {number}",
        "answer",
        "ok",
        None,
        1.0,
        1,
        caller=caller,
    )


class Host:
    """A gateway's workspace with one endpoint, without the gateway."""

    def __init__(self, home: Path, address: str | None, every_s: float = 3600) -> None:
        traffic = TrafficSettings(ship_to=address, ship_every_s=every_s)
        serving = ServingSettings(traffic=traffic)
        self.workspace = Workspace(load_settings(home=home, actor="tester", serving=serving))
        self.folder = self.workspace.endpoints / "support"
        self.folder.mkdir(parents=True)
        (self.folder / "desired.json").write_text("{}")
        self.log, self.feedback = (
            TrafficLog.of(self.workspace, "support"),
            FeedbackLog.of(self.workspace, "support"),
        )

    def shipper(self) -> TrafficShipper:
        found = TrafficShipper.of(self.workspace)
        assert found is not None
        return found

    def drain(self) -> None:
        """End as a gateway does: what writes is closed, then the rest is shipped."""
        self.log.close()
        self.feedback.close()
        shipper = self.shipper()
        shipper.start()
        shipper.stop()


@pytest.fixture(params=["folder", "s3"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path / "shipped")
    return f"s3://{request.getfixturevalue('s3_bucket')}/logs/opswright"


@pytest.fixture
def host(tmp_path: Path, address: str) -> Callable[..., Host]:
    made: list[Host] = []

    def make(**options: float) -> Host:
        made.append(Host(tmp_path / f"host-{len(made)}", address, **options))
        return made[-1]

    return make


@pytest.fixture
def home(tmp_path: Path) -> Workspace:
    """Where somebody looks at what came together."""
    return Workspace(load_settings(home=tmp_path / "home", actor="tester"))


def names(address: str) -> list[str]:
    return [part.name for part in ShippedTraffic(address).parts("support")]


def test_rows_of_all_hosts_are_read_in_order_and_once(
    host: Callable[..., Host], home: Workspace, address: str
) -> None:
    one, two = host(), host()
    for number in range(0, 200, 2):
        one.log.append(row(number, "one"))
        two.log.append(row(number + 1, "two"))
    one.drain()
    two.drain()
    assert len(names(address)) == 2
    for new in (2, 0):
        found = pull(home, "support", address, since=None, own=None)
        assert (found.new, found.known) == (new, 2 - new)
    rows = read(home, "support", pulled=True)
    assert [one.text for one in rows] == [f"question {number}" for number in range(200)]
    assert [one.text for one in read(home, "support", last=3, pulled=True)] == [
        f"question {n}" for n in (197, 198, 199)
    ]
    assert read(home, "support", after=row(195).time, pulled=True)[0].text == "question 196"
    assert read(home, "support") == []  # what judges a canary, or tells what was served, is of this host
    assert last_before(home, "support", row(101).time) is None
    assert len(list(traffic_samples(home, "support"))) == 200


def test_feedback_that_came_to_another_host_joins_its_request(
    host: Callable[..., Host], home: Workspace, address: str
) -> None:
    answered, told = host(), host()
    answered.log.append(row(1, caller="ada"))
    answered.log.append(row(2, caller="eve"))
    for caller in ("ada", "mallory"):  # the id of a request is no secret, so the caller counts
        told.feedback.append(Feedback(row(9).time, "a-1", None, "lost_card", "", caller))
        told.feedback.append(Feedback(row(9).time, "a-2", "up", None, "", "mallory"))
    answered.drain()
    told.drain()
    pull(home, "support", address, since=None, own=None)
    (labelled,) = labelled_requests(home, "support")
    assert (labelled.row.id, labelled.row.caller, labelled.right_answer) == ("a-1", "ada", "lost_card")
    samples = list(traffic_samples(home, "support", only_labelled=True))
    assert [(one.question, one.answer) for one in samples] == [("question 1", "lost_card")]


def test_a_segment_is_finished_in_time_and_shipped_while_the_gateway_goes_on(
    host: Callable[..., Host], home: Workspace, address: str
) -> None:
    one = host(every_s=1)
    one.log.append(row(1))
    shipper = one.shipper()
    assert shipper.ship() and names(address) == []  # finished, but somebody may be writing to it still
    one.log.append(row(2))  # goes into the next one
    settled(one)
    assert shipper.ship()
    settled(one)
    assert shipper.ship() and len(names(address)) == 2
    one.log.append(row(3))
    assert shipper.ship() and len(names(address)) == 2
    settled(one)
    assert shipper.ship() and len(names(address)) == 3
    pull(home, "support", address, since=None, own=None)
    assert [found.id for found in read(home, "support", pulled=True)] == ["a-1", "a-2", "a-3"]
    assert [found.id for found in read(one.workspace, "support")] == [
        "a-1",
        "a-2",
        "a-3",
    ]  # and they stay there


def settled(one: Host) -> None:
    """As if nobody had written for a while."""
    for path in one.folder.glob("*.jsonl"):
        os.utime(path, (time.time() - 60, time.time() - 60))


def test_nothing_is_shipped_twice_however_often_it_is_tried_or_begun_again(
    host: Callable[..., Host], address: str
) -> None:
    one = host()
    one.log.append(row(1))
    one.drain()
    first = names(address)
    for _ in range(2):
        one.drain()
    (one.folder / "shipping.json").write_text(
        json.dumps(
            {"writer": json.loads((one.folder / "shipping.json").read_text())["writer"], "shipped": {}}
        )
    )  # killed after it was put there, before that was noted
    one.drain()
    assert names(address) == first
    again = Host.__new__(Host)  # the same pod, begun again
    again.workspace, again.folder = one.workspace, one.folder
    again.log, again.feedback = TrafficLog.of(one.workspace, "support"), one.feedback
    again.log.append(row(2))
    again.drain()
    assert len(names(address)) == 2 and set(first) < set(names(address))


def test_a_workspace_that_ships_itself_does_not_get_its_own_rows_again(
    host: Callable[..., Host], address: str
) -> None:
    one, two = host(), host()
    one.log.append(row(1, "one"))
    two.log.append(row(2, "two"))
    one.drain()
    two.drain()
    arguments = ["--home", str(one.workspace.root), "traffic", "pull", "support", "--from", address]
    assert run(arguments, Registry([])) == 0
    assert [found.id for found in read(one.workspace, "support", pulled=True)] == ["one-1", "two-2"]


def test_what_was_altered_or_cut_where_it_lies_is_named_and_the_others_come(
    host: Callable[..., Host], home: Workspace, tmp_path: Path, address: str
) -> None:
    hosts = [host() for _ in range(3)]
    for number, one in enumerate(hosts):
        one.log.append(row(number))
        one.drain()
    source = ShippedTraffic(address)
    part, *_ = source.parts("support")  # the first that is asked for
    path, data = f"{source._root}/support/{part.name}", source.get("support", part)
    source._fs.pipe_file(path, data.replace(b"answer", b"forged"))
    for _ in range(2):
        with pytest.raises(IntegrityError, match=rf"{part.name} .* altered or cut.*All others are here"):
            pull(home, "support", address, since=None, own=None)
        assert len(read(home, "support", pulled=True)) == 2
    source._fs.pipe_file(path, data)
    assert pull(home, "support", address, since=None, own=None).new == 1
    assert len(read(home, "support", pulled=True)) == 3


def test_names_that_are_no_parts_are_left_alone(home: Workspace, tmp_path: Path) -> None:
    address = tmp_path / "shipped"
    digest = "0" * 64
    for name in (
        f"2026-01-01/traffic-../../../etc-000001-{digest}.jsonl",
        f"2026-01-01/traffic-{'a' * 16}-1-{digest}.jsonl",
        f"2026-01-01/other-{'a' * 16}-000001-{digest}.jsonl",
        f"2026-01-01/traffic-{'a' * 16}-0000001-{digest}.jsonl",
        f"2026-01-01/traffic-{'a' * 16}-{chr(0x661) * 6}-{digest}.jsonl",
        "README",
    ):
        path = address / "support" / name.replace("../", "")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
        assert LogPart.of(name) is None
    found = pull(home, "support", str(address), since=None, own=None)
    assert (found.new, found.known) == (0, 0)


def test_a_part_that_no_gateway_would_ship_is_not_read(home: Workspace, tmp_path: Path) -> None:
    part = LogPart("2026-01-01", "traffic", "a" * 16, 1, "0" * 64)
    path = tmp_path / "shipped" / "support" / part.name
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        file.truncate(1 << 40)  # a hole of a terabyte
    with pytest.raises(IntegrityError, match="more than any gateway ships"):
        pull(home, "support", str(tmp_path / "shipped"), since=None, own=None)


def test_an_address_that_fails_is_tried_again_and_nothing_is_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "shipped"
    blocked.write_text("a file where a folder should be")
    one = Host(tmp_path / "host", str(blocked))
    one.log.append(row(1))
    one.drain()
    assert "is not shipped, and will be tried again" in caplog.text
    blocked.unlink()
    one.drain()
    assert len(names(str(blocked))) == 1


def test_segments_that_went_before_they_were_shipped_are_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = Host(tmp_path / "host", str(tmp_path / "shipped"))
    one.log.append(row(1))
    one.drain()
    for number in (2, 3):
        one.log.append(row(number))
        one.log.close()
        (one.folder / f"traffic-{number + 1:06d}.jsonl").touch()
    (one.folder / "traffic-000002.jsonl").unlink()
    one.drain()
    assert "1 segments of the traffic log of support were removed here before" in caplog.text
    assert len(names(str(tmp_path / "shipped"))) == 2


def test_a_gateway_that_ships_takes_feedback_to_answers_of_others(
    served: House, reopened: Callable[..., None], tmp_path: Path
) -> None:
    reopened(traffic={"ship_to": str(tmp_path / "shipped")})
    served.wait(lambda: served.chat("hello").status_code == 200, "it serves")
    said = {"model": "support", "id": "chatcmpl-of-another", "thumb": "up"}
    reply = served.run(served.call("POST", "/v1/feedback", body=said))
    assert reply.status_code == 200 and reply.json()["joined"] == "when read"
    own = {**said, "id": served.chat("hello").json()["id"]}
    assert "joined" not in served.run(served.call("POST", "/v1/feedback", body=own)).json()


@pytest.mark.parametrize("wrong", ["s3://key:secret@bucket/logs", "", " / "])
def test_an_address_that_holds_a_password_or_is_none_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="without a password"):
        TrafficSettings(ship_to=wrong)


def test_an_address_of_no_known_kind_is_said_at_the_start() -> None:
    with pytest.raises((NeedsError, AskError), match="nowhere://x"):
        ShippedTraffic("nowhere://x")


def test_pulling_says_what_is_missing_or_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["traffic", "pull", "support"], Registry([])) == 2
    assert "--from ADDRESS" in capsys.readouterr().err
    assert run(["traffic", "pull", "../x", "--from", "/tmp"], Registry([])) == 2
    assert "invalid endpoint name" in capsys.readouterr().err


def test_what_was_pulled_is_exported_for_an_endpoint_that_only_a_cluster_has(
    host: Callable[..., Host], tmp_path: Path, address: str
) -> None:
    one = host()
    one.log.append(row(1))
    one.drain()
    for command in (
        ["pull", "support", "--from", address],
        ["export", "support", "-o", str(tmp_path / "out")],
    ):
        assert run(["--home", str(tmp_path / "new"), "traffic", *command], Registry([])) == 0
    assert json.loads((tmp_path / "out").read_text())["text"] == "question 1"


def test_a_log_of_thousands_of_writers_is_read_with_few_open_files(tmp_path: Path, home: Workspace) -> None:
    for number in range(1200):
        folder = home.endpoints / "support" / "pulled" / f"{number:016x}"
        TrafficLog(folder).append(row(number, f"w{number}"))
    program = (
        "import resource,sys; resource.setrlimit(resource.RLIMIT_NOFILE,(64,64))\n"
        "from pathlib import Path\n"
        "from opswright.serving.gateway.segments import newest_first\n"
        "print(sum(1 for _ in newest_first(Path(sys.argv[1]), 'traffic', pulled=True)))"
    )
    command = [sys.executable, "-c", program, str(home.endpoints / "support")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.stdout.strip() == "1200", done.stderr
