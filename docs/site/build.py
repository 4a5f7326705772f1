"""Makes the site of the documentation in build/site, offline; every warning and dead link is an error.

Run: make site
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from generated import command_line_page, python_page, settings_page
from notebooks import notebook_page
from pages import MADE, ROOT, repository_pages, with_site_links

SOURCE = ROOT / "build" / "site-source"
SITE = ROOT / "build" / "site"
HERE = Path(__file__).parent

GUIDES: Mapping[str, Sequence[str]] = {
    "Say what you want": ("plans", "asking", "planners", "console", "ci", "mcp", "policy", "notifications"),
    "Data and models": ("your-own-data", "data", "finetuning", "tensorrt-llm", "retraining"),
    "Judge": ("suites", "gates", "drift", "benchmarks"),
    "Serve": ("operations", "openai", "triton", "rollouts", "kubernetes"),
    "Run and prove": ("compute", "record"),
}


def lay_out(source: Path) -> None:
    """Every page under its place on the site, with the pages that are made from code."""
    shutil.rmtree(source, ignore_errors=True)
    places = repository_pages()
    for page, place in places.items():
        is_notebook = page.suffix == ".ipynb"
        text = notebook_page(page) if is_notebook else page.read_text(encoding="utf-8")
        text, files = with_site_links(page, text, places)
        for file in files:
            _copy(file, source / "files" / file.relative_to(ROOT))
        _write(source / place, text)
    for path, make in zip(MADE, (python_page, command_line_page, settings_page), strict=True):
        _write(source / MADE[path], make())
    _write(source / "index.md", (source / "index.md").read_text(encoding="utf-8") + contents(source))


def contents(source: Path) -> str:
    """The tables of contents: guides that GUIDES does not name come last."""
    there = sorted(path.stem for path in (source / "guide").glob("*.md"))
    named = {name for some in GUIDES.values() for name in some}
    groups = {title: [f"guide/{n}" for n in some if n in there] for title, some in GUIDES.items()}
    more = [f"guide/{name}" for name in there if name not in named]
    tutorials = ("own-data", "serving", "team", "ci", "clusters")
    parts = [
        ("Tutorials", [*(f"tutorials/{name}" for name in tutorials), "notebooks/workspace"]),
        *groups.items(),
        ("More", more),
        ("Extend", ["extending", "python"]),
        ("Reference", ["reference/index", "reference/command-line", "reference/settings", "promises"]),
        ("The project", ["decisions/index", "examples/index", "contributing", "changelog"]),
    ]
    return "\n".join(_toctree(title, pages) for title, pages in parts if pages)


def _toctree(title: str, pages: Sequence[str]) -> str:
    lines = "\n".join(pages)
    return f"\n```{{toctree}}\n:hidden:\n:caption: {title}\n\n{lines}\n```\n"


def add_indexes(source: Path) -> None:
    """A page for each folder whose pages nobody lists: decisions, examples; skills below their table."""
    for name, title, about in (
        ("decisions", "Decisions", "What was chosen, what was tried and lost, with figures."),
        ("examples", "Examples", "Projects on real data, each with what to expect."),
    ):
        pages = sorted(path.stem for path in (source / name).glob("*.md"))
        tree = "\n".join(pages)
        _write(
            source / name / "index.md",
            f"# {title}\n\n{about}\n\n```{{toctree}}\n:maxdepth: 1\n\n{tree}\n```\n",
        )
    index = source / "reference" / "index.md"
    others = sorted(
        p.stem for p in index.parent.glob("*.md") if p.stem not in ("index", "command-line", "settings")
    )
    tree = "\n".join(others)
    _write(index, f"{index.read_text(encoding='utf-8')}\n```{{toctree}}\n:hidden:\n\n{tree}\n```\n")


def build(source: Path, site: Path) -> int:
    """The exit code of Sphinx, which ends with an error for any warning."""
    from sphinx.cmd.build import main

    shutil.rmtree(site, ignore_errors=True)
    options = ["-q", "-W", "--keep-going", "-b", "html", "-d", str(site.parent / "site-cache")]
    return main([*options, "-c", str(HERE), str(source), str(site)])


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _copy(file: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, to)


if __name__ == "__main__":
    lay_out(SOURCE)
    add_indexes(SOURCE)
    code = build(SOURCE, SITE)
    if code == 0:
        print(f"the site is in {SITE.relative_to(ROOT)}: open {SITE.relative_to(ROOT)}/index.html")
    sys.exit(code)
