from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from opswright.data.card import RowCounts, quantiles, render_card
from opswright.data.filters.language import script_of
from opswright.data.sample import Sample
from opswright.skills.curate import CurateRequest, curate


class Tags(HTMLParser):
    """The names of a page's tags, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names, self.text = set[str](), ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.names.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_dataset_has_a_card_that_says_what_was_kept_and_left_out(tmp_path: Path, context: Any) -> None:
    evil = "<script>alert(1)</script> play it"
    rows = [{"text": f"say {n * 7919} and {n * 31}", "label": "ab"[n % 2], "x": 1} for n in range(30)]
    rows += [{"text": evil, "label": "a"}, {"text": evil, "label": "a"}, {"text": 5, "label": "a"}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ctx = context()
    result = curate(CurateRequest(source=tmp_path / "a.jsonl"), ctx)
    folder = ctx.artifacts.open(result.dataset).path
    card = json.loads((folder / "card.json").read_text())
    assert (card["rows"], card["task"], card["unused"]) == (31, "classify", {"x": 30})
    assert card["labels"] == {"different": 2, "rows_of_label": {"a": 16, "b": 15}, "rarest": 15}
    assert card["dropped"]["exact_duplicate"]["examples"] == [
        {"where": "a.jsonl row 32", "text": evil, "answer": "a", "why": "of a.jsonl row 31"}
    ]
    assert set(card["dropped"]) == {"exact_duplicate", "wrong_type"} and card["scripts"] == {"Latin": 31}
    page = Tags((folder / "card.html").read_text())
    assert not page.names & {"script", "img", "link", "iframe"} and evil in page.text
    assert "exact_duplicate" in page.text and "no golden set was kept out" in page.text


def test_an_empty_profile_still_makes_a_page() -> None:
    names = ("columns", "unused", "dropped", "leaked", "licences", "scripts")
    counts = ("rows", "train_rows", "validation_rows", "groups", "masked_rows", "replay_rows")
    profile = RowCounts()
    profile.add(Sample.of("1", "hi", "yes", tags={"licence": "CC0"}), "yes")
    labels = {"different": 0, "rows_of_label": {}, "rarest": 0}
    card = {
        **dict.fromkeys(counts, 0),
        **{name: {} for name in names},
        **profile.document(),
        "labels": labels,
    }
    assert "CC0" in render_card({**card, "task": "chat", "made_of": []})


def test_quantiles_and_scripts() -> None:
    assert quantiles({}) == {}
    assert quantiles({3: 1}) == {"least": 3, "median": 3, "p95": 3, "most": 3}
    assert quantiles({1: 50, 2: 44, 9: 6}) == {"least": 1, "median": 1, "p95": 9, "most": 9}
    found = [script_of(text) for text in ("hi", "7 + 3", "Привет, Ann", "नमस्ते", "你好", "\U0001f600", "été")]
    assert found == ["Latin", "none", "Cyrillic", "Devanagari", "Han", "none", "Latin"]
