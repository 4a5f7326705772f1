"""Signed heads: what a signature shows that the ledger alone cannot."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opswright.core.errors import AskError
from opswright.core.files import canonical_json
from opswright.core.workspace import Workspace
from opswright.record import audit
from opswright.record.ledger import Ledger

RUN = "20261120-180101-a1b2c3"


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "release", audit.make_keys(tmp_path / "release")


@pytest.fixture
def signed(workspace: Workspace, full_scene: Any, keys: tuple[Path, Path], tmp_path: Path) -> Path:
    full_scene.ship(RUN, decision="NO_GO")
    path = tmp_path / "head.json"
    path.write_bytes(audit.sign_head(workspace, keys[0]))
    return path


def verify(workspace: Workspace, signature: Path, key: Path, **more: Any) -> audit.AuditReport:
    return audit.verify(workspace, mlflow=False, signatures=(signature,), key=key, **more)


def without_signatures() -> list[Any]:
    return [check for check in audit.CHECKS if check.name != "signatures"]


def test_a_head_that_was_signed_is_found_again_however_the_ledger_grew(
    workspace: Workspace, full_scene: Any, signed: Path, keys: tuple[Path, Path]
) -> None:
    statement = json.loads(signed.read_bytes())["statement"]
    seq, digest = Ledger.of(workspace).head()
    assert (statement["seq"], statement["hash"]) == (seq, digest)
    full_scene.ship("later", full_scene.plan("Another one", 0.9))
    report = verify(workspace, signed, keys[1])
    assert report.ok and {c.name: c.count for c in report.checked}["signatures"] == 1


def cut(workspace: Workspace) -> None:
    segment = Ledger.of(workspace).segments()[0]
    segment.write_bytes(b"".join(segment.read_bytes().splitlines(keepends=True)[:14]))


@pytest.mark.audits("signatures")
def test_a_ledger_cut_below_its_signed_head_is_found(
    workspace: Workspace, signed: Path, keys: tuple[Path, Path]
) -> None:
    cut(workspace)
    assert audit.verify(workspace, mlflow=False).ok  # the chain alone cannot know
    (fault,) = verify(workspace, signed, keys[1]).faults
    assert (fault.check, fault.seq) == ("signatures", 15) and "cut or rewritten" in fault.message
    assert verify(workspace, signed, keys[1], checks=without_signatures()).ok


@pytest.mark.audits("signatures")
def test_a_ledger_that_was_rewritten_whole_is_found(
    workspace: Workspace, signed: Path, keys: tuple[Path, Path], rewrite: Callable[..., None]
) -> None:
    rewrite(workspace, lambda body: body.update(actor="mallory"))
    (fault,) = verify(workspace, signed, keys[1]).faults
    assert fault.seq == Ledger.of(workspace).head()[0] and "it is" in fault.message


@pytest.mark.audits("signatures")
def test_another_key_a_changed_statement_and_a_file_that_is_none_are_found(
    workspace: Workspace, signed: Path, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    other = audit.make_keys(tmp_path / "other")
    (fault,) = verify(workspace, signed, other).faults
    assert "was not made with key other.pub, or was changed since" in fault.message

    whole = json.loads(signed.read_bytes())
    cut(workspace)
    seq, digest = Ledger.of(workspace).head()
    forged = {**whole, "statement": {**whole["statement"], "seq": seq, "hash": digest}}
    signed.write_bytes(canonical_json(forged))
    (fault,) = verify(workspace, signed, keys[1]).faults
    assert "was changed since" in fault.message

    for damaged in (b"", b"[]", b'{"statement":{},"signature":"00"}', b"\xff"):
        signed.write_bytes(damaged)
        (fault,) = verify(workspace, signed, keys[1]).faults
        assert "does not read" in fault.message


@pytest.mark.audits("signatures")
def test_a_signature_of_another_workspace_is_found(
    workspace: Workspace, signed: Path, keys: tuple[Path, Path]
) -> None:
    (workspace.root / "workspace-id").write_text("f" * 32)
    (fault,) = verify(workspace, signed, keys[1]).faults
    assert "this is another one" in fault.message


def test_a_private_key_is_its_owners_alone_and_never_overwritten(keys: tuple[Path, Path]) -> None:
    private, public = keys
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    before = private.read_bytes(), public.read_bytes()
    with pytest.raises(AskError, match="never overwritten"):
        audit.make_keys(private)
    private.unlink()
    with pytest.raises(AskError, match="never overwritten"):
        audit.make_keys(private)
    assert public.read_bytes() == before[1] and not private.exists()


def test_a_file_that_is_no_key_is_refused(workspace: Workspace, signed: Path, tmp_path: Path) -> None:
    with pytest.raises(AskError, match="does not hold an Ed25519 public key"):
        verify(workspace, signed, signed)
    with pytest.raises(AskError, match="does not hold an Ed25519 private key"):
        audit.sign_head(workspace, tmp_path / "release.pub")
    with pytest.raises(AskError, match="cannot be read"):
        audit.sign_head(workspace, tmp_path / "nowhere")
