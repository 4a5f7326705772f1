"""No two files of the package import each other, not even by way of others."""

from __future__ import annotations

import ast
from pathlib import Path

import opswright

ROOT = Path(opswright.__file__).parent
NOT_PRODUCT = {"tests", "benchmarks", "docs", "examples", "build"}


def product_files() -> set[Path]:
    folders = [f for f in ROOT.iterdir() if (f / "__init__.py").exists() and f.name not in NOT_PRODUCT]
    return {path for folder in folders for path in folder.rglob("*.py")}


def imported_files(path: Path, known: set[Path]) -> set[Path]:
    """The files that a file's relative imports name, wherever in it they stand, for type checkers too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
        for name in node.names:
            candidates = (base / f"{name.name}.py", base / name.name / "__init__.py")
            file = next((c for c in candidates if c in known), None)
            found.add(file or (base.with_suffix(".py") if node.module else base / "__init__.py"))
    return (found & known) - {path}


def circles(imports: dict[Path, set[Path]]) -> list[set[Path]]:
    """Sets of two or more files each of which reaches the others (Tarjan's strongly connected components)."""
    index: dict[Path, int] = {}
    low: dict[Path, int] = {}
    stack: list[Path] = []
    found: list[set[Path]] = []

    def visit(path: Path) -> None:
        index[path] = low[path] = len(index)
        stack.append(path)
        for other in sorted(imports[path]):
            if other not in index:
                visit(other)
                low[path] = min(low[path], low[other])
            elif other in stack:
                low[path] = min(low[path], index[other])
        if low[path] == index[path]:
            at = stack.index(path)
            component = set(stack[at:])
            del stack[at:]
            if len(component) > 1:
                found.append(component)

    for path in sorted(imports):
        if path not in index:
            visit(path)
    return found


# Files that still import each other. A pair is taken out here when it is mended; none is put in.
CIRCLES: set[frozenset[str]] = set()


def test_no_two_files_import_each_other() -> None:
    known = product_files()
    imports = {path: imported_files(path, known) for path in known}
    assert sum(map(len, imports.values())) > len(known)  # the files are read, and imports are found
    found = {frozenset(str(p.relative_to(ROOT)) for p in circle) for circle in circles(imports)}
    assert [sorted(circle) for circle in found - CIRCLES] == []
    assert [sorted(circle) for circle in CIRCLES - found] == [], "these are mended: take them out of CIRCLES"


def test_a_circle_by_way_of_a_third_file_is_found() -> None:
    a, b, c, d = (Path(name) for name in "abcd")
    assert circles({a: {b}, b: {c}, c: {a, d}, d: set()}) == [{a, b, c}]
    assert circles({a: {b, c}, b: {d}, c: {d}, d: set()}) == []
