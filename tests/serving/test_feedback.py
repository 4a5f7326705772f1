"""What users say of answers: taken in, joined to requests, and read as labels."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from opswright.data.sample import Sample
from opswright.serving.gateway.traffic_log import TrafficLog
from opswright.serving.releases import now
from opswright.serving.traffic.samples import export_row, labelled_requests, share_right, traffic_samples
from tests.serving.test_traffic_log import row as traffic_row

if TYPE_CHECKING:
    from tests.serving.conftest import House


@pytest.fixture
def served(house: House) -> House:
    house.rollout().deploy(house.bundle("one"), None, 100)
    return house


def say(house: House, **fields: Any) -> httpx.Response:
    return house.run(house.call("POST", "/v1/feedback", body={"model": "support", **fields}))


def asked(house: House, text: str) -> str:
    """The id of the answer to a question, as its client has it."""
    return str(house.chat(text).json()["id"])


def labels(house: House) -> list[tuple[str, str | None, bool]]:
    found = labelled_requests(house.workspace, "support")
    return [(one.row.text, one.right_answer, one.is_right) for one in found]


def samples(house: House, only_labelled: bool = True) -> list[Sample]:
    return list(traffic_samples(house.workspace, "support", only_labelled=only_labelled))


def test_a_thumb_and_the_right_answer_are_joined_to_their_requests(served: House) -> None:
    up, down, told, _ = (asked(served, text) for text in ("one", "two", "three", "four"))
    assert say(served, id=up, thumb="up").json() == {
        "object": "feedback", "id": up, "model": "support", "thumb": "up", "comment": "",
    }  # fmt: skip
    assert say(served, id=down, thumb="down", comment="not at all").status_code == 200
    assert say(served, id=told, answer="lost card").status_code == 200
    assert labels(served) == [
        ("one", "answer of 1", True),
        ("two", None, False),
        ("three", "lost card", False),
    ]
    assert share_right(labelled_requests(served.workspace, "support")) == pytest.approx(1 / 3)


def test_an_answer_in_json_is_the_same_however_it_is_laid_out(served: House) -> None:
    served.server.says = '{"city": "Rome", "sum": 5}'
    for said in ('{"sum":5,"city":"Rome"}', '{"sum":6,"city":"Rome"}'):
        number = served.chat("hello").json()["id"]
        body = {"model": "support", "id": number, "answer": said}
        assert served.run(served.call("POST", "/v1/feedback", body=body)).status_code == 200
    assert [one.is_right for one in labelled_requests(served.workspace, "support")] == [True, False]


def test_the_last_word_on_an_answer_counts(served: House) -> None:
    number = asked(served, "one")
    say(served, id=number, thumb="down")
    say(served, id=number, answer=" Answer of 1 ")
    assert labels(served) == [("one", "Answer of 1", True)]


def test_the_id_of_the_request_itself_will_do(served: House) -> None:
    served.chat("one", {"x-request-id": 'my "own" id'})
    served.chat("two", {"x-request-id": "plain"})
    assert say(served, id='my "own" id', thumb="down").status_code == 200
    assert say(served, id="plain", thumb="up").status_code == 200
    assert labels(served) == [("one", None, False), ("two", "answer of 1", True)]


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"id": "chatcmpl-unknown", "thumb": "up"}, 404, "request_not_found"),
        ({"id": "known", "thumb": "up", "model": "nobody"}, 404, "model_not_found"),
        ({"id": "known"}, 400, "bad_request"),
        ({"id": "known", "thumb": "sideways"}, 400, "bad_request"),
        ({"id": "known", "answer": "  "}, 400, "bad_request"),
        ({"id": "known", "thumbs": "up", "thumb": "up"}, 400, "bad_request"),
        ({"id": "know", "thumb": "up"}, 404, "request_not_found"),
        ({"id": '","text":"', "thumb": "up"}, 404, "request_not_found"),
    ],
)
def test_feedback_that_fits_no_request_is_refused(
    served: House, fields: dict[str, Any], status: int, code: str
) -> None:
    served.chat('"id":"know",', {"x-request-id": "known"})
    reply = say(served, **fields)
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)
    assert labels(served) == []


def test_personal_data_in_what_is_said_is_masked_too(served: House) -> None:
    say(served, id=asked(served, "one"), answer="write to ada@example.org", comment="or 4111 1111 1111 1111")
    (one,) = labelled_requests(served.workspace, "support")
    assert (one.right_answer, one.feedback.comment) == ("write to <email>", "or <card>")


def test_an_id_with_personal_data_finds_its_request_all_the_same(served: House) -> None:
    served.chat("one", {"x-request-id": "ada@example.org"})
    served.chat("two", {"x-request-id": "eve@example.org"})
    assert say(served, id="ada@example.org", thumb="up").status_code == 200
    assert labels(served) == [("one", "answer of 1", True)]


def test_labelled_traffic_is_samples_without_marks_of_the_endpoint(
    served: House,
) -> None:
    told, wrong, rest = (asked(served, text) for text in ("one", "two", "three"))
    say(served, id=told, answer="lost card")
    say(served, id=wrong, thumb="down")
    number = told.removeprefix("chatcmpl-")
    (labelled,) = samples(served)
    assert (labelled.id, labelled.question, labelled.targets) == (f"feedback-{number}", "one", ("lost card",))
    assert labelled.tags == {"endpoint": "support", "told_by": "answer"}
    assert "release" not in export_row(labelled)
    assert export_row(labelled)["label"] == "lost card"
    first, other = samples(served, only_labelled=False)
    assert first == labelled
    assert (other.id, other.answer) == (rest.removeprefix("chatcmpl-"), "answer of 1")
    assert other.tags["release"].startswith("v1-")


def test_a_request_is_found_in_any_segment_of_a_long_log(served: House) -> None:
    log = TrafficLog(served.workspace.endpoints / "support", segment_bytes=1000)
    rows = [replace(traffic_row(number), time=now()) for number in range(60)]  # old ones are forgotten
    for one in rows:
        log.append(one)
    log.close()
    for number in (0, 30, 59):
        assert say(served, id=f"r{number}", thumb="up").status_code == 200
    assert [text for text, _, _ in labels(served)] == [rows[n].text for n in (0, 30, 59)]
