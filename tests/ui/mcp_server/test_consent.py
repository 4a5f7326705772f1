"""Questions of consent: each is answered once, by its caller, about its plan, in time, with its code."""

from __future__ import annotations

import pytest
from mcp.types import ClientCapabilities, ElicitationCapability

from opswright.core.errors import HeldError
from opswright.core.gate import GateSpec, SliceBar
from opswright.ui.mcp.consent import ConsentDesk, card_text

from .bench import caller

ADA, EVE = caller("ada", "releaser"), caller("eve", "releaser")


def test_an_answer_counts_for_its_caller_run_and_plan_and_no_other() -> None:
    desk = ConsentDesk()
    for who, run, plan in ((EVE, "r1", "p1"), (ADA, "r2", "p1"), (ADA, "r1", "p2")):
        asked = desk.ask(ADA, "r1", "p1", "form")
        with pytest.raises(HeldError, match="no open question"):
            desk.take(asked.nonce, who, run, plan)
        with pytest.raises(HeldError, match="no open question"):  # a wrong try used it up
            desk.take(asked.nonce, ADA, "r1", "p1")
    asked = desk.ask(ADA, "r1", "p1", "form")
    assert desk.take(asked.nonce, ADA, "r1", "p1") == asked


def test_a_question_is_open_for_ten_minutes() -> None:
    now = [0.0]
    desk = ConsentDesk(clock=lambda: now[0])
    asked = desk.ask(ADA, "r1", "p1", "form")
    now[0] = 601.0
    with pytest.raises(HeldError, match="too old"):
        desk.take(asked.nonce, ADA, "r1", "p1")


def test_the_code_is_new_each_time_and_compared_without_case() -> None:
    desk = ConsentDesk()
    first, second = (desk.ask(ADA, "r1", "p1", "form") for _ in range(2))
    assert first.code != second.code and len(first.code) == 6
    desk.check_code(first, {"code": f" {first.code.lower()} "})
    for content in (None, {}, {"code": ""}, {"code": second.code}, {"code": None}):
        with pytest.raises(HeldError, match="not the one shown"):
            desk.check_code(first, content)


def test_a_page_is_preferred_where_the_console_has_an_address_and_the_client_opens_pages() -> None:
    def able(**modes: dict[str, str]) -> ClientCapabilities:
        return ClientCapabilities(elicitation=ElicitationCapability.model_validate(modes))

    both, form, url = able(form={}, url={}), able(form={}), able(url={})
    with_console, without = ConsentDesk("http://127.0.0.1:7860"), ConsentDesk()
    assert [with_console.mode(one) for one in (both, form, url, None)] == ["url", "form", "url", None]
    assert [without.mode(one) for one in (both, form, url, able())] == ["form", "form", None, "form"]
    assert ConsentDesk().mode(ClientCapabilities()) is None


def test_a_card_shows_each_argument_and_gate_however_long_the_others_are() -> None:
    arguments = {
        "bundle": "b" * 5_000,
        "endpoint": "prod",
        "canary_percent": 100,
        "note": "a\nstep: none\x1b[2J",
    }
    gate = GateSpec(suite="shop", min=0.0, slices={"vip": SliceBar(max_drop=0.5)}).model_dump(mode="json")
    step = {"id": "live", "skill": "deploy", "effect": "serves", "arguments": arguments, "expected": None}
    card = {
        "goal": "x" * 100_000,
        "effect": "changes what users get",
        "steps": [step],
        "budget": {"usd": 5},
        "gates": {"release": gate},
        "users_get": [],
        "findings": [],
    }
    text = card_text(ConsentDesk().ask(ADA, "r1", "p1", "form"), card)
    assert "endpoint=prod" in text and "canary_percent=100" in text and "approvals show r1" in text
    assert "gate release: score on shop at least 0.0%" in text and "vip at most 50 points" in text
    assert len(text) < 2_000 and "\nstep: none" not in text and "\x1b" not in text
