"""Nothing outside `examples/` knows the shipped examples: their folders, endpoints, slices or sizes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import yaml

import opswright
from opswright.evals.suites import SHIPPED, load_suite

ROOT = Path(opswright.__file__).parent
LAYERS = ("core", "data", "record", "compute", "engines", "evals", "serving", "skills", "agents", "ui")
TEXTS = {".py", ".html", ".css", ".js", ".yaml", ".yml", ".co", ".txt", ".sh"}
DEMO = {"ui/demo.py", "ui/reports/demo.py", "ui/reports/templates/demo.html"}  # it plays one of the examples
PUBLISHED = re.compile(
    r"data/(published/|read\.py)|evals/suites/"
)  # data sets, read and asked by their own names
ORDINARY = {
    "answers",
    "calls",
    "guards",
    "injection",
    "monitoring",
    "ragas",
    "tool_calls",
    "toxicity",
}  # words that code has of its own
COUNTED = 500  # rows; a smaller number of them is as likely something else


def product_files() -> list[Path]:
    """Every text of the package that runs or is shown, but for the demo's."""
    found = [path for layer in LAYERS for path in (ROOT / layer).rglob("*") if path.suffix in TEXTS]
    return sorted(path for path in found if str(path.relative_to(ROOT)) not in DEMO)


def example_words() -> set[str]:
    """What names an example: its folder, its endpoints, and what its slices are called."""
    words = {folder.name for folder in (ROOT / "examples").iterdir()}
    for path in (ROOT / "examples").glob("**/*.yaml"):
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        steps = document.get("steps", {}).values()
        words |= {step["with"]["endpoint"] for step in steps if "endpoint" in step.get("with", {})}
        words |= set(document.get("slices", {}).get("groups", {}))
    return words


def example_sizes() -> set[int]:
    """How many items the published test sets have."""
    sizes = {len(load_suite(name).items) for name in data_sets() & set(SHIPPED)}
    return {size for size in sizes if size >= COUNTED}


def data_sets() -> set[str]:
    """The shipped suites and the data sets that examples hold, by their names."""
    raw = {folder.name for folder in (ROOT / "examples").glob("*/raw/*") if folder.is_dir()}
    return (raw | set(SHIPPED)) - ORDINARY


def constants(path: Path) -> Iterator[tuple[int, object]]:
    """The constants of a Python file, each with its line; none of other files."""
    if path.suffix == ".py":
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant):
                yield node.lineno, node.value


def found(path: Path, words: set[str], sizes: set[int]) -> list[str]:
    """Where a file names an example, as a path, as a value or by its size."""
    place, own = path.relative_to(ROOT), words - ORDINARY
    long = "|".join(word.replace("_", "[ _-]") for word in own if "_" in word)
    named = re.compile(
        rf"examples/(?:{'|'.join(words)})\b|\bendpoint[ =](?:{'|'.join(own)})\b|\b(?:{long})\b", re.IGNORECASE
    )
    text = path.read_text(encoding="utf-8")
    faults = [
        f"{place}:{number} names {match.group()}"
        for number, line in enumerate(text.splitlines(), 1)
        for match in named.finditer(line)
    ]
    faults += [f"{place}:{n} says {value!r}" for n, value in constants(path) if value in own]
    return faults + [f"{place}:{n} counts {value}" for n, value in constants(path) if value in sizes]


def test_no_code_names_an_example_or_has_its_size() -> None:
    words, sizes = example_words(), example_sizes()
    assert len(words) > 6 and len(sizes) > 3
    assert [fault for path in product_files() for fault in found(path, words, sizes)] == []


def test_a_data_set_is_named_only_where_it_is_read_and_asked() -> None:
    named = re.compile("|".join(sorted(data_sets())), re.IGNORECASE)
    files = [path for path in product_files() if named.search(path.read_text(encoding="utf-8"))]
    outside = [str(path.relative_to(ROOT)) for path in files]
    assert [place for place in outside if not PUBLISHED.match(place)] == [] and len(files) > 6
