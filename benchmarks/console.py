"""How fast the console is: start, planning, answers in a browser, many people at once, MCP; and its memory.

Needs Chromium, on Linux: `python benchmarks/console.py` measures all of it against its goals, in about eight
minutes on 2 quiet cores, on a small workspace of its own (or `--home .opswright`, yours: only read). `--only
starts planning` measures parts. `--beside CHECKOUT` starts that checkout's console in turn with this one,
which tells a change from a busy machine. The people look and type as a browser would, without one.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import URLError
from urllib.request import Request, urlopen

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
COMMANDS = ("/help", "/skills", "/runs", "/status", "/live", "/gpus", "/help plan", "what can you do")


PARTS = ("starts", "planning", "answers", "people", "mcp")


class Server:
    """One console process."""

    def __init__(self, home: Path, checkout: Path | None = None) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{port}"
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "opswright.ui.cli", "--home", str(home), "chat", "--port", str(port)],
            env={**os.environ, "OPSWRIGHT_MLFLOW__MIRROR": "off", **_import_path(checkout)},
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

    def cpu_s(self) -> float:
        """CPU seconds of the process so far, without its workers."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mb(self) -> float:
        """Resident memory of the process, without its workers."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(timeout=180)


@contextmanager
def served(home: Path) -> Iterator[Server]:
    """A console that has answered its first page; ended after it."""
    server = Server(home)
    server.wait_s()
    try:
        yield server
    finally:
        server.stop()


def _import_path(checkout: Path | None) -> dict[str, str]:
    """What has a process import another checkout; needs its `.link` folder."""
    return {} if checkout is None else {"PYTHONPATH": str(checkout / ".link")}


@dataclass
class Starts:
    """What starts of one checkout took: seconds, and CPU seconds of the console's process by then."""

    name: str
    checkout: Path | None
    served: list[float] = field(default_factory=list)
    usable: list[float] = field(default_factory=list)
    served_cpu: list[float] = field(default_factory=list)
    usable_cpu: list[float] = field(default_factory=list)

    def once(self, browser: Browser, home: Path) -> None:
        """One start to the first answered page, one to a box that can be typed into, in a browser."""
        server = Server(home, self.checkout)
        self.served.append(server.wait_s())
        self.served_cpu.append(server.cpu_s())
        server.stop()
        page = browser.new_page()
        server = Server(home, self.checkout)
        server.wait_listening()
        page.goto(server.url)
        page.wait_for_selector("#chat-page [data-ready]")
        self.usable.append(time.monotonic() - server.began)
        self.usable_cpu.append(server.cpu_s())
        page.close()
        server.stop()

    def show(self) -> None:
        """Print the medians."""
        for what, walls, cpus in (
            ("first page served", self.served, self.served_cpu),
            ("a page that can be typed into", self.usable, self.usable_cpu),
        ):
            spread = f"{min(walls):.2f} to {max(walls):.2f}"
            print(
                f"{self.name}: start to {what}: median {statistics.median(walls):.2f} s of {len(walls)}",
                end="",
            )
            print(f" ({spread}); CPU of the process {statistics.median(cpus):.2f} s")


