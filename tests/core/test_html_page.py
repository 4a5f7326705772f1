"""The frame of reports that are one HTML file."""

from __future__ import annotations

import pytest
from jinja2 import UndefinedError

from opswright.core.html_page import render_page


def test_a_page_loads_nothing_and_shows_what_it_is_given_as_text() -> None:
    evil = "</p><script src=//evil.example/x></script>"
    page = render_page(evil, "<p>{{ said }}</p>\n", said=evil)
    assert "<script" not in page and page.count("&lt;script") == 3
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in page
    assert page.startswith("<!doctype html>") and page.endswith("</p>\n</html>\n")


def test_a_name_that_nobody_gave_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="rows"):
        render_page("Card", "{{ rows }}")
