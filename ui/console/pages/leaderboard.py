"""The page "Leaderboard": every measured model, two of them side by side, and the table to take away."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Any

import gradio as gr
from gradio.context import Context

from ....core.errors import OpswrightError
from ....evals.head_to_head import AnswerPair, HeadToHead, compare, open_measured, p_words, points, sentence
from ....evals.leaderboard import LeaderboardRow, board, render
from ....evals.standings import standings
from ...reports.leaderboard import page, table_values
from ...reports.scatter import scatters
from .. import markup
from ..console import Console
from ..events import QUIET
from . import speed

ALL = "all"
OUTCOMES = {
    "won or lost": ("won", "lost"),
    "lost": ("lost",),
    "won": ("won",),
    "both wrong": ("both wrong",),
    "both right": ("both right",),
    ALL: ("won", "lost", "both wrong", "both right"),
}
DOWNLOADS = {
    "CSV": ("csv", "text/csv"),
    "JSON": ("json", "application/json"),
    "Markdown": ("md", "text/markdown"),
    "HTML": ("html", "text/html"),
}
_MOST_ITEMS = 100
Picked = tuple[str, str]  # ids of the lines that are A and B; empty: not chosen yet

# What is chosen goes to the page's functions. Choice and order survive new rows, also those that were on
# their way when the click came and know nothing of it.
_ON_LOAD = """
const table = makeSortable(element);
watch("value", table.again);
const chosen = window.leaderboardChoice = { a: "", b: "" };
const sideOf = (radio) => radio.name.replace("side-", "");
const choose = () => element.querySelectorAll('input[name^="side-"]').forEach((radio) => {
  radio.checked = radio.value === chosen[sideOf(radio)];
});
new MutationObserver(choose).observe(element, { childList: true, subtree: true });
element.addEventListener("change", ({ target }) => {
  chosen[sideOf(target)] = target.value;
  trigger("select", {});
});
"""
_CHOICE = "() => [leaderboardChoice.a, leaderboardChoice.b]"
_SAVE_FILE = """(file) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([file.text], { type: file.type }));
  link.download = file.name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}"""


def build(console: Console) -> None:
    """Lay the page out."""
    script = (files(__package__) / "sortable.js").read_text(encoding="utf-8") + _ON_LOAD
    picked = gr.State(("", ""))
    with gr.Row(equal_height=True):
        suite = gr.Dropdown([ALL], value=ALL, label="Suite", min_width=130)
        kind = gr.Dropdown([ALL], value=ALL, label="Kind", min_width=130)
        search = gr.Textbox("", label="Search", placeholder="model, goal, training data", min_width=180)
    filters = [suite, kind, search]
    with gr.Row():
        refresh = gr.Button("Refresh", size="sm", min_width=90, scale=0)
        _downloads(console, filters)
    table = gr.HTML(markup.READING, elem_id="leaderboard-table", apply_default_css=False, js_on_load=script)
    with gr.Tabs() as tabs:
        with gr.Tab("Quality against latency", id="plot"):
            plot = gr.HTML(elem_id="leaderboard-plot", apply_default_css=False)
        with gr.Tab("Compare two", id="compare"):
            sides, show_sides = _comparison(console, picked)
        with gr.Tab("Speed", id="speed"):
            read_speeds = speed.build(console)

    def reload(wanted: str, of_kind: str, text: str, chosen: Picked) -> list[Any]:
        lines, fault = read_lines(console)
        suites, kinds = (choices([getattr(line, of) for line in lines]) for of in ("suite", "kind"))
        wanted, of_kind = (x if x in known else ALL for x, known in ((wanted, suites), (of_kind, kinds)))
        shown = show_board(lines, fault, wanted, of_kind, text, chosen)
        return [gr.Dropdown(suites, value=wanted), gr.Dropdown(kinds, value=of_kind), *shown]

    def arrive(chosen: Picked, request: gr.Request) -> list[Any]:
        text = str(request.query_params.get("report", ""))  # a link to one report narrows the table to it
        return [text or gr.skip(), *reload(ALL, ALL, text, chosen)]

    def narrow(wanted: str, of_kind: str, text: str, chosen: Picked) -> list[str]:
        return show_board(*read_lines(console), wanted, of_kind, text, chosen)

    def choose(a: str, b: str) -> list[Any]:
        chosen = (a, b)
        return [chosen, gr.Tabs(selected="compare" if all(chosen) else None), *show_sides(chosen)]

    opened: Any = Context.root_block  # a page is laid out inside it
    outputs = [suite, kind, table, plot]
    opened.load(arrive, [picked], [search, *outputs], **QUIET)
    refresh.click(reload, [*filters, picked], outputs, **QUIET)
    gr.on([suite.input, kind.input, search.change], narrow, [*filters, picked], [table, plot], **QUIET)
    for event in (opened.load, refresh.click):
        read_speeds(event)
    ids = [gr.Textbox(visible=False) for _ in "ab"]
    table.select(choose, ids, [picked, tabs, *sides], js=_CHOICE, **QUIET)


def _downloads(console: Console, filters: Sequence[Any]) -> None:
    """A button for each format; the file is made when it is asked for, in the browser, and kept nowhere."""
    made = gr.JSON(visible=False)

    def maker(form: str, media_type: str) -> Callable[[str, str, str], dict[str, str]]:
        def make(suite: str, kind: str, text: str) -> dict[str, str]:
            lines = standings(console.workspace)
            return file_of(narrowed(lines, suite, kind, text), form, media_type)

        return make

    for name, how in DOWNLOADS.items():
        button = gr.Button(f"Download {name}", size="sm", min_width=150, scale=0)
        clicked = button.click(maker(*how), list(filters), made, api_visibility="private", queue=False)
        clicked.then(None, made, None, js=_SAVE_FILE)


def _comparison(console: Console, picked: gr.State) -> tuple[list[Any], Callable[[Picked], list[Any]]]:
    """The part with A and B side by side, and the function that fills it."""
    sides = gr.HTML(markup.render("leaderboard_compare.html", fault="", found=None), apply_default_css=False)
    with gr.Column(visible=False) as part:
        with gr.Row():
            outcome = gr.Dropdown(list(OUTCOMES), value=next(iter(OUTCOMES)), label="Items that B")
            within = gr.Dropdown([ALL], value=ALL, label="Slice")
            search = gr.Textbox("", label="Search items", placeholder="text, label or answer")
        items = gr.HTML(elem_id="leaderboard-items", apply_default_css=False)

    def show(chosen: Picked) -> list[Any]:
        found, values = compare_lines(console, chosen)
        slices = [ALL] if found is None else [ALL, *(row.name for row in found.slices)]
        return [
            markup.render("leaderboard_compare.html", **values),
            gr.Column(visible=found is not None),
            gr.Dropdown(value=next(iter(OUTCOMES))),
            gr.Dropdown(slices, value=ALL),
            gr.Textbox(value=""),
            "" if found is None else show_items(found, next(iter(OUTCOMES)), ALL, ""),
        ]

    def look(chosen: Picked, outcome: str, within: str, text: str) -> str:
        found, _ = compare_lines(console, chosen)
        return "" if found is None else show_items(found, outcome, within, text)

    filters = [picked, outcome, within, search]
    gr.on([outcome.input, within.input, search.change], look, filters, items, **QUIET)
    return [sides, part, outcome, within, search, items], show


def read_lines(console: Console) -> tuple[list[LeaderboardRow], str]:
    """The leaderboard, and what is wrong when it cannot be read."""
    try:
        return standings(console.workspace), ""
    except OpswrightError as error:
        return [], str(error)


def choices(values: Sequence[str]) -> list[str]:
    """What a filter offers: all, then each value."""
    return [ALL, *dict.fromkeys(values)]


def narrowed(lines: Sequence[LeaderboardRow], suite: str, kind: str, text: str) -> list[LeaderboardRow]:
    """The lines of a suite, of a kind, that hold every word of a text."""
    words = text.casefold().split()
    return [
        line
        for line in lines
        if suite in (ALL, line.suite) and kind in (ALL, line.kind) and _holds(words, _words_of(line))
    ]


def _words_of(line: LeaderboardRow) -> str:
    shown = (line.model, line.kind, line.suite, line.goal, line.train_dataset, line.verdict, line.run)
    return " ".join([*filter(None, shown), line.date, line.report])


def _holds(words: Sequence[str], text: str) -> bool:
    folded = text.casefold()
    return all(word in folded for word in words)


def show_board(
    lines: Sequence[LeaderboardRow], fault: str, suite: str, kind: str, text: str, chosen: Picked
) -> list[str]:
    """The table and the plot."""
    shown = narrowed(lines, suite, kind, text)
    values = table_values(shown, links=True, picks=True, a=chosen[0], b=chosen[1])
    table = markup.render("leaderboard_page.html", **values, fault=fault, total=len(lines))
    plot = markup.render("leaderboard_plot.html", plots=scatters(shown))
    return [table, f'<div class="ow leaderboard">{plot}</div>']


def file_of(lines: Sequence[LeaderboardRow], form: str, media_type: str) -> dict[str, str]:
    """A download: its name, its media type and its text, the same as the command line's."""
    text = page(lines) if form == "html" else render(lines, form) + "\n"
    return {"name": f"leaderboard.{form}", "type": media_type, "text": text}


