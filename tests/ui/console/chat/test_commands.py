"""What a typed line means, what it is completed with, and what it answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from opswright.agents.approvals import Consent
from opswright.agents.planner import Turn
from opswright.agents.planner.phrases.nearest import nearest
from opswright.agents.project_skills.store import CHAT_COMMANDS
from opswright.core.errors import AskError, HeldError
from opswright.core.settings import Role
from opswright.ui.console.auth.users import Person
from opswright.ui.console.chat.builtin_commands import make_commands
from opswright.ui.console.chat.commands import Call, Commands, Reply
from opswright.ui.console.chat.completion import CommandCompletion
from opswright.ui.console.chat.questions import in_running_words, is_question
from opswright.ui.console.chat.run_service import RunService
from opswright.ui.console.console import Console
from opswright.ui.console.pages.mlflow_pages import MlflowPages


@pytest.fixture
def commands(console: Console, run_service: RunService) -> Commands:
    return make_commands(console, run_service, MlflowPages(console.workspace))


@pytest.fixture
def completion(console: Console, run_service: RunService, commands: Commands) -> CommandCompletion:
    return CommandCompletion(console, run_service, commands)


def answer(commands: Commands, person: Person, text: str, *runs: str) -> Reply:
    commands.check(text)
    return commands.answer(Call(text, person, lambda: runs))


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("/", "starts with '/'"),
        ("/colect source=lines.txt", "Did you mean '/collect'"),
        ("/hlep", "Did you mean '/help'"),
        ("/collect sorce=lines.txt", "Did you mean 'source'"),
        ("/collect", "argument 'source' is required"),
        ("/plan", "needs FILE"),
        ("/plan a b", "takes 1 word"),
        ("/runs now", "takes no words"),
        ("/collect source='x", "Quote values"),
    ],
)
def test_a_line_that_cannot_be_sent_is_explained(commands: Commands, typed: str, message: str) -> None:
    with pytest.raises(AskError, match=message):
        commands.check(typed)


@pytest.fixture
def secret(console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file beside the project; people log in, and the console was started in the project."""
    for folder in (tmp_path / "project" / "plans", console.workspace.root / "files"):
        folder.mkdir(parents=True)
        (folder / "plan.yaml").write_text((tmp_path / "plan.yaml").read_text())
    monkeypatch.chdir(tmp_path / "project")
    console.users = {"eve": Person("eve", Role.VIEWER)}
    (tmp_path / "secret.yaml").write_text("sk-live-0123456789")
    Path(".env").write_text("KEY=sk-live-0123456789")
    Path("link.yaml").symlink_to(tmp_path / "secret.yaml")
    return tmp_path / "secret.yaml"


def test_who_logs_in_has_no_file_of_the_machine_read_out(
    console: Console, commands: Commands, secret: Path, tmp_path: Path
) -> None:
    eve = Person("eve", Role.VIEWER)
    users = tmp_path / ".opswright" / "users.yaml"
    users.write_text("sk-live-0123456789")
    outside = (str(secret), "../secret.yaml", "link.yaml", str(users), ".env", "../none.yaml")
    for path in outside:
        for typed in (f"/plan {path}", f"/apply {path}"):
            with pytest.raises(AskError, match=r"no file of this project|no plan") as refused:
                answer(commands, eve, typed)
            with pytest.raises(AskError, match=r"no file of this project|no plan"):
                commands.answer(Call(typed, eve))
            assert "sk-live" not in str(refused.value)
    commands.check("/plan plans/plan.yaml")
    commands.check("/plan plan.yaml")  # which was uploaded
    commands.check(f"/plan {console.workspace.root / 'files' / 'plan.yaml'}")
    console.users = None
    commands.check(f"/plan {secret}")


@pytest.mark.parametrize("typed", ["/collect source=", "/plan "])
def test_no_folder_outside_the_project_is_listed_to_who_logs_in(
    completion: CommandCompletion, console: Console, secret: Path, typed: str
) -> None:
    for start in ("/", "/e", "../", "../s", "plans/../../", "../.opswright/", f"{secret.parent}/"):
        assert completion.options(f"{typed}{start}") == []
    assert [one.label for one in completion.options(f"{typed}pl")][:1] == ["plans/"]
    assert completion.options(f"{typed}plans/pl")
    console.users = None
    assert "../secret.yaml" in [one.label for one in completion.options(f"{typed}../s")]


