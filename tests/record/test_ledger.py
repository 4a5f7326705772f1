"""The ledger as a file: what it holds, and that no change to it goes unseen."""

from __future__ import annotations

import hashlib
import json
import random
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from opswright.core.errors import AskError, IntegrityError
from opswright.core.files import canonical_json, sha256_json
from opswright.core.principal import Principal
from opswright.record.environment import environment_facts
from opswright.record.ledger import GENESIS, Ledger, Phase, Record

RECORDS = 40
TRIALS = 60


def append(ledger: Ledger, number: int) -> Record:
    return ledger.append(
        Phase.DONE,
        principal=Principal("tester", ("releaser",), "test"),
        run="run-1",
        step=f"step-{number}",
        request={"rows": number, "text": "grüße, 世界", "of": [1, 2.5, None]},
        artifacts={"dataset": "dataset:" + f"{number:064x}"},
        detail={"seconds": number / 7},
    )


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pristine") / "ledger"
    ledger = Ledger(folder, segment_bytes=8_000)
    for number in range(1, RECORDS + 1):
        append(ledger, number)
    assert len(ledger.segments()) > 2 and ledger.verify() == []
    return folder


def lines_of(folder: Path) -> list[bytes]:
    return [
        line for path in Ledger(folder).segments() for line in path.read_bytes().splitlines(keepends=True)
    ]


def written(folder: Path, lines: list[bytes]) -> Ledger:
    """A ledger of one segment that holds these lines."""
    shutil.rmtree(folder, ignore_errors=True)
    ledger = Ledger(folder)
    folder.mkdir(parents=True)
    (folder / "000001.jsonl").write_bytes(b"".join(lines))
    return ledger


def resealed(lines: list[bytes], start: int, change: Callable[[dict[str, object]], None]) -> list[bytes]:
    """The lines with record `start` changed, and every hash from there on computed anew."""
    out, prev = list(lines[: start - 1]), json.loads(lines[start - 2])["hash"] if start > 1 else GENESIS
    for line in lines[start - 1 :]:
        body = json.loads(line)
        if body["seq"] == start:
            change(body)
        body["prev"] = prev
        del body["hash"]
        prev = sha256_json(body)
        out.append(canonical_json({**body, "hash": prev}) + b"\n")
    return out


