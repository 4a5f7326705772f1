"""The leaderboard as one HTML file, which opens offline and asks nobody for anything."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from importlib.resources import files

from ...evals.leaderboard import LeaderboardRow, ms_words, size_words
from ..console.markup import render
from .scatter import scatters

_SEARCH = """
makeSortable(document);
document.getElementById("search")?.addEventListener("input", (event) => {
  const wanted = event.target.value.trim().toLowerCase();
  for (const row of document.querySelectorAll("table.board tbody tr"))
    row.hidden = !row.textContent.toLowerCase().includes(wanted);
});
"""


def page(lines: Sequence[LeaderboardRow]) -> str:
    """The whole file; the same lines give the same bytes. No script runs in it but its own."""
    from markupsafe import Markup

    script = _own("pages/sortable.js") + _SEARCH
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return render(
        "leaderboard_file.html",
        **table_values(lines),
        plots=scatters(lines),
        newest=max((line.date for line in lines), default=""),
        style=Markup(_style()),
        script=Markup(script),
        script_digest=f"sha256-{digest}",
    )


def table_values(
    lines: Sequence[LeaderboardRow], *, links: bool = False, picks: bool = False, a: str = "", b: str = ""
) -> dict[str, object]:
    """What the template of the table needs; `a` and `b` are the ids of the lines that are chosen."""
    return {
        "lines": lines,
        "groups": list(dict.fromkeys(name for line in lines for name in sorted(line.groups, reverse=True))),
        "metric": " or ".join(dict.fromkeys(line.metric for line in lines)),
        "links": links,
        "picks": picks,
        "a": a,
        "b": b,
        "ms_words": ms_words,
        "size_words": size_words,
    }


def _style() -> str:
    """The console's own look; dark where the reader's system is."""
    dark = r"@media (prefers-color-scheme: dark) { :root {\1} }"
    common = re.sub(r"\.dark \{([^}]*)\}", dark, _own("console.css"))
    return common + _own("pages/leaderboard.css")


def _own(name: str) -> str:
    return (files("opswright.ui.console") / name).read_text(encoding="utf-8")
