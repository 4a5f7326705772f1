"""The documentation in the console: what an answer cites opens at its section, and nothing else is served."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest
from starlette.testclient import TestClient

from opswright.agents.memory.answer import Citation
from opswright.agents.memory.doc_passages import doc_passages
from opswright.core.settings import Role
from opswright.ui.console import app
from opswright.ui.console.auth.users import Person
from opswright.ui.console.console import Console
from opswright.ui.console.web.docs import docs_pages, rendered

HOST = "http://127.0.0.1:7999"


def client(console: Console, users: Mapping[str, Person] | None = None) -> TestClient:
    console.users = users
    return TestClient(app.application(console, "127.0.0.1", 7999), base_url=HOST)


def test_every_citation_of_the_documentation_leads_to_its_section(console: Console) -> None:
    links = {Citation(1, passage).link for passage in doc_passages()}
    pages = {
        address: page.made(page.html.read_text(encoding="utf-8")) for address, page in docs_pages().items()
    }
    lost = []
    for link in links:
        address, _, anchor = link.partition("#")
        if address not in pages or (anchor and f'id="{anchor}"' not in pages[address]):
            lost.append(link)
    assert len(links) > 200 and lost == []
    of_the_frame = re.compile(r'id="(content|person|bell|top|[a-z]+-page)"')
    assert not [address for address, page in pages.items() if of_the_frame.search(page)]


def test_a_page_is_served_with_the_frame_of_every_page(console: Console) -> None:
    page = client(console).get("/docs/guide/policy.md")
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    assert '<h2 id="approvals">' in page.text and "Skip to content" in page.text
    assert "script-src" in page.headers["content-security-policy"]
    assert client(console).post("/call/docs/waiting", json={}).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/docs/guide/nothing.md",
        "/docs/promises.md",
        "/docs/guide/../../pyproject.toml",
        "/docs/guide/%2e%2e/%2e%2e/pyproject.toml",
        "/docs/guide/",
        "/docs",
    ],
)
def test_nothing_but_the_pages_is_served(console: Console, path: str) -> None:
    assert client(console).get(path).status_code in (403, 404)


def test_who_is_not_logged_in_reads_no_page(console: Console) -> None:
    web = client(console, {"ada": Person("ada", Role.RELEASER)})
    told = web.get("/docs/guide/policy.md", follow_redirects=False)
    assert told.status_code == 303 and told.headers["location"].startswith("/login?to=%2Fdocs%2Fguide")


def test_markup_is_shown_as_text_and_links_lead_only_to_what_is_there() -> None:
    known = frozenset({"/docs/guide/a.md", "/docs/reference/b.md"})
    page = rendered(
        "# A\n<script>x</script> [b](../reference/b.md#of-b) [gone](../decisions/1.md) [me](#a) "
        "[out](https://example.org) [evil](javascript:alert(1)) ![a shot](../images/x.png)\n\n"
        "## Twice\n## Twice\n",
        "/docs/guide/a.md",
        known,
    )
    assert "<script>" not in page and "&lt;script&gt;" in page and "<img" not in page and "(a shot)" in page
    assert re.findall(r'href="([^"]*)"', page) == ["/docs/reference/b.md#of-b", "#a", "https://example.org"]
    assert page.count('id="twice"') == 1 and "gone" in page and 'rel="noopener noreferrer"' in page
