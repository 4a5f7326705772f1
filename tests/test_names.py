"""Names: each public class is named once in the whole package."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import opswright

ROOT = Path(opswright.__file__).parent
NOT_PRODUCT = {"tests", "benchmarks", "docs", "examples", "build"}


def product_files() -> list[Path]:
    """Every Python file of the package itself, whatever folders it has."""
    folders = [f for f in ROOT.iterdir() if (f / "__init__.py").exists() and f.name not in NOT_PRODUCT]
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


def public_classes() -> dict[str, list[str]]:
    """Names of classes at the top of a file, and the files that have them."""
    found = defaultdict(list)
    for path in product_files():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(str(path.relative_to(ROOT)))
    return found


# Names that still stand twice. A name is taken out here when one of its classes is renamed; none is put in.
TWICE = {"Job"}


def test_no_public_class_name_stands_twice() -> None:
    twice = {name: files for name, files in public_classes().items() if len(files) > 1}
    assert {name: files for name, files in twice.items() if name not in TWICE} == {}
    assert sorted(TWICE - set(twice)) == [], "these are mended: take them out of TWICE"