def test_plain_language_that_is_no_wish_is_answered_with_the_nearest_commands(
    commands: Commands, ada: Person
) -> None:
    reply = answer(commands, ada, "my rows and my model, counted nicely")
    offered = [one["text"] for block in reply.blocks for one in block.get("commands", [])]
    assert any(one.startswith("/train") for one in offered) and not reply.run
    assert "Nothing was run" in reply.blocks[0]["text"]


def test_plain_language_becomes_a_card_that_waits(commands: Commands, ada: Person) -> None:
    reply = answer(commands, ada, "please collect lines.txt")
    assert reply.is_card and reply.run and reply.draft is not None
    row = commands._run_service.row(reply.run)
    assert row is not None and row.state == "waiting" and row.goal == "please collect lines.txt"


def test_a_correction_replaces_the_plan_that_waits_and_says_all_that_was_asked(
    commands: Commands, ada: Person, tmp_path: Path
) -> None:
    (tmp_path / "other.txt").write_text("four\n")
    first = answer(commands, ada, "please collect lines.txt")
    said = [Turn("user", "please collect lines.txt"), Turn("agent", "", first.draft, first.run)]
    second = commands.answer(Call("no, other.txt", ada, turns=lambda: said))
    old, new = (commands._run_service.row(one.run or "") for one in (first, second))
    assert old is not None and new is not None
    assert old.state == "denied" and f"see run {second.run}" in old.message
    assert new.state == "waiting" and new.goal == "please collect lines.txt; no, other.txt"


@pytest.mark.parametrize("who", ["approved", "another"])
def test_a_correction_leaves_a_plan_that_somebody_approved_or_another_proposed(
    commands: Commands, ada: Person, tmp_path: Path, who: str, console: Console
) -> None:
    (tmp_path / "other.txt").write_text("four\n")
    first = answer(commands, ada, "please collect lines.txt")
    agent = console.agent(ada)
    if who == "approved":
        plan = agent.outcome(first.run or "").plan
        assert plan is not None
        agent.answer(first.run or "", Consent(plan.id, "test", approved=True))
    corrects = Person("bea", ada.role) if who == "another" else ada
    said = [Turn("user", "please collect lines.txt"), Turn("agent", "", first.draft, first.run)]
    assert commands.answer(Call("no, other.txt", corrects, turns=lambda: said)).run
    assert agent.outcome(first.run or "").status == ("approved" if who == "approved" else "waiting")


def test_a_question_in_plain_language_is_answered_from_the_record(commands: Commands, ada: Person) -> None:
    answer(commands, ada, "collect lines.txt")
    reply = answer(commands, ada, "what is waiting for approval?")
    assert not reply.run and "waits for approval" in reply.blocks[0]["text"]
    assert any("/ledger?seq=" in str(block.get("href", "")) for block in reply.blocks)


def test_documentation_is_shown_in_running_words_without_its_markdown() -> None:
    table = "| outcome | code |\n|---|---:|\n| `done` | 0 |\n\n"
    page = f"{table}**GO** is in [gates](gates.md#tiers).\n```sh\nrun\n```"
    assert in_running_words(page) == "outcome: code; done: 0; GO is in gates. run"


@pytest.mark.parametrize(
    "text", ["wich relase is live", "whta failed", "and the canary?", "Who approved that"]
)
def test_a_question_is_known_by_its_first_word_also_misspelt_or_by_its_mark(text: str) -> None:
    assert is_question(text)


@pytest.mark.parametrize("text", ["want a canary", "ship it", "wait", "heat the model"])
def test_a_wish_is_no_question(text: str) -> None:
    assert not is_question(text)


def test_nearness_goes_by_words_that_mean_something() -> None:
    names = {"deploy": "Serve a bundle.", "drift": "Compare traffic.", "help": "Show the commands."}
    assert nearest("is the traffic drifting", names, {}) == ["drift"]
    assert nearest("the a of", names, {}) == []
    assert nearest("put it live", names, {"deploy": ("put {bundle} live",)}) == ["deploy"]


