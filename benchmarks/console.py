"""How fast the console is: from start to a page that can be used, from Enter to an answer, and its memory.

Needs Chromium, on Linux. Takes about two minutes on 2 cores:
`python benchmarks/console.py` (a small workspace of its own) or `--home .opswright` (yours; reads only).
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import URLError
from urllib.request import urlopen

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
COMMANDS = ("/help", "/skills", "/runs", "/status", "/live", "/gpus", "/help plan", "what can you do")


class Server:
    """One console process."""

    def __init__(self, home: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{port}"
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "opswright.ui.cli", "--home", str(home), "chat", "--port", str(port)],
            env={**os.environ, "OPSWRIGHT_MLFLOW__MIRROR": "off"},
            stderr=subprocess.DEVNULL,
        )

    def wait_s(self) -> float:
        """Seconds from start to the first page that is answered."""
        while True:
            if self.process.poll() is not None:
                sys.exit("the console ended; run `opswright chat` to see why")
            try:
                with urlopen(self.url, timeout=5):
                    return time.monotonic() - self.began
            except (URLError, OSError):
                time.sleep(0.02)

    def wait_listening(self) -> None:
        """Until its port takes connections; it answers them later."""
        while True:
            try:
                socket.create_connection(("127.0.0.1", int(self.url.rpartition(":")[2]))).close()
                return
            except ConnectionRefusedError:
                time.sleep(0.02)

    def memory_mb(self) -> float:
        """Resident memory of the process, without its workers."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(timeout=30)


def start_times(browser: Browser, home: Path, times: int) -> tuple[list[float], list[float]]:
    """Seconds to the first answered page, and to a box that can be typed into, in a browser that waits."""
    served, usable = [], []
    for _ in range(times):
        server = Server(home)
        served.append(server.wait_s())
        server.stop()
        page = browser.new_page()
        server = Server(home)
        server.wait_listening()
        page.goto(server.url)
        page.wait_for_selector("#chat-page [data-ready]")
        usable.append(time.monotonic() - server.began)
        page.close()
        server.stop()
    return served, usable


def answer_ms(page: Page, command: str) -> float:
    """Milliseconds from Enter to the answer that can be seen."""
    page.locator("#chat-page textarea").fill(command)
    return float(
        page.evaluate(
            """async () => {
                const talk = document.querySelector("#chat-page .talk"), shown = talk.querySelectorAll(".answer").length;
                const box = document.querySelector("#chat-page textarea"), began = performance.now();
                const seen = new Promise((done) => {
                    const watch = new MutationObserver(() => {
                        if (talk.querySelectorAll(".answer").length > shown) { watch.disconnect(); done(); }
                    });
                    watch.observe(talk, { childList: true, subtree: true });
                });
                box.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true }));
                await seen;
                await new Promise(requestAnimationFrame);
                return performance.now() - began;
            }"""  # noqa: E501
        )
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--home", type=Path, help="a workspace; by default a new one")
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--commands", type=int, default=600, help="an hour's worth: one every six seconds")
    ask = parser.parse_args()
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        home = ask.home or Path(scratch) / "ws"
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        served, usable = start_times(browser, home, ask.starts)
        print(f"start to first page served: median {statistics.median(served):.2f} s of {ask.starts}", end="")
        print(f" (from {min(served):.2f} to {max(served):.2f})")
        print(f"start to a page that can be typed into: median {statistics.median(usable):.2f} s", end="")
        print(f" (from {min(usable):.2f} to {max(usable):.2f}); goal 3 s")
        server = Server(home)
        server.wait_s()
        page = browser.new_page()
        page.goto(server.url)
        page.wait_for_selector("#chat-page [data-ready]")
        page.wait_for_timeout(6000)  # what the first command needs is loaded beside
        page.click("[data-act=new]")
        page.wait_for_selector(".welcome")
        taken: dict[str, list[float]] = {command: [] for command in COMMANDS}
        memory = []
        for number in range(ask.commands):
            command = COMMANDS[number % len(COMMANDS)]
            taken[command].append(answer_ms(page, command))
            if number % (ask.commands // 6) == ask.commands // 6 - 1:
                memory.append(server.memory_mb())
        every = sorted(value for values in taken.values() for value in values)
        p95 = every[int(0.95 * len(every))]
        print(f"Enter to answer: p50 {statistics.median(every):.0f} ms, p95 {p95:.0f} ms", end="")
        print(f" of {len(every)} commands; goal 300 ms p50")
        for command, values in taken.items():
            print(f"  {command:18} p50 {statistics.median(values):6.0f} ms")
        print(f"memory after each sixth: {', '.join(f'{mb:.0f}' for mb in memory)} MB;", end="")
        print(f" last sixth to second: {memory[-1] / memory[1]:.3f}")
        server.stop()
        browser.close()


if __name__ == "__main__":
    main()
