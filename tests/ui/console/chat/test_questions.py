"""Questions in the chat: what answers take is loaded once, and documentation is cited by a link."""

from __future__ import annotations

import gc

import pytest

from opswright.ui.console.chat.questions import ChatQuestions
from opswright.ui.console.console import Console


def test_an_answer_links_to_its_pages_and_what_it_loaded_is_not_collected_again_and_again(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen: list[int] = []
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append(len(gc.get_objects())))
    questions = ChatQuestions(console.workspace, console.registry)
    try:
        for _ in range(2):
            shown = questions.answer("how do I take an approval back?")
    finally:
        questions.close()
    assert len(frozen) == 1 and frozen[0] > 10_000
    cited = [block for block in shown if block["type"] == "passage"]
    assert cited and all(block["href"].startswith("/docs/") and block["link"] for block in cited)
