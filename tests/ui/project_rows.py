"""Rows of every task, and `opswright init` on them."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from opswright.ui.cli import run

Captured = pytest.CaptureFixture[str]
TOPICS = {"bills": "pay bill {n} for {w}", "trips": "fly to city {n} with {w}", "meals": "cook {w} {n} times"}
WORDS = ("ada", "bo", "cy", "dee", "ed")


def labelled(n: int = 240) -> list[dict[str, Any]]:
    draw = random.Random(1)
    rows = []
    for i in range(n):
        label = draw.choice(list(TOPICS))
        text = TOPICS[label].format(n=i, w=draw.choice(WORDS))
        rows.append({"utterance": text, "intent": label, "shop": draw.choice(("north", "south")), "seen": i})
    return rows


def chats(n: int = 200) -> list[dict[str, Any]]:
    return [
        {
            "messages": [
                {"role": "system", "content": "Remember."},
                {"role": "user", "content": f"i am number {i}"},
                {"role": "assistant", "content": "hello"},
                {"role": "user", "content": "who am i?"},
                {"role": "assistant", "content": f"number {i}"},
            ]
        }
        for i in range(n)
    ]


def calls(n: int = 200) -> list[dict[str, Any]]:
    return [
        {"prompt": f"set a timer for {i} minutes", "completion": json.dumps({"tool": "timer", "minutes": i})}
        for i in range(n)
    ]


def choices(n: int = 200) -> list[dict[str, Any]]:
    return [
        {"question": f"which is {i}?", "choices": [str(i), str(i + 1), "none"], "answer": 0} for i in range(n)
    ]


def answers(n: int = 200) -> list[dict[str, Any]]:
    return [
        {
            "question": f"what opens door {i}?",
            "contexts": [f"door {i} opens with key {i}"],
            "answer": f"key {i}",
        }
        for i in range(n)
    ]


def write(rows: list[dict[str, Any]], name: str = "rows.jsonl") -> Path:
    path = Path(name)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def started(*words: str) -> int:
    return run(["init", *words, "--yes"])


def visits(n: int = 60) -> list[dict[str, Any]]:
    """Three rows of each visit, which share nothing else; one of them is answered by a tool call."""
    call = {"type": "function", "id": "1", "function": {"name": "look_up", "arguments": "{}"}}
    rows = []
    for i in range(3 * n):
        asked = {"role": "user", "content": " ".join(random.Random(i).choices("abcdefghijklmnopqrst", k=20))}
        said = {"content": f"reply {i}"} if i % 3 else {"content": None, "tool_calls": [call]}
        rows.append({"messages": [asked, {"role": "assistant", **said}], "visit": f"v{i // 3}"})
    return rows