def crowd(server: Server, people: int, seconds: float) -> None:
    """As many people at once, each in a conversation of their own: a look a second, a command every three."""
    taken: list[float] = []
    first: list[float] = []
    faults: list[str] = []

    def call(name: str, payload: dict[str, Any]) -> dict[str, Any]:
        request = Request(
            f"{server.url}/call/chat/{name}",
            json.dumps(payload).encode(),
            {"Content-Type": "application/json"},
        )
        with urlopen(request, timeout=30) as answer:
            return dict(json.loads(answer.read()))

    def person(number: int) -> None:
        try:
            opened = call("open_conversation", {})
            where = {"conversation": opened["conversation"], "cursor": 0, "live": {}}
            turn, end = number, time.monotonic() + seconds
            while time.monotonic() < end:
                if turn % 3 == 0:
                    command = COMMANDS[(turn // 3) % len(COMMANDS)]
                    began = time.monotonic()
                    found = call("send", {**where, "text": command})
                    first.append((time.monotonic() - began) * 1e3)
                else:
                    began = time.monotonic()
                    found = call("look", where)
                    taken.append((time.monotonic() - began) * 1e3)
                if "fault" in found:
                    faults.append(found["fault"])
                else:
                    where["cursor"] = found["cursor"]
                turn += 1
                time.sleep(1.0)
        except Exception as error:
            faults.append(f"{type(error).__name__}: {error}")

    cpu, before = server.cpu_s(), time.monotonic()
    threads = [threading.Thread(target=person, args=(number,)) for number in range(people)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cpu, wall = server.cpu_s() - cpu, time.monotonic() - before
    print(
        f"{people} people for {wall:.0f} s: {len(first)} commands, {len(taken)} looks, {len(faults)} errors"
    )
    for fault in sorted(set(faults)):
        print(f"  {fault}")
    for what, values in (("command to its first answer", first), ("look", taken)):
        values.sort()
        p50, p95 = statistics.median(values), values[int(0.95 * len(values))]
        print(f"  {what}: p50 {p50:.0f} ms, p95 {p95:.0f} ms")
    each = 1e3 * cpu / (len(first) + len(taken))
    print(f"  the process used {cpu:.1f} CPU s, {each:.1f} ms a request")


def answer_ms(page: Page, command: str) -> float:
    """Milliseconds from Enter to the answer that can be seen."""
    page.locator("#chat-page textarea").fill(command)
    return float(
        page.evaluate(
            """async () => {
                const talk = document.querySelector("#chat-page .log"), shown = talk.querySelectorAll(".answer").length;
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


def planning(home: Path, rounds: int = 200) -> None:
    """What a plan takes in a running process, from the line to the compiled proposal; nothing is run."""
    from opswright.agents.planner import PLAIN_LANGUAGE, Ask, Proposal
    from opswright.core.settings import load_settings
    from opswright.skills import load_registry
    from opswright.ui.console.auth.users import Person
    from opswright.ui.console.chat.run_service import RunService
    from opswright.ui.console.console import Console

    tickets = home.parent / "tickets.csv"
    tickets.write_text("text,label\nwhere is my card,card\npay my rent,pay\n")
    os.chdir(home.parent)
    runs = RunService(Console(load_registry(), load_settings(home=home)))
    who = Person("ada", "releaser")
    for name, kind, line, goal in (
        ("slash command", "slash", "/golden suite=clinc150", 50),
        (
            "phrase",
            PLAIN_LANGUAGE,
            "curate tickets.csv and train the tiny model on it for 200 steps",
            100,
        ),
    ):
        taken = []
        for _ in range(rounds + 5):
            began = time.monotonic()
            found = runs.propose(who, Ask(kind, line))
            taken.append((time.monotonic() - began) * 1e3)
            if not isinstance(found, Proposal):
                sys.exit(f"{line!r} led to no plan: {found}")
        taken = sorted(taken[5:])  # the first ones load what planning needs
        print(f"{name} planned: p50 {statistics.median(taken):.1f} ms, ", end="")
        print(f"p95 {taken[int(0.95 * rounds)]:.1f} ms of {rounds}; goal {goal} ms p50")


def answers(browser: Browser, server: Server, commands: int) -> None:
    """What a person waits for, from Enter to the answer that can be seen, and the memory meanwhile."""
    page = browser.new_page()
    page.goto(server.url)
    page.wait_for_selector("#chat-page [data-ready]")
    page.wait_for_timeout(6000)  # what the first command needs is loaded beside
    page.click("[data-act=new]")
    page.wait_for_selector(".welcome")
    taken: dict[str, list[float]] = {command: [] for command in COMMANDS}
    memory = []
    for number in range(commands):
        command = COMMANDS[number % len(COMMANDS)]
        taken[command].append(answer_ms(page, command))
        if number % (commands // 6) == commands // 6 - 1:
            memory.append(server.memory_mb())
    page.close()
    every = sorted(value for values in taken.values() for value in values)
    p95 = every[int(0.95 * len(every))]
    print(f"Enter to answer in a browser: p50 {statistics.median(every):.0f} ms, p95 {p95:.0f} ms", end="")
    print(f" of {len(every)} commands; goals 50 ms p50, 150 ms p95")
    for command, values in taken.items():
        print(f"  {command:18} p50 {statistics.median(values):6.0f} ms")
    print(f"memory after each sixth: {', '.join(f'{mb:.0f}' for mb in memory)} MB;", end="")
    print(f" last sixth to second: {memory[-1] / memory[1]:.3f}")


def mcp() -> None:
    """A call of a tool through the MCP server, by its own benchmark in a process of its own."""
    program = [sys.executable, str(Path(__file__).with_name("mcp.py"))]
    done = subprocess.run(program, capture_output=True, text=True, timeout=600)
    if done.returncode:
        sys.exit(f"benchmarks/mcp.py failed: {done.stderr[-1000:]}")
    print(f"MCP tool call, goal 50 ms p50: {done.stdout.strip()}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--home", type=Path, help="a workspace; by default a new one")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="these parts alone")
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--commands", type=int, default=600, help="an hour's worth: one every six seconds")
    parser.add_argument("--beside", type=Path, help="another checkout, started in turn with this one")
    parser.add_argument("--people", type=int, default=20, help="how many look and type at once")
    parser.add_argument("--seconds", type=float, default=60.0, help="for so long")
    ask = parser.parse_args()
    from playwright.sync_api import sync_playwright

    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        home = ask.home or Path(scratch) / "ws"
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        if "starts" in ask.only:
            starts = [Starts("this checkout", None)]
            starts += [Starts(str(ask.beside), ask.beside)] * bool(ask.beside)
            for _ in range(ask.starts):
                for one in starts:
                    one.once(browser, home)
            for one in starts:
                one.show()
            print("goal: 2 s to a page that can be typed into")
        if "planning" in ask.only:
            planning(Path(scratch) / "planned")
        if "answers" in ask.only:
            with served(home) as server:
                answers(browser, server, ask.commands)
        browser.close()
        if "people" in ask.only:
            with served(home) as server:
                time.sleep(6)  # what the first command needs is loaded beside
                crowd(server, ask.people, ask.seconds)
        if "mcp" in ask.only:
            mcp()


if __name__ == "__main__":
    main()