def test_completion_offers_files_runs_and_words(
    completion: CommandCompletion, commands: Commands, console: Console, ada: Person, tmp_path: Path
) -> None:
    def labels(line: str) -> list[str]:
        return [option.label for option in completion.options(line)]

    (tmp_path / "plans").mkdir()
    (tmp_path / "plans" / "big.yaml").write_text("")
    assert labels("/co") == ["/collect"]
    assert labels("/plan pl") == ["plan.yaml", "plans/"]
    assert labels("/plan plans/") == ["plans/big.yaml"]
    assert labels("/collect source=li") == ["lines.txt"]
    assert labels("/audit ") == ["verify"]
    kept = console.workspace.root / "files"
    kept.mkdir()
    for name in ("brought.yaml", "brought.csv", "brought.json"):
        (kept / name).write_text("")
    assert labels("/plan br") == ["brought.yaml"] and labels("/apply br") == ["brought.json"]
    assert labels("/help ap") == ["apply", "approve"]
    assert labels("/approve ") == []
    run = answer(commands, ada, "/plan plan.yaml").run
    assert labels("/approve ") == [run] and labels("/show 2") == [run]
    assert labels("/nothing ") == []
    assert completion.assist("/nothing ")["fault"].startswith("unknown command '/nothing'")
    assert completion.assist("/runs")["fault"] == ""


def test_what_reads_answers_and_what_writes_waits(
    commands: Commands, ada: Person, run_service: RunService
) -> None:
    written = answer(commands, ada, "/collect lines.txt")
    assert written.is_card and run_service.row(written.run or "").state == "waiting"  # type: ignore[union-attr]
    assert not answer(commands, ada, "/runs").is_card
    assert answer(commands, ada, "/help").blocks[1]["commands"]
    (Path.cwd() / "my plan.yaml").write_text((Path.cwd() / "plan.yaml").read_text())
    assert answer(commands, ada, "/plan 'my plan.yaml'").is_card
    assert answer(commands, ada, "/help collect").blocks[2]["rows"][0][0] == "source"


def test_deny_takes_a_reason_and_the_run_is_the_one_that_waits_here(
    commands: Commands, ada: Person, run_service: RunService
) -> None:
    elsewhere = answer(commands, ada, "/plan plan.yaml").run or ""
    here = answer(commands, ada, "/plan plan.yaml").run or ""
    assert answer(commands, ada, "/deny not on a Friday", here).run == here
    row = run_service.row(here)
    assert row is not None and row.state == "denied" and row.message.endswith("not on a Friday")
    assert run_service.row(elsewhere).state == "waiting"  # type: ignore[union-attr]
    with pytest.raises(AskError, match="no plan in this conversation"):
        answer(commands, ada, "/approve", here)
    with pytest.raises(AskError, match="unknown run"):
        answer(commands, ada, "/approve 20200101-000000-000000", here)


def test_a_role_that_may_not_run_a_plan_may_not_approve_it(
    commands: Commands, ada: Person, run_service: RunService
) -> None:
    run = answer(commands, ada, "/plan plan.yaml").run or ""
    plan = run_service.row(run).plan  # type: ignore[union-attr]
    with pytest.raises(HeldError, match="may not refuse or withdraw"):
        run_service.answer(Person("eve", Role.VIEWER), run, plan, approved=False)
    with pytest.raises(HeldError, match=r"may not approve step live .* changes what users"):
        run_service.answer(Person("bob", Role.OPERATOR), run, plan, approved=True)
    with pytest.raises(HeldError, match="waiting for approval of plan"):
        run_service.answer(ada, run, "0" * 64, approved=True)
    run_service.answer(ada, run, plan, approved=False)
    with pytest.raises(HeldError, match="not waiting for approval"):
        run_service.answer(ada, run, plan, approved=True)
    assert not Path("board.txt").exists()


def test_no_project_skill_may_have_the_name_of_a_command(commands: Commands) -> None:
    assert set(commands.builtin) == CHAT_COMMANDS
