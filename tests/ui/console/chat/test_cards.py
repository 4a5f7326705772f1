"""What a run's card shows, and that values in it are text."""

from __future__ import annotations

from pathlib import Path

import pytest

from opswright.agents.approvals import Consent
from opswright.agents.planner import Ask
from opswright.agents.run_events import RunEventFile, run_events_path
from opswright.record.ledger import Ledger, Phase
from opswright.ui.console.auth.users import Person
from opswright.ui.console.chat import blocks
from opswright.ui.console.chat import cards as cards_module
from opswright.ui.console.chat.cards import Cards
from opswright.ui.console.chat.curve import curve
from opswright.ui.console.chat.run_service import RunService
from opswright.ui.console.console import Console
from opswright.ui.console.markup import ago, amount, render
from opswright.ui.console.web import approvals

EVIL = "<script>alert(1)</script> **b** [l](http://x) {{ 7777 * 7777 }} ${1}"


def test_a_waiting_card_has_what_one_consents_to(
    console: Console, run_service: RunService, ada: Person
) -> None:
    run = run_service.start(ada, Ask("plan_file", "plan.yaml")).run
    card = Cards(console, run_service).draw(run)
    plan = run_service.row(run).plan  # type: ignore[union-attr]
    assert card.is_live and not card.is_running
    for words in ("waits for approval", f'data-plan="{plan}"', 'data-act="reject"', "changes what users",
                  "makes artifacts", "expected: 3.0 min", "0 GPU hours", "0.00 US dollars"):  # fmt: skip
        assert words in card.html


def test_a_card_is_drawn_again_only_when_something_changed(
    console: Console, run_service: RunService, ada: Person
) -> None:
    run = run_service.start(ada, Ask("plan_file", "plan.yaml")).run
    cards = Cards(console, run_service)
    first = cards.draw(run)
    assert cards.draw(run) is first
    run_service.answer(ada, run, run_service.row(run).plan, approved=False)  # type: ignore[union-attr]
    after = cards.draw(run)
    assert "ada denied the plan" in after.html and not after.is_live


def test_a_card_says_that_consent_is_void_and_why_and_offers_it_no_more(
    console: Console, run_service: RunService, ada: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cards_module, "VOID_EVERY_S", 0.0)
    run = run_service.start(ada, Ask("plan_file", "plan.yaml")).run
    cards, plan = Cards(console, run_service), run_service.row(run).plan  # type: ignore[union-attr]
    assert "void" not in cards.draw(run).html
    lines = Path("lines.txt").read_text()
    Path("lines.txt").write_text("<b>another</b>\n")
    waiting = cards.draw(run)
    assert "void: lines.txt changed since the plan was made." in waiting.html and waiting.is_live
    assert 'data-plan="' + str(plan) + '" disabled' in waiting.html
    Path("lines.txt").write_text(lines)
    assert "void" not in cards.draw(run).html, "it was put back"
    console.agent(ada).answer(run, Consent(str(plan), "test"))
    Path("opswright.toml").write_text("[train]\nthreads = 7\n")  # as a worker would find them
    assert "setting train.threads was 2 and is 7 now" in cards.draw(run).html
    assert "restart it to plan with what is in force" in cards.draw(run).html
    Path("opswright.toml").write_text("[train]\nthreads = 0\n")
    assert "void: a setting is wrong" in cards.draw(run).html
    Path("opswright.toml").write_text("nonsense = [")
    assert "void: " in cards.draw(run).html
    Path("opswright.toml").unlink()
    stored = console.workspace.plans / f"{plan}.json"
    stored.write_text(stored.read_text().replace("GO", "NO_GO"))
    altered = cards.draw(run).html
    assert 'data-state="void"' in altered and "its plan is not the recorded one" in altered
    assert "its plan is not the recorded one" in approvals.shown(console, ada)


def test_a_refusal_whose_end_is_not_recorded_yet_may_still_change(
    console: Console, run_service: RunService, ada: Person
) -> None:
    run = run_service.start(ada, Ask("plan_file", "plan.yaml")).run
    cards, plan = Cards(console, run_service), run_service.row(run).plan  # type: ignore[union-attr]
    principal = console.principal(ada)
    Ledger.of(console.workspace).append(Phase.DENIED, principal=principal, run=run, plan=plan)
    between = cards.draw(run)
    assert "card denied" in between.html and between.is_live
    console.agent(ada).resume(run)
    after = cards.draw(run)
    assert "ada denied the plan" in after.html and not after.is_live


