"""What the ledger's page shows."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from opswright.agents.approvals import Consent
from opswright.agents.planner import Ask
from opswright.core.principal import Principal
from opswright.core.registry import Registry
from opswright.core.settings import Role, load_settings
from opswright.core.workspace import Workspace
from opswright.record.ledger import Ledger, Phase
from opswright.ui.console.auth.users import Person
from opswright.ui.console.console import Console
from opswright.ui.console.gradio_import import import_gradio
from opswright.ui.console.pages.ledger_export import _write

DASH = "\N{EN DASH}"
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def ledger_page() -> Any:
    import_gradio()
    from opswright.ui.console.pages import ledger

    return ledger


@pytest.fixture
def console(workspace: Workspace) -> Console:
    return Console(Registry([]), workspace.settings)


def append(console: Console, count: int, actor: str = "ada", **fields: Any) -> None:
    for _ in range(count):
        given = {"principal": Principal(actor, ("operator",), "test"), "run": "one", **fields}
        Ledger.of(console.workspace).append(given.pop("phase", Phase.DONE), **given)


def shown(module: Any, console: Console, **view: Any) -> tuple[str, str, str, bool, bool]:
    bar, table, _, record, newer, older = module.show(console, module.LedgerView(**{"filters": {}, **view}))
    return bar, table, record, newer.interactive, older.interactive


def test_an_empty_ledger_says_what_makes_the_first_records(ledger_page: Any, console: Console) -> None:
    bar, table, record, newer, older = shown(ledger_page, console)
    assert "No records" in bar and "opswright demo" in table and record == "" and not newer and not older


def test_records_are_shown_newest_first_in_pages(ledger_page: Any, console: Console) -> None:
    append(console, 120)
    bar, table, _, newer, older = shown(ledger_page, console)
    assert f"<strong>1{DASH}50</strong> of 120 records" in bar and not newer and older
    assert table.index(">120</a>") < table.index(">71</a>") and ">70</a>" not in table
    bar, table, _, newer, older = shown(ledger_page, console, page=2)
    assert f"<strong>101{DASH}120</strong>" in bar and newer and not older and ">1</a>" in table
    bar, *_ = shown(ledger_page, console, page=99)
    assert f"<strong>101{DASH}120</strong>" in bar


@pytest.mark.parametrize("phase", Phase)
def test_a_record_of_every_phase_is_shown(ledger_page: Any, console: Console, phase: Phase) -> None:
    append(console, 1, phase=phase)
    _, table, *_ = shown(ledger_page, console)
    assert str(phase).replace("_", " ") in table


def test_filters_narrow_the_list_and_the_download(ledger_page: Any, console: Console) -> None:
    append(console, 3)
    append(console, 2, actor="ines & co", phase=Phase.APPROVED)
    bar, table, *_ = shown(ledger_page, console, filters={"actor": "ines & co"})
    assert "of 2 records" in bar and "(5 in the ledger)" in bar and "records.csv?actor=ines+%26+co" in bar
    assert table.count("<tr data-seq") == 2 and "ada" not in table
    assert "None of the 5 records" in shown(ledger_page, console, filters={"run": "two"})[1]
    with _write(console, "jsonl", {"actor": "ines & co"}) as file:
        assert len(file.read().splitlines()) == 2


@pytest.mark.parametrize(
    ("filters", "message"),
    [({"phase": "don"}, "Did you mean &#39;done&#39;"), ({"since": "yesterday"}, "invalid time")],
)
def test_a_filter_that_cannot_be_is_said(
    ledger_page: Any, console: Console, filters: dict[str, str], message: str
) -> None:
    append(console, 1)
    assert message in shown(ledger_page, console, filters=filters)[1]


def test_one_record_is_whole_with_its_digests_its_neighbours_and_its_run(
    ledger_page: Any, console: Console
) -> None:
    append(console, 2)
    append(
        console,
        1,
        step="data",
        skill="curate",
        effect="writes",
        request={"a": 1},
        result={"b": 2},
        plan="f" * 64,
    )
    append(console, 1, run="two")
    record = Ledger.of(console.workspace).get(3)
    assert record is not None and record.request is not None and record.result is not None
    text = shown(ledger_page, console, seq=3)[2]
    for part in (record.hash, record.prev, record.request, record.result, record.plan, "its 3 records"):
        assert part is not None and part in text
    assert 'data-seq="2"' in text and 'data-seq="4"' in text and "/ledger?run=one" in text
    assert "opswright mlflow" in text and "&#34;seq&#34;: 3" in text
    assert "Record 9 not found" in shown(ledger_page, console, seq=9)[2]


def test_what_a_record_holds_is_text_and_never_markup(ledger_page: Any, console: Console) -> None:
    append(console, 1, actor=HOSTILE, run=HOSTILE, step=HOSTILE, skill=HOSTILE, detail={HOSTILE: HOSTILE})
    for html in shown(ledger_page, console, seq=1)[:3]:
        assert "<img" not in html
    assert "&lt;img" in shown(ledger_page, console)[1]


@pytest.fixture
def worked(tmp_path: Path, small_skills: ModuleType) -> Console:
    """A console on a workspace in which a real run made a dataset."""
    Path("lines.txt").write_text("one\ntwo\n")
    settings = load_settings(home=tmp_path / ".opswright", actor="ada", mlflow={"mirror": "off"})
    console = Console(Registry(small_skills.SKILLS), settings)
    agent = console.agent(Person("ada", Role.RELEASER))
    proposal = agent.plan_for(Ask("slash", "/collect lines.txt"))
    assert agent.start(proposal, Consent(proposal.plan.id, "test")).exit_code == 0
    return console


def test_a_damaged_ledger_is_shown_and_the_first_bad_record_named(ledger_page: Any, worked: Console) -> None:
    path = Ledger.of(worked.workspace).segments()[0]
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b'"actor":"ada"', b'"actor":"adb"')
    lines[4] = b"{}\n"
    path.write_bytes(b"".join(lines))
    *_, (html, wrong) = ledger_page._verified(worked)
    assert wrong[0] == 3 and "NOT intact" in html and 'data-seq="3"' in html and "was altered" in html
    table = shown(ledger_page, worked, bad=(3,))[1]
    assert "the ledger is damaged" in table and table.count("<tr data-seq") == len(lines)
    assert table.count("broken") == 1


def test_an_intact_ledger_says_what_was_checked_and_how_much(ledger_page: Any, worked: Console) -> None:
    head, _ = Ledger.of(worked.workspace).head()
    first, *_, (html, wrong) = ledger_page._verified(worked)
    assert "Verifying" in first[0] and first[1] is None
    assert wrong == () and "Intact." in html and f"{head} records" in html and "<td>chain</td>" in html
