"""The audit against what the ledger names: plans, artifacts, receipts, and heads kept elsewhere."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opswright.core.artifact_refs import parse_ref
from opswright.core.errors import AskError
from opswright.core.files import canonical_json, sha256_json, write_atomically
from opswright.core.workspace import Workspace
from opswright.record import audit
from opswright.record.ledger import Ledger, Phase

RUN = "20261120-180101-a1b2c3"
Rewrite = Callable[[Workspace, Callable[[dict[str, Any]], object]], None]


def verify(workspace: Workspace, **more: Any) -> audit.AuditReport:
    return audit.verify(workspace, mlflow=False, **more)


def faults(workspace: Workspace, **more: Any) -> list[tuple[int, str]]:
    return [(fault.seq, fault.message) for fault in verify(workspace, **more).faults]


def number(workspace: Workspace, step: str | None, phase: Phase) -> int:
    return next(r.seq for r in Ledger.of(workspace).records() if r.step == step and r.phase == phase)


def test_a_plan_that_was_altered_or_removed_is_named_at_its_first_record(
    workspace: Workspace, scene: Any
) -> None:
    plan = scene.ship(RUN)
    path = workspace.plans / f"{plan.id}.json"
    whole = path.read_bytes()

    path.write_bytes(whole.replace(b'"min":0.85', b'"min":0.05'))
    (found,) = faults(workspace)
    assert found[0] == 1 and "was altered" in found[1]

    document = json.loads(whole)
    document["plan"]["goal"] = "Something else"
    document["id"] = sha256_json(document["plan"])
    path.write_bytes(canonical_json(document))
    assert faults(workspace)[0][0] == 1

    for damaged in (b"", b"[]", b'{"plan":{}}', b"\xff"):
        path.write_bytes(damaged)
        (found,) = faults(workspace)
        assert found[0] == 1 and ("does not read" in found[1] or "was altered" in found[1])

    path.unlink()
    (found,) = faults(workspace)
    assert found[0] == 1 and "is not in" in found[1]


def test_an_artifact_that_was_altered_or_removed_is_named_at_the_record_that_made_it(
    workspace: Workspace, scene: Any
) -> None:
    scene.ship(RUN)
    done = number(workspace, "engine", Phase.DONE)
    record = Ledger.of(workspace).get(done)
    assert record is not None
    home = workspace.artifacts.folder(parse_ref(record.artifacts["bundle"]))
    workspace.artifacts.open(parse_ref(record.artifacts["bundle"]))  # seen before, and still looked at anew
    whole = (home / "files/engine/model.onnx").read_bytes()

    (home / "files/engine/model.onnx").write_bytes(whole[::-1])
    (found,) = faults(workspace)
    assert found[0] == done and "engine/model.onnx does not match" in found[1]
    assert verify(workspace, artifacts=False).ok

    shutil.rmtree(home)
    (found,) = faults(workspace)
    assert found[0] == done and "not found in" in found[1]


def receipt(workspace: Workspace, of: int, **changes: Any) -> Path:
    record = Ledger.of(workspace).get(of)
    assert record is not None
    body = {
        "seq": of,
        "hash": record.hash,
        "result": record.detail["result"],
        "artifacts": dict(record.artifacts),
        **changes,
    }
    path = workspace.receipts / f"{of:064x}.json"
    write_atomically(path, canonical_json({**body, "digest": sha256_json(body)}))
    return path


def test_receipts_must_be_what_the_ledger_says(workspace: Workspace, scene: Any) -> None:
    scene.ship(RUN)
    path = receipt(workspace, 4)
    report = verify(workspace)
    assert report.ok and {c.name: c.count for c in report.checked}["receipts"] == 1
    forged: tuple[dict[str, Any], ...] = ({"hash": "0" * 64}, {"result": {"dataset": "x"}}, {"artifacts": {}})
    for changes in forged:
        receipt(workspace, 4, **changes)
        assert [seq for seq, _ in faults(workspace)] == [4]
    path.unlink()
    receipt(workspace, 4, seq=99)
    (found,) = faults(workspace)
    assert found[0] == 0 and "is for record 99; the ledger ends at 15" in found[1]
    receipt(workspace, 4).write_bytes(b"{}")
    (found,) = faults(workspace)
    assert "does not read" in found[1]


def test_versions_that_were_lost_are_noted(workspace: Workspace, scene: Any) -> None:
    scene.ship(RUN)
    shutil.rmtree(Ledger.of(workspace).folder / "environments")
    report = verify(workspace)
    assert report.ok and [note.seq for note in report.notes] == [1]
    assert "versions behind environment" in report.notes[0].message


@pytest.mark.audits("anchors")
def test_an_anchored_head_shows_a_cut_tail(workspace: Workspace, scene: Any) -> None:
    scene.ship(RUN, decision="NO_GO")
    kept = audit.anchor(workspace)
    assert verify(workspace, anchors=(kept,)).ok
    lines = Ledger.of(workspace).segments()[0].read_bytes().splitlines(keepends=True)
    Ledger.of(workspace).segments()[0].write_bytes(b"".join(lines[:8]))
    assert verify(workspace).ok  # the chain alone cannot know
    (found,) = faults(workspace, anchors=(kept,))
    assert found[0] == 9 and "record 11 had hash" in found[1] and "ends at 8" in found[1]


def test_an_anchored_head_shows_a_full_rewrite(workspace: Workspace, scene: Any, rewrite: Rewrite) -> None:
    scene.ship(RUN)
    kept = audit.anchor(workspace)
    rewrite(workspace, lambda body: body.update(actor="mallory"))
    assert verify(workspace).ok  # the chain alone cannot know
    (found,) = faults(workspace, anchors=(kept,))
    assert found[0] == 15 and "cut or rewritten" in found[1]


@pytest.mark.parametrize(
    "text", ["", "15", "15:abc", "x:" + "a" * 64, "-1:" + "a" * 64, "5:" + "G" * 64, "0:" + "a" * 64]
)
def test_what_is_no_anchor_is_refused(workspace: Workspace, text: str) -> None:
    with pytest.raises(AskError, match="invalid anchor"):
        verify(workspace, anchors=(text,))


def test_an_unfinished_write_is_noted(workspace: Workspace, scene: Any) -> None:
    scene.ship(RUN)
    segment = Ledger.of(workspace).segments()[0]
    segment.write_bytes(segment.read_bytes()[:-20])
    report = verify(workspace)
    assert report.ok and [n.message for n in report.notes if "the last line is not finished" in n.message]
    scene.propose("next", scene.plan())
    report = verify(workspace)
    assert report.ok and [n.message for n in report.notes if "a crash cut short lies in" in n.message]
