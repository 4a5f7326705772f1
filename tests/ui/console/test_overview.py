"""The first screen: what is live, what waits for whom, what was found, what to do next."""

from __future__ import annotations

from pathlib import Path

import pytest

from opswright.agents.approvals import Consent
from opswright.agents.planner import Ask
from opswright.core.artifact_refs import BundleRef
from opswright.core.contract import Effect
from opswright.core.registry import Registry
from opswright.core.settings import Role
from opswright.record.ledger import Ledger, Phase
from opswright.serving.releases import EndpointState, new_release, write_state
from opswright.skills import load_registry
from opswright.ui.console.auth.users import Person
from opswright.ui.console.chat import cards
from opswright.ui.console.chat.run_service import RunService
from opswright.ui.console.console import Console
from opswright.ui.console.next_steps import NextStep, next_steps
from opswright.ui.console.overview import overview
from opswright.ui.console.waiting import waiting_runs
from opswright.ui.console.web import approvals, budgets, system


@pytest.fixture
def run(ada: Person, run_service: RunService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A run that waits for approval of the small plan."""
    monkeypatch.chdir(tmp_path)
    return run_service.start(ada, Ask("plan_file", "plan.yaml")).run


def test_an_empty_workspace_says_how_to_begin(console: Console, ada: Person) -> None:
    shown = overview(console, ada)
    for words in ("Nothing is deployed yet", "Nothing waits for approval", "opswright demo", 'href="/data"'):
        assert words in shown


def test_what_waits_names_whom_it_waits_for(console: Console, ada: Person, run: str) -> None:
    (mine,) = waiting_runs(console, ada)
    (others,) = waiting_runs(console, Person("vic", Role.VIEWER))
    assert mine.run == run and mine.may_approve and mine.for_whom == "you" and mine.may_refuse
    assert not others.may_approve and "releaser" in others.for_whom and others.why_not
    assert "waits for you" in overview(console, ada)
    assert "waits for you" not in overview(console, Person("vic", Role.VIEWER))


def test_the_approvals_page_offers_each_person_what_the_policy_lets_them(
    console: Console, ada: Person, run: str
) -> None:
    mine, others = approvals.shown(console, ada), approvals.shown(console, Person("vic", Role.VIEWER))
    assert 'data-do="approve"' in mine and "Waits for you" in mine
    assert "data-do" not in others and "You may not approve it" in others


def test_what_has_changed_is_void_on_the_approvals_page_and_not_offered(
    console: Console, ada: Person, run: str
) -> None:
    Path("lines.txt").write_text("others\n")
    shown = approvals.shown(console, ada)
    assert "void: lines.txt changed since the plan was made" in shown
    assert 'data-do="approve"' not in shown and 'data-do="deny"' in shown


def test_the_month_and_what_is_left_of_it_stand_on_the_card_the_first_screen_and_the_budgets_page(
    console: Console, ada: Person, run: str, run_service: RunService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cards, "VOID_EVERY_S", 0.0)
    drawn = cards.Cards(console, run_service)
    assert 'class="month"' not in budgets.shown(console, "person", "this month")
    Path("policy.yaml").write_text("budgets: {person: {minutes: 2}, month: {minutes: 50}}\n")
    card = drawn.draw(run).html
    assert "ada&#39;s budget of" in card and "2 minutes left. This plan would not fit" in card
    assert "everybody&#39;s budget" in card and card.count("would not fit") == 1, "training takes 3 minutes"
    Path("policy.yaml").write_text("budgets: {person: {minutes: 9}, people: {ria: {minutes: 70}}}\n")
    assert "would not fit" not in drawn.draw(run).html and "9 minutes left" in drawn.draw(run).html
    assert "9 minutes left" in overview(console, ada)
    page = budgets.shown(console, "person", "this month")
    assert "<td>ria</td><td>minutes</td>" in page and ">70<" in page
    Path("policy.yaml").write_text("budgets: {persn: 1}\n")
    assert "void: " in drawn.draw(run).html and "persn" in drawn.draw(run).html, "no step would begin"


def test_an_approval_that_was_given_is_named_and_can_be_withdrawn(
    console: Console, ada: Person, run: str, run_service: RunService
) -> None:
    agent = console.agent(ada)
    plan = agent.outcome(run).plan
    assert plan is not None
    agent.answer(run, Consent(plan.id, "console"))
    (row,) = waiting_runs(console, ada, ("approved",))
    assert [one.by.split()[0] for one in row.given] == ["ada"] and not row.may_approve
    assert "Withdraw my approval" in approvals.shown(console, ada)
    other = approvals.shown(console, Person("ria", Role.RELEASER))
    assert "Withdraw my approval" not in other and 'data-do="deny"' in other
    run_service.refuse(ada, run, plan.id, "the wrong week")
    assert agent.outcome(run).status == "denied"
    assert waiting_runs(console, ada, ("waiting", "approved")) == []


def served(console: Console) -> None:
    """An endpoint whose second release is the canary of its first, which was promoted on the second day."""
    empty = EndpointState(endpoint="shop")
    stable = new_release(empty, _bundle("1"), None, "")
    canary = new_release(empty.model_copy(update={"last_number": 1}), _bundle("2"), None, "")
    days = (("deployed", "v0-older"), ("promoted", stable.id), ("canary", stable.id))
    changes = [
        {"at": f"2026-11-0{day}T10:00:00Z", "what": what, "release": stable.id, "stable": then}
        for day, (what, then) in enumerate(days, 1)
    ]
    found = {"stable": stable, "canary": canary, "canary_percent": 15, "last_number": 2, "changes": changes}
    write_state(console.workspace, EndpointState.model_validate({"endpoint": "shop", **found}))


def _bundle(digit: str) -> BundleRef:
    return BundleRef(f"bundle:{digit * 64}")


def test_what_is_live_says_the_release_since_when_and_the_canarys_share(
    console: Console, ada: Person
) -> None:
    served(console)
    shown = overview(console, ada)
    assert "shop" in shown and "2026-11-02 10:00:00" in shown and "15 %" in shown
    assert "The gateway is not running" in shown


def test_an_alarm_of_drift_is_told_until_a_retraining_takes_it_up(console: Console, ada: Person) -> None:
    ledger, who = Ledger.of(console.workspace), console.principal(ada)
    alarm = f"drift-report:{'a' * 64}"
    found = {"endpoint": "shop", "alarm": True, "message": "alarm by length", "report": alarm}
    ledger.append(Phase.DONE, principal=who, run="one", step="drift", skill="drift", detail={"result": found})
    assert "alarm by length" in overview(console, ada)
    assert "took it up" not in overview(console, ada)
    ledger.append(
        Phase.INTENT, principal=who, run="two", step="again", skill="retrain", effect=Effect.WRITES,
        detail={"request": {"alarm": alarm}},
    )  # fmt: skip
    assert "alarm by length; a retraining took it up" in overview(console, ada)


def test_an_artifact_that_nothing_used_leads_on(
    console: Console, ada: Person, run_service: RunService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first = run_service.start(ada, Ask("slash", "/collect source=lines.txt"))
    assert first.plan is not None
    console.agent(ada).answer(first.run, _consent(first.plan.id))
    console.agent(ada).resume(first.run)

    steps = next_steps(console.workspace, load_registry(), {})
    assert [one.command.split(":")[0] for one in steps] == ["/finetune data=dataset"]


def test_a_skill_of_another_package_is_what_leads_on_where_it_takes_what_was_made(
    console: Console, ada: Person, run_service: RunService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def made(command: str) -> list[NextStep]:
        run = run_service.start(ada, Ask("slash", command))
        assert run.plan is not None
        console.agent(ada).answer(run.run, _consent(run.plan.id))
        console.agent(ada).resume(run.run)
        return next_steps(console.workspace, console.registry, {})

    (step,) = made("/collect source=lines.txt")
    assert step.command.startswith("/train data=dataset:") and "nothing has used it" in step.why
    (step,) = made(step.command)
    assert step.command.startswith("/publish model=checkpoint:") and step.command.endswith(" board=")
    reads_only = Registry(one for one in console.registry if one.effect is Effect.READS)
    assert next_steps(console.workspace, reads_only, {}) == []


def _consent(plan: str) -> Consent:
    from opswright.agents.approvals import Consent

    return Consent(plan, "console")


def test_names_in_the_record_are_shown_as_text(
    console: Console, ada: Person, run_service: RunService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (tmp_path / "plan.yaml").read_text().splitlines()
    text[0] = "goal: <img src=x onerror=alert(1)>"
    (tmp_path / "odd.yaml").write_text("\n".join(text))
    run_service.start(ada, Ask("plan_file", "odd.yaml"))
    for shown in (overview(console, ada), approvals.shown(console, ada)):
        assert "&lt;img" in shown and "<img" not in shown


def test_the_other_pages_tell_of_a_workspace_in_which_nothing_happened(console: Console) -> None:
    assert "Nothing was spent" in budgets.shown(console, "person", "this month")
    shown = system.shown(console, "http://127.0.0.1:7860/")
    assert "not running" in shown and "GB" in shown and "torch" in shown
    with pytest.raises(Exception, match="cannot add up"):
        budgets.shown(console, "person; drop", "this month")
