"""The tab "Speed" of the page "Leaderboard": what benchmarks measured, by endpoint, server and load."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from typing import Any

import gradio as gr

from ....core.errors import OpswrightError
from ....evals.leaderboard import ms_words, short
from ....evals.load.report import LoadRow, load_board
from .. import markup
from ..console import Console
from ..events import QUIET

ALL = "all"
FIGURES: Mapping[str, str] = {
    "output_tokens_per_s": "tokens/s",
    "requests_per_s": "requests/s",
    "ttft_p50_ms": "TTFT p50 ms",
    "ttft_p95_ms": "TTFT p95 ms",
    "tpot_p50_ms": "TPOT p50 ms",
    "itl_p95_ms": "ITL p95 ms",
    "e2el_p50_ms": "E2EL p50 ms",
    "e2el_p95_ms": "E2EL p95 ms",
}
"""The columns of figures, by their names in a row of the board."""
_ON_LOAD = """
const table = makeSortable(element);
watch("value", table.again);
"""


def build(console: Console) -> Callable[[Any], None]:
    """Lay the tab out; gives what has it read the reports anew on an event."""
    with gr.Row():
        server = gr.Dropdown([ALL], value=ALL, label="Server", min_width=130)
        load = gr.Dropdown([ALL], value=ALL, label="Load", min_width=170)
        search = gr.Textbox("", label="Search speeds", placeholder="endpoint, server, load", min_width=180)
    script = (files(__package__) / "sortable.js").read_text(encoding="utf-8") + _ON_LOAD
    table = gr.HTML(elem_id="leaderboard-speed", apply_default_css=False, js_on_load=script)

    def reload(of_server: str, of_load: str, text: str) -> list[Any]:
        rows, fault = read_rows(console)
        servers, loads = ([ALL, *sorted({getattr(row, of) for row in rows})] for of in ("server", "workload"))
        of_server, of_load = (
            one if one in known else ALL for one, known in ((of_server, servers), (of_load, loads))
        )
        shown = show(rows, fault, of_server, of_load, text)
        return [gr.Dropdown(servers, value=of_server), gr.Dropdown(loads, value=of_load), shown]

    def narrow(of_server: str, of_load: str, text: str) -> str:
        return show(*read_rows(console), of_server, of_load, text)

    filters = [server, load, search]
    gr.on([server.input, load.input, search.change], narrow, filters, table, **QUIET)
    return lambda event: event(reload, filters, [server, load, table], **QUIET)


def read_rows(console: Console) -> tuple[list[LoadRow], str]:
    """Every measured level, and what is wrong when the reports cannot be read."""
    try:
        return load_board(console.workspace.artifacts), ""
    except OpswrightError as error:
        return [], str(error)


def narrowed(rows: Sequence[LoadRow], server: str, load: str, text: str) -> list[LoadRow]:
    """The rows of a server, of a load, that hold every word of a text."""
    words = text.casefold().split()

    def holds(row: LoadRow) -> bool:
        shown = f"{row.model} {row.server} {row.workload} {row.report}".casefold()
        return all(word in shown for word in words)

    return [row for row in rows if server in (ALL, row.server) and load in (ALL, row.workload) and holds(row)]


def show(rows: Sequence[LoadRow], fault: str, server: str, load: str, text: str) -> str:
    """The table."""
    kept = narrowed(rows, server, load, text)
    return markup.render(
        "leaderboard_speed.html",
        rows=kept, total=len(rows), fault=fault, figures=FIGURES, words=ms_words, short=short,
    )  # fmt: skip
