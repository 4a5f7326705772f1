"""The users file: who may use the console."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from opswright.core.errors import AskError
from opswright.core.settings import Role, load_settings
from opswright.ui.console.auth.users import Person, UsersFile, load_users, scrypt

PASSWORD = "a long enough password"


@pytest.fixture
def file(tmp_path: Path) -> UsersFile:
    made = UsersFile(tmp_path / "users.json", n=2**10)
    made.add("ada", Role.OPERATOR, PASSWORD)
    return made


def test_a_user_logs_in_with_the_password_and_with_no_other(file: UsersFile) -> None:
    user = file.log_in("ada", PASSWORD)
    assert user is not None and user.person == Person("ada", Role.OPERATOR)
    assert file.log_in("ada", PASSWORD + "x") is None
    assert file.log_in("ada", "") is None
    assert file.log_in("eve", PASSWORD) is None


def test_the_file_holds_a_salted_hash_and_is_closed_to_others(file: UsersFile) -> None:
    file.add("bob", Role.VIEWER, PASSWORD)
    text = file.path.read_text()
    assert PASSWORD not in text and file.path.stat().st_mode & 0o777 == 0o600
    kept = json.loads(text)["users"]
    assert kept["bob"]["role"] == "viewer" and UsersFile(file.path).n == 2**15
    assert kept["ada"]["scrypt"]["hash"] != kept["bob"]["scrypt"]["hash"]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o620, 0o602, 0o604])
def test_a_file_that_others_can_read_or_write_lets_nobody_in(file: UsersFile, mode: int) -> None:
    file.path.chmod(mode)
    with pytest.raises(AskError, match="chmod 600"):
        file.users()
    assert file.log_in("ada", PASSWORD) is None and file.get("ada") is None
    file.path.chmod(0o600)
    assert file.get("ada") == Person("ada", Role.OPERATOR)


def test_an_unknown_name_costs_as_much_work_as_a_wrong_password(file: UsersFile) -> None:
    hashed: list[tuple[int, int, int]] = []

    def counted(text: str, n: int, r: int, p: int, salt: str) -> str:
        hashed.append((n, r, p))
        return scrypt(text, n, r, p, salt)

    watched = UsersFile(file.path, hash_password=counted)
    assert watched.log_in("ada", "wrong password") is None
    for_a_known_name = list(hashed)
    assert watched.log_in("eve", "wrong password") is None
    assert hashed == 2 * for_a_known_name and for_a_known_name == [(2**10, 8, 3)]


def test_who_is_taken_out_or_changed_is_so_at_the_next_look(file: UsersFile) -> None:
    other = UsersFile(file.path, n=2**10)
    assert other["ada"].role == "operator"
    assert file.add("ada", Role.RELEASER, "another long password")
    assert other["ada"].role == "releaser" and other.log_in("ada", PASSWORD) is None
    file.remove("ada")
    assert "ada" not in other and other.get("ada") is None
    with pytest.raises(AskError, match="unknown user 'ada'"):
        file.remove("ada")


def entry(name: str = "ada", role: str = "viewer", n: int = 2**15, salt: str = "00") -> str:
    scrypt = {"n": n, "r": 8, "p": 3, "salt": salt, "hash": "00"}
    return json.dumps({"users": {name: {"role": role, "scrypt": scrypt}}})


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", '{"users": []}', '{"users": {"ada": {}}}'),
        *(entry(role="<b>king</b>"), entry(n=2), entry(n=2**30), entry(salt="zz"), entry(name="<b>")),
    ],
)
def test_what_is_no_users_file_is_said_and_lets_nobody_in(tmp_path: Path, text: str) -> None:
    path = tmp_path / "users.json"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(AskError, match="invalid users file"):
        UsersFile(path).users()
    assert UsersFile(path).log_in("ada", "") is None


@pytest.mark.parametrize(("name", "password"), [("", PASSWORD), ("a b", PASSWORD), ("ada", "short")])
def test_a_name_or_password_that_will_not_do_is_refused(tmp_path: Path, name: str, password: str) -> None:
    with pytest.raises(AskError):
        UsersFile(tmp_path / "users.json").add(name, Role.VIEWER, password)
    assert not (tmp_path / "users.json").exists()


def test_the_workspaces_users_file_is_in_force_by_itself_and_a_named_one_must_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_users(load_settings(home=tmp_path)) is None
    UsersFile(tmp_path / "users.json").add("ada", Role.VIEWER, PASSWORD)
    users = load_users(load_settings(home=tmp_path))
    assert users is not None and list(users) == ["ada"]
    monkeypatch.setenv("OPSWRIGHT_CONSOLE__USERS", str(tmp_path / "missing.json"))
    with pytest.raises(AskError, match="cannot be read"):
        load_users(load_settings(home=tmp_path))
