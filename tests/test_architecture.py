"""The layers: what may import what, what is packaged, and what `--help` may load."""

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
LAYERS = {
    "core": 0, "data": 1, "record": 1, "compute": 1, "engines": 2, "evals": 3, "serving": 3, "skills": 4,
    "agents": 5, "ui": 6,
}  # fmt: skip
HEAVY = (
    "torch", "transformers", "nemo_automodel", "mlflow", "gradio", "langgraph", "ray", "pymilvus", "ragas",
    "polars", "sklearn", "scipy", "matplotlib", "fastapi", "tritonclient", "nemoguardrails", "numpy",
    "pandas", "pydantic_settings", "datasketch", "onnxruntime_genai", "httpx",
)  # fmt: skip


def sources(layer: str) -> list[Path]:
    return sorted((ROOT / layer).rglob("*.py"))


def layers_imported(path: Path) -> set[str]:
    """The layers that a file's relative imports reach."""
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
    return reached & set(LAYERS)


@pytest.mark.parametrize("layer", LAYERS)
def test_an_import_never_goes_up_or_sideways(layer: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {other}"
        for path in sources(layer)
        for other in layers_imported(path)
        if other != layer and LAYERS[other] >= LAYERS[layer]
    ]
    assert wrong == [] and bool(sources(layer)) == (ROOT / layer).exists()


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
    for layer in LAYERS:
        for path in (ROOT / layer).rglob("__init__.py"):
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
    measuring = ("suites", "scorers", "baselines", "contamination")  # a fifth of the time it takes
    assert [name for name in measuring if f"opswright.evals.{name}" in loaded] == []
    assert "opswright.engines.checkpoint" not in loaded


def test_the_first_page_tells_of_every_layer_and_every_extra() -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    told = page.split("Extras: ", 1)[1].split("Why things", 1)[0]
    assert [layer for layer in LAYERS if f"| `{layer}/` |" not in page] == []
    assert [extra for extra in extras if f"`{extra}`" not in told] == []


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
