"""Keys: kept as hashes, found by their text alone."""

from __future__ import annotations

import hmac
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opswright.core.errors import AskError
from opswright.core.workspace import Workspace
from opswright.serving.keys.store import KeyStore, Limits


@pytest.fixture
def store(workspace: Workspace) -> KeyStore:
    return KeyStore(workspace)


def test_a_key_is_kept_as_a_hash_that_only_its_owner_may_read(store: KeyStore, workspace: Workspace) -> None:
    made = store.create("webshop")
    path = workspace.root / "keys.json"
    assert store.find(made.text) == made.key
    assert made.text not in path.read_text() and made.text.split("_", 2)[2] not in path.read_text()
    assert path.stat().st_mode & 0o077 == 0


def test_a_hash_is_keyed_so_that_a_copied_hash_tells_nothing_elsewhere(
    store: KeyStore, tmp_path: Path, workspace: Workspace
) -> None:
    made = store.create("webshop")
    document = json.loads((workspace.root / "keys.json").read_text())
    assert (
        made.key.hash == hmac.digest(bytes.fromhex(document["hash_key"]), made.text.encode(), "sha256").hex()
    )
    document["hash_key"] = "ab" * 32
    (workspace.root / "keys.json").write_text(json.dumps(document))
    assert store.find(made.text) is None


@given(text=st.text(max_size=80))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_other_text_is_a_key(store: KeyStore, text: str) -> None:
    if not store.exists:
        store.create("webshop")
    assert store.find(text) is None
    assert store.find(f"ops_{text}") is None


@given(at=st.integers(0, 59), char=st.characters())
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_key_with_one_character_changed_is_none(store: KeyStore, at: int, char: str) -> None:
    made = store.create("webshop")
    changed = made.text[:at] + char + made.text[at + 1 :]
    assert store.find(changed) == (made.key if changed == made.text else None)


def test_secrets_are_compared_in_constant_time_also_for_an_id_nobody_has(
    store: KeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, compared = store.create("webshop"), list[tuple[str, str]]()
    real = hmac.compare_digest

    def noted(a: str, b: str) -> bool:
        compared.append((a, b))
        return real(a, b)

    monkeypatch.setattr(hmac, "compare_digest", noted)
    for text in (made.text, made.text[:-1] + "!", "ops_" + "0" * 12 + "_" + "x" * 43, ""):
        store.find(text)
    assert [len(a) == len(b) == 64 for a, b in compared] == [True] * 4


def test_a_revoked_key_and_an_ended_one_are_none(store: KeyStore, workspace: Workspace) -> None:
    gone, ends = store.create("a"), store.create("b", valid_days=1)
    reader = KeyStore(workspace)  # as a gateway has it
    assert reader.find(gone.text) and reader.find(ends.text)
    store.revoke("a")
    assert reader.find(gone.text) is None
    assert reader.find(ends.text, datetime.now(UTC) + timedelta(days=2)) is None
    assert reader.exists  # and so a key is still asked for


def test_of_several_keys_of_a_name_one_is_revoked_by_its_id(store: KeyStore) -> None:
    old, new = store.create("webshop"), store.create("webshop")
    with pytest.raises(AskError, match="2 valid keys"):
        store.revoke("webshop")
    store.revoke(old.key.id)
    assert store.find(new.text) is not None
    assert store.revoke("webshop").id == new.key.id
    with pytest.raises(AskError, match="no valid key"):
        store.revoke("webshop")


@pytest.mark.parametrize("damage", [b"{", b"[]", b'{"hash_key": "00", "keys": {}}'])
def test_a_damaged_file_lets_nobody_in(store: KeyStore, workspace: Workspace, damage: bytes) -> None:
    made = store.create("webshop")
    assert store.find(made.text)
    (workspace.root / "keys.json").write_bytes(damage)
    with pytest.raises(AskError, match="keys file"):
        store.find(made.text)


def test_a_file_open_to_others_lets_nobody_in(store: KeyStore, workspace: Workspace) -> None:
    made = store.create("webshop")
    assert store.find(made.text)
    (workspace.root / "keys.json").chmod(0o644)
    with pytest.raises(AskError, match="chmod 600"):
        store.find(made.text)


def test_limits_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        Limits(budget_tokens=0)


_REVOKE = """
import resource, signal, sys
from pathlib import Path
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace
from opswright.serving.keys.store import KeyStore
workspace = Workspace(load_settings(home=Path(sys.argv[1])))
size = (workspace.root / "keys.json").stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))  # no file may grow further: there is no room
for key in sys.argv[2:]:
    KeyStore(workspace).revoke(key)
"""


def test_keys_are_revoked_where_no_room_is_left(workspace: Workspace) -> None:
    store = KeyStore(workspace)
    made = [store.create(f"shop{number}") for number in range(3)]
    running = KeyStore(workspace)  # a gateway's
    assert all(running.find(one.text) for one in made)
    ids = [one.key.id for one in made[:2]]
    subprocess.run([sys.executable, "-c", _REVOKE, str(workspace.root), *ids], check=True)
    assert [running.find(one.text) is not None for one in made] == [False, False, True]
    assert (workspace.root / "keys.json").stat().st_mode & 0o077 == 0
    store.create("later")  # with room again
    assert running.find(made[0].text) is None