def compare_lines(console: Console, chosen: Picked) -> tuple[HeadToHead | None, dict[str, Any]]:
    """B against A, and what the template of the two needs; None until both are chosen, and on a fault."""
    empty = {"fault": "", "found": None}
    if not all(chosen):
        return None, empty
    try:
        by_id = {line.id: line for line in board(console.workspace)}
        if not all(one in by_id for one in chosen):
            return None, {**empty, "fault": "A line that was chosen is no longer on the leaderboard."}
        a, b = (by_id[one] for one in chosen)
        if a.id == b.id:
            return None, {**empty, "fault": "A and B are the same line. Choose two."}
        store = console.workspace.artifacts
        found = compare(open_measured(store, a), open_measured(store, b))
    except OpswrightError as error:
        return None, {**empty, "fault": str(error)}
    reach = max(abs(end) for row in (found.whole, *found.slices) for end in (row.low, row.high))
    return found, {
        "fault": "",
        "found": found,
        "a": a,
        "b": b,
        "sentence": sentence(found),
        "scale": 100 / reach if reach else 1.0,
        "points": points,
        "p_words": p_words,
    }


def show_items(found: HeadToHead, outcome: str, within: str, text: str) -> str:
    """The first items of an outcome in a slice that hold every word of a text, lost ones first."""
    words = text.casefold().split()
    wanted = [
        item
        for item in found.items
        if item.outcome in OUTCOMES.get(outcome, ())
        and (within == ALL or within in item.slices)
        and _holds(words, _searchable(item))
    ]
    wanted.sort(key=lambda item: item.outcome != "lost")
    return markup.render("leaderboard_items.html", items=wanted[:_MOST_ITEMS], total=len(wanted))


def _searchable(item: AnswerPair) -> str:
    return " ".join(filter(None, (item.id, item.text, item.expected, item.answer_a, item.answer_b)))
