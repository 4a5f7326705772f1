"""Makes the pictures of the README and the guide from a finished demo: `make screenshots`.

Needs Chromium and a workspace in which `opswright demo` ended well, and its endpoint up (`opswright serve`):
`python docs/images/make.py .opswright`. Takes about two minutes on 2 cores: for the picture of a training
that goes on, one is started and stopped. Adds a conversation and two runs to the workspace.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import urlopen

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
HERE = Path(__file__).parent
ROOT = HERE.parents[1]
WIDTH = 1280
TRAINING = """\
goal: Learn the intents of two domains
steps:
  golden: {skill: golden, with: {suite: clinc150}}
  data: {skill: curate, with: {source: raw/clinc150, golden: "${golden.dataset}", domains: [banking, travel]}}
  model: {skill: finetune, with: {data: "${data.dataset}", base: tiny}}
"""


@contextmanager
def console(workspace: Path, folder: Path) -> Iterator[str]:
    """The address of a console that runs in a folder on a workspace."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    command = [sys.executable, "-m", "opswright.ui.cli", "--home", str(workspace), "--actor", "ada"]
    process = subprocess.Popen([*command, "chat", "--port", port], cwd=folder)
    url = f"http://127.0.0.1:{port}"
    try:
        while process.poll() is None:
            try:
                with urlopen(url, timeout=5):
                    break
            except OSError:
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=180)


def keep(page: Page, name: str) -> None:
    """Photograph the page as it is."""
    page.screenshot(path=str(HERE / f"{name}.png"))
    print(f"{name}.png")


def say(page: Page, text: str, shown: str) -> None:
    """Send a command and wait until its answer is shown."""
    before = page.locator(shown).count()
    page.locator("#chat-page textarea").fill(text)
    page.keyboard.press("Enter")
    page.wait_for_function(
        "([shown, before]) => document.querySelectorAll(shown).length > before",
        arg=[shown, before],
        timeout=180_000,
    )


def chat(browser: Browser, url: str) -> None:
    """Completion, a plan that waits, and a training that goes on."""
    page = browser.new_page(viewport={"width": WIDTH, "height": 1180}, device_scale_factor=1.5)
    page.goto(url)
    page.wait_for_selector("#chat-page [data-ready]")
    page.wait_for_timeout(5000)
    page.click("[data-act=new]")
    page.wait_for_selector(".welcome")
    box = page.locator("#chat-page textarea")
    box.press_sequentially("/")
    page.wait_for_selector(".option")
    page.set_viewport_size({"width": WIDTH, "height": 700})
    keep(page, "console-completion")
    page.set_viewport_size({"width": WIDTH, "height": 1180})
    box.fill("")
    say(page, "/plan v1.yaml", ".card.waiting")
    page.locator(".log").evaluate("node => { node.scrollTop = node.scrollHeight }")
    page.locator(".card details[open]").evaluate_all("all => all.forEach((one) => { one.open = false; })")
    page.locator(".log").evaluate("node => { node.scrollTop = node.scrollHeight }")
    keep(page, "console-plan")
    own_pages(browser, url)  # while something waits
    page.locator("[data-act=reject]").last.click()
    page.wait_for_selector(".card.denied")
    say(page, "/plan training.yaml", ".card.waiting")
    page.locator("[data-act=approve]").last.click()
    page.wait_for_function(
        "() => { const line = document.querySelector('.step.running svg.curve polyline');"
        " return line && line.points.length >= 40 }",
        timeout=600_000,
    )
    page.set_viewport_size({"width": WIDTH, "height": 820})
    page.locator(".log").evaluate("node => { node.scrollTop = node.scrollHeight }")
    keep(page, "console-run")
    page.click("[data-act=stop]")
    page.wait_for_selector(".card.stopped", timeout=120_000)
    page.close()


def data_page(browser: Browser, url: str) -> None:
    """Two files brought to the page "Data", and what is found in them."""
    page = browser.new_page(viewport={"width": WIDTH, "height": 1180}, device_scale_factor=1.5)
    page.goto(f"{url}/data")
    page.wait_for_selector("#data-page [data-ready], #data-page[data-ready]", state="attached")
    raw = ROOT / "examples" / "support_router" / "raw" / "banking77"
    page.locator("#data-page input[type=file]").set_input_files([raw / "train.csv", raw / "test.csv"])
    page.wait_for_selector("#facts", timeout=240_000)
    page.set_viewport_size({"width": WIDTH, "height": 1560})
    page.wait_for_timeout(500)
    keep(page, "console-data")
    page.close()


def own_pages(browser: Browser, url: str) -> None:
    """The first screen, and the approvals."""
    page = browser.new_page(viewport={"width": WIDTH, "height": 720}, device_scale_factor=1.5)
    page.goto(url)
    page.wait_for_selector(".overview")
    page.wait_for_timeout(500)
    keep(page, "console-first")
    page.set_viewport_size({"width": WIDTH, "height": 300})
    page.goto(f"{url}/approvals")
    page.wait_for_selector("article")
    page.wait_for_timeout(300)
    keep(page, "console-approvals")
    page.close()


def other_pages(browser: Browser, url: str) -> None:
    """Leaderboard, comparison, endpoints, drift, ledger."""
    page = browser.new_page(viewport={"width": WIDTH, "height": 1120}, device_scale_factor=1.5)
    page.goto(f"{url}/leaderboard")
    page.wait_for_selector("#leaderboard-table input[name=side-a]")
    page.wait_for_timeout(1500)
    keep(page, "console-leaderboard")
    rows = page.locator("#leaderboard-table tbody tr")
    ours = [row for row in rows.all() if re.search("checkpoint:", row.inner_text())]
    for row, side in zip(ours[:2][::-1], ("a", "b"), strict=True):
        row.locator(f"input[name=side-{side}]").check()
    page.wait_for_selector("#leaderboard-items >> text=/lost|won/")
    page.wait_for_timeout(1500)
    page.get_by_role("tab", name="Compare two").evaluate("node => node.scrollIntoView()")
    page.wait_for_timeout(300)
    keep(page, "console-compare")
    for name, part in (("endpoints", "#releases"), ("drift", "#tests"), ("ledger", "#ledger-table tbody tr")):
        page.goto(f"{url}/{name}")
        page.wait_for_selector(part)
        page.wait_for_timeout(1500)
        keep(page, f"console-{name}")
    page.close()


def main(workspace: Path) -> None:
    """Photograph the demo's report and every page of the console."""
    from playwright.sync_api import sync_playwright

    workspace = workspace.resolve()
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        example = ROOT / "examples" / "support_router"
        for part in example.iterdir():
            (folder / part.name).symlink_to(part)
        (folder / "training.yaml").write_text(TRAINING)
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        page = browser.new_page(viewport={"width": 1000, "height": 1180}, device_scale_factor=1.5)
        page.goto(f"file://{workspace / 'reports' / 'demo.html'}")
        keep(page, "demo-report")
        with console(workspace, folder) as url:
            other_pages(browser, url)
            data_page(browser, url)
            chat(browser, url)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else ".opswright"))
