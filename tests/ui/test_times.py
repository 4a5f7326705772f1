"""Times in sentences: how long ago for people, the whole of each beside it, and nothing else is touched."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from opswright.ui.console.chat import blocks
from opswright.ui.console.markup import environment
from opswright.ui.times import with_ago

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def shown(text: str) -> str:
    template = environment().from_string('{% import "blocks.html" as b %}{{ b.show(blocks) }}')
    return template.render(blocks=[blocks.text(text)])


@pytest.mark.parametrize(
    ("time", "told"),
    [
        ("2026-11-23T11:59:40", "just now (2026-11-23 11:59:40 UTC)"),
        ("2026-11-23T11:20:00Z", "40 min ago (2026-11-23 11:20:00 UTC)"),
        ("2026-11-23T10:00:00.123456+00:00", "2 h ago (2026-11-23 10:00:00 UTC)"),
        ("2026-11-23T12:00:00+02:00", "2 h ago (2026-11-23 10:00:00 UTC)"),
        ("2026-11-20T12:00:00 UTC", "3 days ago (2026-11-20 12:00:00 UTC)"),
        ("2026-01-02T03:04:05Z", "2026-01-02 03:04:05 UTC"),
        ("2027-01-02T03:04:05Z", "2027-01-02 03:04:05 UTC"),
    ],
)
def test_a_time_is_told_as_a_colleague_would(time: str, told: str) -> None:
    assert with_ago(f"shop: v2 (stable), since {time} (promoted v2).", NOW) == (
        f"shop: v2 (stable), since {told} (promoted v2)."
    )


@pytest.mark.parametrize(
    "text",
    [
        "run 20261123-101500-1a2b3c of 2026-11-23",
        "`opswright live --at 2026-11-23T10:00:00Z` tells more",
        "2026-13-45T10:00:00Z is no day",
        "0001-01-01T00:00:00+14:00 is before the calendar",
        "s3://logs/2026-11-23T10:00:00Zebra",
    ],
)
def test_what_is_no_time_or_is_to_be_typed_stays_as_it_is(text: str) -> None:
    assert with_ago(text, NOW) == text


def test_the_chat_shows_a_time_as_every_page_does_and_markup_as_text() -> None:
    page = shown("<b>shop</b>: since 2026-11-23T10:00:00 (promoted & done)")
    assert (
        '<time datetime="2026-11-23T10:00:00Z" title="2026-11-23 10:00:00 UTC">2026-11-23 10:00</time>'
        in page
    )
    assert "&lt;b&gt;shop&lt;/b&gt;" in page and "promoted &amp; done" in page and "<b>" not in page
    forged = shown("\0000\0 and \0 since 2026-11-23T10:00:00Z")  # what stands for a time inside
    assert forged.count("<time") == 1
