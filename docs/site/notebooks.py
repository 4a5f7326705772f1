"""A notebook as a page: its text, its code, and the outputs that are kept in it."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import nbformat


def notebook_page(path: Path) -> str:
    """The notebook as Markdown."""
    parts = []
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        shown = "".join(_output(one) for one in cell.outputs)
        if shown:
            parts.append(f'````{{raw}} html\n<div class="notebook-output">{shown}</div>\n````')
    return "\n\n".join(parts) + "\n"


def _output(one: Any) -> str:
    data = one.get("data", {})
    if "text/html" in data:
        return str(data["text/html"])
    text = one.get("text") or data.get("text/plain", "")
    return f"<pre>{html.escape(text)}</pre>" if text.strip() else ""
