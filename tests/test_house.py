"""The rooms: what may import what, what is packaged, and what `--help` may load."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import opswright

ROOT = Path(opswright.__file__).parent
FLOORS = {"core": 0, "record": 1, "compute": 1, "evals": 2, "serving": 2, "skills": 3, "agents": 4, "ui": 5}
HEAVY = (
    "torch", "transformers", "nemo_automodel", "mlflow", "gradio", "langgraph", "ray", "pymilvus", "ragas",
    "polars", "sklearn", "scipy", "matplotlib", "fastapi", "tritonclient", "nemoguardrails", "numpy",
    "pandas", "pydantic_settings", "datasketch", "onnxruntime_genai", "httpx",
)  # fmt: skip


def sources(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def rooms_imported(path: Path) -> set[str]:
    """The rooms that a file's relative imports reach."""
    inside = path.relative_to(ROOT).parts
    reached = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = inside[: len(inside) - node.level]
            parts = [*base, *(node.module.split(".") if node.module else [])]
            reached |= {parts[0]} if parts else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            reached |= {name.split(".")[1] for name in names if name.startswith("opswright.")}
    return reached & set(FLOORS)


@pytest.mark.parametrize("room", FLOORS)
def test_an_import_never_goes_up_or_sideways(room: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {other}"
        for path in sources(room)
        for other in rooms_imported(path)
        if other != room and FLOORS[other] >= FLOORS[room]
    ]
    assert sources(room) and wrong == []


def test_a_skill_never_imports_mlflow_gradio_or_langgraph() -> None:
    wrong = []
    for path in sources("skills"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            wrong += [f"{path}: {n}" for n in names if n.split(".")[0] in ("mlflow", "gradio", "langgraph")]
    assert wrong == []


def test_every_folder_with_python_is_packaged() -> None:
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = {"opswright"}
    for room in FLOORS:
        for path in (ROOT / room).rglob("__init__.py"):
            found.add(".".join(["opswright", *path.parent.relative_to(ROOT).parts]))
    assert listed == found


def test_help_loads_none_of_the_heavy_packages() -> None:
    program = (
        "import json, sys\n"
        "from opswright.ui.cli import run\n"
        "code = run(['--help'])\n"
        "print(json.dumps([code, sorted(sys.modules)]), file=sys.stderr)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    code, modules = json.loads(ended.stderr.splitlines()[-1])
    assert code == 0 and "curate" in ended.stdout and "demo" in ended.stdout
    loaded = set(modules)
    assert [name for name in HEAVY if name in loaded] == []


def test_every_pin_has_a_version_and_every_extra_is_constrained() -> None:
    pins = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if line and not line.startswith("#")
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = set()
    for requirement in [
        *project["dependencies"],
        *(r for e in project["optional-dependencies"].values() for r in e),
    ]:
        name = requirement.split("[")[0].split(">")[0].split("=")[0].split("<")[0].strip().lower()
        wanted.add(name)
    assert wanted - pins <= {"opswright", "tensorrt-llm"}
