"""What a person sees of a run in a terminal: a bar and a clock for each step."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys

PROGRAM = """
import time
from opswright.ui.progress import terminal_events
with terminal_events() as events:
    events.begun("model", "finetune")
    events.progress("model", 30, 60, "steps")
    events.metric("model", "loss", 0.25, 30)
    events.log("model", "[half] way")
    events.progress("model", 60, 60, "steps")
    events.ended("model", "done", 1.5)
    events.begun("engine", "build-engine")
    events.ended("engine", "reused", 0.0)
"""


def test_a_terminal_shows_a_bar_the_figures_and_the_time_of_each_step() -> None:
    main, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=child,
        stdout=child,
        stderr=child,
        env={**os.environ, "COLUMNS": "120"},
    )
    os.close(child)
    shown = b""
    news = select.poll()  # select.select takes no descriptor above 1,023
    news.register(main, select.POLLIN | select.POLLHUP)
    while news.poll(60_000):
        try:
            part = os.read(main, 65536)
        except OSError:
            break  # the other end was closed
        if not part:
            break
        shown += part
    os.close(main)
    assert process.wait(timeout=240) == 0
    text = shown.decode()
    assert "60/60 steps" in text and "loss 0.25" in text and "[half] way" in text
    assert "0:00:0" in text and "reused" in text and "━" in text