def test_a_finished_card_shows_the_verdict_and_a_stopped_one_offers_to_go_on(
    console: Console, run_service: RunService, ada: Person
) -> None:
    agent = console.agent(ada)
    ask = Ask("plan_file", "plan.yaml")
    outcome = agent.start(ask, Consent(agent.plan_for(ask).plan.id, "test"))
    card = Cards(console, run_service).draw(outcome.run)
    assert "Verdict: GO" in card.html and "<summary>result</summary>" in card.html and not card.is_live
    waiting = run_service.start(ada, Ask("slash", "/collect lines.txt")).run
    assert "Nothing was run" not in Cards(console, run_service).draw(waiting).html


def test_what_a_step_told_is_shown_as_text(console: Console, run_service: RunService, ada: Person) -> None:
    run = run_service.start(ada, Ask("slash", "/collect lines.txt")).run
    events = RunEventFile(run_events_path(console.workspace, run))
    events.begun("collect", "collect")
    events.log("collect", EVIL)
    html = Cards(console, run_service).draw(run).html
    assert (
        "<script>" not in html
        and "&lt;script&gt;" in html
        and "{{ 7777 * 7777 }}" in html
        and "60481729" not in html
    )


def test_blocks_show_values_as_text_and_only_their_own_links() -> None:
    made = [
        blocks.text(EVIL),
        blocks.pre(EVIL),
        blocks.table([EVIL], [[EVIL, blocks.cell(EVIL, command=EVIL)]], title=EVIL),
        blocks.commands({EVIL: EVIL}),
        *blocks.result({"message": EVIL[:100], "n": 3}),
    ]
    entry = {"id": "e0", "kind": "answer", "blocks": made, "run": None}
    html = render("entry.html", entry=entry)
    assert "<script" not in html and "href" not in html and html.count("&lt;script&gt;") >= 8


def test_a_long_table_is_cut_and_says_so() -> None:
    long = blocks.table(["n"], [[n] for n in range(250)])
    html = render("entry.html", entry={"kind": "answer", "run": None, "blocks": [long]})
    assert "150 more rows are left out" in html and ">99</td>" in html and ">100</td>" not in html


def test_columns_of_figures_stand_right_and_others_left() -> None:
    made = blocks.table(
        ["n", "size", "model", "p50"], [["1,204", "4.7 MB", "v2", ""], ["3", "12 kB", "3", ""]]
    )
    assert made["numbers"] == [True, True, False, False]
    html = render("entry.html", entry={"kind": "answer", "run": None, "blocks": [made]})
    assert html.count('class="brief number"') == 4
    made["numbers"] = [True]  # as one that was kept by another version
    assert "v2" in render("entry.html", entry={"kind": "answer", "run": None, "blocks": [made]})


def test_a_card_names_whose_approval_it_waits_for_and_offers_to_withdraw_to_who_gave_it(
    console: Console, run_service: RunService, ada: Person
) -> None:
    run = run_service.start(ada, Ask("plan_file", "plan.yaml")).run
    cards = Cards(console, run_service)
    waiting = cards.draw(run).html
    assert "somebody with the role releaser" in waiting and 'data-roles="releaser"' in waiting
    console.agent(ada).answer(run, Consent(run_service.row(run).plan, "console", approved=True))  # type: ignore[union-attr]
    assert 'data-mine="ada" hidden' in cards.draw(run).html


def test_times_and_amounts_are_told_as_people_read_them() -> None:
    told = ago("2026-11-22T15:52:50.123+00:00")
    assert 'title="2026-11-22 15:52:50 UTC">2026-11-22 15:52</time>' in told
    assert "<script>" not in ago('"><script>') and ago(None) == ""
    amounts = ("0", "4", "0.277", "2.72", "20,000", "1,234")
    assert tuple(amount(n) for n in (0, 4.0, 0.277424, 2.72258, 20000, 1234.5)) == amounts


def test_a_curve_has_round_marks_and_leaves_out_what_is_no_number() -> None:
    drawn = curve("loss", [(1, 3.07), (2, float("nan")), (50, 0.31), (100, 0.12)])
    assert drawn is not None
    assert [mark.text for mark in drawn.y_marks] == ["0", "1", "2", "3", "4"]
    assert drawn.last == "0.12" and len(drawn.points.split()) == 3
    assert curve("loss", [(1, 2.0)]) is None
    assert curve("loss", [(1, 2.0), (2, 2.0)]) is not None
