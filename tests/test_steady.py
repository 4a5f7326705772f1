"""Tests do not depend on how fast a machine is, as far as their text tells."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent
CLOCKS = ("time.monotonic()", "time.perf_counter()", "time.time()")


def texts(*words: str) -> Iterator[tuple[str, str]]:
    """The other test files that have one of these words: their paths and what is in them."""
    for path in sorted(ROOT.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if path != Path(__file__) and any(word in text for word in words):
            yield str(path.relative_to(ROOT)), text


def single_sleeps(node: ast.AST) -> Iterator[int]:
    """The lines that sleep outside a loop, which may look for something."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Call) and ast.unparse(child.func) == "time.sleep":
            yield child.lineno
        if not isinstance(child, ast.While):
            yield from single_sleeps(child)


def limits(tree: ast.AST) -> Iterator[int]:
    """The lines that assert that something took less than so many seconds."""
    for found in ast.walk(tree):
        if isinstance(found, ast.Assert) and isinstance(found.test, ast.Compare):
            took, limit = found.test.left, found.test.comparators[0]
            is_difference = isinstance(took, ast.BinOp) and ast.unparse(took.left) in CLOCKS
            if is_difference and isinstance(limit, ast.Constant):
                yield found.lineno


def test_a_browser_test_waits_for_what_is_shown_and_not_for_a_time() -> None:
    browsers = list(texts("playwright"))
    assert browsers
    assert [f"{path}:{line}" for path, text in browsers for line in single_sleeps(ast.parse(text))] == []


def test_no_test_asserts_how_long_something_took() -> None:
    timed = list(texts(*CLOCKS))
    assert timed
    assert [f"{path}:{line}" for path, text in timed for line in limits(ast.parse(text))] == []
