"""Who is logged in, and the wait that wrong passwords earn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from opswright.core.errors import HeldError
from opswright.core.registry import Registry
from opswright.core.settings import Role
from opswright.core.workspace import Workspace
from opswright.ui.console.auth.logins import Logins, WrongPasswords
from opswright.ui.console.auth.users import Person, UsersFile
from opswright.ui.console.console import Console

PASSWORD = "a long enough password"


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def file(tmp_path: Path) -> UsersFile:
    made = UsersFile(tmp_path / "users.json", n=2**10)
    made.add("ada", Role.OPERATOR, PASSWORD)
    return made


def log_in(logins: Logins, name: str = "ada") -> str:
    user = logins.users.user(name)
    assert user is not None
    return logins.begin(user)


def test_a_token_stands_for_its_user_until_it_is_ended(file: UsersFile) -> None:
    logins = Logins(file)
    one, two = log_in(logins), log_in(logins)
    assert logins.get(one) == logins.get(two) == "ada" and one != two
    logins.end(one)
    assert logins.get(one) is None and logins.get(two) == "ada" and logins.get("") is None


def test_a_token_ends_after_12_hours(file: UsersFile) -> None:
    clock = Clock()
    logins = Logins(file, clock)
    token = log_in(logins)
    clock.now += 12 * 3600 - 1
    assert logins.get(token) == "ada"
    clock.now += 2
    assert logins.get(token) is None


def test_a_user_who_is_removed_or_changed_is_logged_out_at_once(file: UsersFile) -> None:
    logins = Logins(file)
    token = log_in(logins)
    file.add("ada", Role.RELEASER, PASSWORD)
    assert logins.get(token) is None
    token = log_in(logins)
    file.remove("ada")
    assert logins.get(token) is None
    file.add("ada", Role.OPERATOR, PASSWORD)
    assert logins.get(token) is None


def test_who_acts_is_who_is_logged_in_and_is_so_in_the_ledger(file: UsersFile, workspace: Workspace) -> None:
    console = Console(Registry([]), workspace.settings, file)
    logins = Logins(file)
    console.logins, console.cookie = logins, "session"
    request = SimpleNamespace(cookies={"session": log_in(logins)}, username=None)
    person = console.person(request)
    assert person == Person("ada", Role.OPERATOR)
    queued = SimpleNamespace(cookies={}, username="ada")
    assert console.person(queued) == person
    acts = console.agent(person).workspace.settings
    assert (acts.actor, acts.role) == ("ada", Role.OPERATOR)
    for nobody in ({}, {"session": "made up"}, {"other": request.cookies["session"]}):
        with pytest.raises(HeldError, match="log in"):
            console.person(SimpleNamespace(cookies=nobody, username=None))
    file.remove("ada")
    for former in (request, queued):
        with pytest.raises(HeldError, match="log in"):
            console.person(former)


def test_wrong_passwords_wait_longer_and_longer_and_only_where_they_came_from() -> None:
    clock = Clock()
    wrong = WrongPasswords(clock)
    for _ in range(4):
        wrong.add("10.0.0.9")
        assert wrong.wait_s("10.0.0.9") == 0
    waits = []
    for _ in range(9):
        wrong.add("10.0.0.9")
        waits.append(wrong.wait_s("10.0.0.9"))
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60] and wrong.wait_s("10.0.0.1") == 0
    clock.now += 60
    assert wrong.wait_s("10.0.0.9") == 0


def test_a_right_password_between_wrong_ones_frees_none_of_them() -> None:
    wrong = WrongPasswords(Clock())
    for _ in range(5):
        wrong.add("10.0.0.9")
    wrong.add("10.0.0.9")
    wrong.take_back("10.0.0.9")
    assert wrong.wait_s("10.0.0.9") == 1