def test_records_come_back_as_they_were_appended(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    first, second = append(ledger, 1), append(ledger, 2)

    assert list(ledger.records()) == [first, second]
    assert (first.seq, first.prev) == (1, GENESIS) and (second.seq, second.prev) == (2, first.hash)
    assert first.request == sha256_json(first.detail["request"])
    assert first.hash == sha256_json(first.unsigned())
    assert ledger.head() == (2, second.hash)


def test_the_versions_behind_an_environment_are_kept_beside_the_ledger(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    digest = append(ledger, 1).environment
    assert ledger.environment(digest) == environment_facts() and "python" in environment_facts()
    (ledger.folder / "environments" / f"{digest}.json").write_text('{"python":"2.7"}')
    assert ledger.environment(digest) is None and ledger.environment("e" * 64) is None


def test_an_empty_ledger_is_in_order(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    assert (list(ledger.records()), ledger.verify(), ledger.head()) == ([], [], (0, GENESIS))
    assert ledger.get(0) is None and ledger.get(1) is None


def test_any_record_is_found_by_its_number_in_any_segment(pristine: Path) -> None:
    ledger = Ledger(pristine)
    everything = list(ledger.records())
    for after in range(RECORDS + 2):
        assert list(ledger.records(after)) == everything[after:]
        assert ledger.get(after + 1) == (everything[after] if after < RECORDS else None)


def test_a_search_by_number_halves_its_way_through_a_long_file(tmp_path: Path, pristine: Path) -> None:
    body = json.loads(lines_of(pristine)[0])
    lines = [canonical_json({**body, "seq": seq}) + b"\n" for seq in range(1, 3001)]
    ledger = written(tmp_path / "long", lines)
    for after in (0, 1, 2, 777, 1500, 2998, 2999, 3000):
        assert [r.seq for r in ledger.records(after)] == list(range(after + 1, 3001))


def test_a_changed_byte_anywhere_is_found_at_its_record(tmp_path: Path, pristine: Path) -> None:
    lines, dice = lines_of(pristine), random.Random(1)
    for _ in range(TRIALS):
        victim = dice.randrange(RECORDS)
        changed = bytearray(lines[victim])
        at = dice.randrange(len(changed) - 1)
        changed[at] = dice.choice([b for b in range(256) if b not in (changed[at], ord("\n"))])
        faults = written(tmp_path / "l", [*lines[:victim], bytes(changed), *lines[victim + 1 :]]).verify()
        assert [fault.seq for fault in faults] == [victim + 1]


def test_a_deleted_record_is_missed(tmp_path: Path, pristine: Path) -> None:
    lines = lines_of(pristine)
    for victim in range(RECORDS - 1):  # the last one is a cut tail: see below
        faults = written(tmp_path / "l", lines[:victim] + lines[victim + 1 :]).verify()
        assert [fault.seq for fault in faults] == [victim + 1]
        assert f"record {victim + 1} is missing" in faults[0].message


def test_swapped_records_are_found_at_the_first_of_them(tmp_path: Path, pristine: Path) -> None:
    lines, dice = lines_of(pristine), random.Random(2)
    for _ in range(TRIALS):
        low, high = sorted(dice.sample(range(RECORDS), 2))
        order = list(lines)
        order[low], order[high] = order[high], order[low]
        assert [fault.seq for fault in written(tmp_path / "l", order).verify()] == [low + 1]


def test_an_inserted_record_is_found_even_with_a_right_number_and_hash(
    tmp_path: Path, pristine: Path
) -> None:
    lines, dice = lines_of(pristine), random.Random(3)
    for _ in range(TRIALS):
        where = dice.randrange(RECORDS)
        body = json.loads(lines[where])
        body["actor"] = "mallory"
        del body["hash"]
        forged = canonical_json({**body, "hash": sha256_json(body)}) + b"\n"
        faults = written(tmp_path / "l", [*lines[:where], forged, *lines[where:]]).verify()
        assert [fault.seq for fault in faults] == [where + 2]


def test_a_doubled_key_cannot_hide_behind_the_one_that_is_read(tmp_path: Path, pristine: Path) -> None:
    lines = lines_of(pristine)
    lines[4] = b'{"actor":"mallory",' + lines[4][1:]
    assert json.loads(lines[4])["actor"] == "tester"
    assert [fault.seq for fault in written(tmp_path / "l", lines).verify()] == [5]


def test_a_record_changed_with_its_own_hash_breaks_the_chain_behind_it(
    tmp_path: Path, pristine: Path
) -> None:
    lines = lines_of(pristine)
    changed = resealed(lines, 7, lambda body: body.update(actor="mallory"))
    faults = written(tmp_path / "l", changed[:7] + lines[7:]).verify()
    assert [fault.seq for fault in faults] == [8]


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"[1]\n",
        b"{}\n",
        b"not json\n",
        b"\xff\xfe\n",
        b"[" * 100_000 + b"\n",
        b"null\n",
    ],
)
def test_a_line_that_is_no_record_is_a_fault_and_not_a_crash(
    tmp_path: Path, pristine: Path, line: bytes
) -> None:
    lines = lines_of(pristine)
    lines[2] = line
    ledger = written(tmp_path / "l", lines)
    assert [fault.seq for fault in ledger.verify()] == [3]
    with pytest.raises(IntegrityError, match=r"damaged at 000001\.jsonl byte"):
        list(ledger.records())


@pytest.mark.parametrize(
    ("field", "value"),
    [("seq", "3"), ("seq", True), ("time", None), ("hash", "\ud800" * 64), ("prev", 7), ("detail", [])],
)
def test_a_field_of_the_wrong_type_is_damage(
    tmp_path: Path, pristine: Path, field: str, value: object
) -> None:
    lines = lines_of(pristine)
    lines[2] = json.dumps({**json.loads(lines[2]), field: value}).encode() + b"\n"
    assert [fault.seq for fault in written(tmp_path / "l", lines).verify()] == [3]


def test_a_missing_segment_is_missed(tmp_path: Path, pristine: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(pristine, copy)
    ledger = Ledger(copy)
    gone = ledger.segments()[1]
    first = json.loads(gone.read_bytes().splitlines()[0])["seq"]
    gone.unlink()
    assert [fault.seq for fault in ledger.verify()] == [first]


def test_a_segment_cut_in_the_middle_of_the_ledger_is_damage(tmp_path: Path, pristine: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(pristine, copy)
    ledger = Ledger(copy)
    segment = ledger.segments()[0]
    segment.write_bytes(segment.read_bytes()[:-10])
    last = segment.read_bytes().count(b"\n") + 1
    assert [fault.seq for fault in ledger.verify()] == [last]
    assert f"record {last} is cut (000001.jsonl line {last})" == ledger.verify()[0].message
    with pytest.raises(IntegrityError, match="the line is cut"):
        list(ledger.records())


def test_the_chain_alone_cannot_show_a_cut_tail_or_a_full_rewrite_but_the_head_can(
    tmp_path: Path, pristine: Path
) -> None:
    lines = lines_of(pristine)
    anchored = Ledger(pristine).head()

    cut = written(tmp_path / "l", lines[:-3])
    assert cut.verify() == [] and cut.head() != anchored

    rewritten = written(tmp_path / "l", resealed(lines, 1, lambda body: body.update(actor="mallory")))
    assert rewritten.verify() == [] and rewritten.head() != anchored


def test_a_tail_torn_at_any_byte_is_set_aside_and_the_rest_kept(tmp_path: Path, pristine: Path) -> None:
    lines = lines_of(pristine)[:3]
    whole = b"".join(lines)
    for left in range(1, len(lines[2]), 5):
        ledger = written(tmp_path / "l", [whole[: len(whole) - left]])
        assert [record.seq for record in ledger.records()] == [1, 2]
        assert ledger.verify() == []
    ledger = written(tmp_path / "l", [whole[:-5]])
    assert append(ledger, 3).seq == 3
    assert ledger.verify() == [] and ledger.head()[0] == 3
    (aside,) = ledger.folder.glob("*.torn-*")
    assert aside.read_bytes() == lines[2][:-5]


def test_nothing_is_appended_behind_a_damaged_last_line(tmp_path: Path, pristine: Path) -> None:
    ledger = written(tmp_path / "l", [*lines_of(pristine)[:3], b"{}\n"])
    before = ledger.segments()[0].read_bytes()
    with pytest.raises(IntegrityError, match="last line"):
        append(ledger, 4)
    assert ledger.segments()[0].read_bytes() == before


def test_a_full_disk_loses_nothing_and_leaves_no_part_of_a_line(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    append(ledger, 1)
    size = ledger.segments()[0].stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 50, hard))  # the system takes 50 bytes, then no more
    try:
        with pytest.raises(OSError, match="File too large"):
            append(ledger, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert ledger.segments()[0].stat().st_size == size

    assert append(ledger, 2).seq == 2 and ledger.verify() == []


def test_what_records_name_by_its_digest_is_kept_beside_the_ledger_once(tmp_path: Path) -> None:
    ledger, data = Ledger(tmp_path / "ledger"), b'{"roles":{}}'
    digest = hashlib.sha256(data).hexdigest()
    assert ledger.kept("policies", digest) is None
    ledger.keep("policies", digest, data)
    path = ledger.folder / "policies" / f"{digest}.json"
    written = path.stat().st_mtime_ns
    ledger.keep("policies", digest, data)
    assert ledger.kept("policies", digest) == {"roles": {}} and path.stat().st_mtime_ns == written
    path.write_bytes(b"{}")
    assert ledger.kept("policies", digest) is None
    Ledger(ledger.folder).keep("policies", digest, data)
    assert ledger.kept("policies", digest) == {"roles": {}} and ledger.segments() == []


@pytest.mark.parametrize(
    "detail", [{"loss": float("nan")}, {"text": "\ud800"}, {"when": object()}, {"by_count": {2: "two"}}]
)
def test_what_json_cannot_hold_is_refused_before_anything_is_written(
    tmp_path: Path, detail: dict[str, object]
) -> None:
    ledger = Ledger(tmp_path / "ledger")
    with pytest.raises(AskError, match="plain JSON"):
        ledger.append(Phase.DONE, principal=Principal("tester", ("releaser",), "test"), detail=detail)
    assert ledger.segments() == [] and ledger.head() == (0, GENESIS)


def test_a_foreign_file_in_the_folder_is_not_part_of_the_ledger(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    append(ledger, 1)
    (ledger.folder / "notes.jsonl").write_text("{}\n")
    assert append(ledger, 2).seq == 2 and ledger.verify() == []
