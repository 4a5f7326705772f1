"""The page "Ledger": who did what and when, each record whole, and whether the record is intact."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillAtWork
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlencode

import gradio as gr
from gradio.context import Context

from ....core.errors import OpswrightError
from ....record.index import Criteria, LedgerIndex
from ....record.ledger import Fault, Phase, Record
from ...audit_check import audit_workspace
from ..console import Console
from ..events import QUIET
from ..markup import READING, render
from .ledger_export import FILTERS

_ROWS = 50
_TELL_S = 0.5
_TONES = {
    Phase.APPROVED: "accent", Phase.DENIED: "bad", Phase.DONE: "good", Phase.FAILED: "bad",
    Phase.REUSED: "good", Phase.ROLLED_BACK: "warn",
}  # fmt: skip
_CHOOSE = """
element.addEventListener('click', (event) => {
  const chosen = event.target.closest('[data-seq]');
  if (!chosen || event.ctrlKey || event.metaKey || event.shiftKey || getSelection().toString()) return;
  event.preventDefault();
  window.ledgerChoice = Number(chosen.dataset.seq);
  trigger('select', {});
});
"""
_CHOICE = "(...given) => given.with(7, ledgerChoice)"  # in the place of `seq`
_SHOW_ADDRESS = """
(run, actor, skill, phase, since, until, seq) => {
  const given = Object.entries({ run, actor, skill, phase, since, until, seq }).filter(([, value]) => value);
  const address = location.pathname + (given.length ? '?' + new URLSearchParams(given) : '');
  if (address !== location.pathname + location.search) history.pushState(null, '', address);
  window.onpopstate = () => location.reload();  // Back shows what was there before
}
"""


@dataclass(frozen=True)
class LedgerView:
    """What of the ledger is looked at: the filters, the page (0 is the newest), and the record beside it."""

    filters: Mapping[str, str]
    page: int = 0
    seq: int | None = None
    bad: tuple[int, ...] = ()  # records the last verification found wrong

    @property
    def query(self) -> str:
        """The filters as a query string."""
        return urlencode(self.filters)


def build(console: Console) -> None:
    """Lay the page out."""
    with gr.Row(elem_id="ledger-filters", equal_height=True):
        run, actor, skill, phase = (
            gr.Dropdown([(f"any {label}", "")], value="", label=label, allow_custom_value=True, min_width=170)
            for label in ("run", "person", "skill", "phase")
        )
        since, until = (
            gr.Textbox(label=label, placeholder="2026-11-20T18:00", max_lines=1, min_width=170)
            for label in ("since (UTC)", "until (UTC)")
        )
    with gr.Row(elem_id="ledger-bar"):
        bar = gr.HTML(apply_default_css=False, scale=4, elem_id="ledger-count")
        newer, older, reload, check = (
            gr.Button(name, size="sm", scale=0, min_width=84, elem_id=f"ledger-{name.lower()}")
            for name in ("Newer", "Older", "Refresh", "Verify")
        )
    audit = gr.HTML(apply_default_css=False, visible=False, elem_id="ledger-audit", js_on_load=_CHOOSE)
    with gr.Row():
        with gr.Column(scale=3, min_width=480):
            table = gr.HTML(READING, apply_default_css=False, elem_id="ledger-table", js_on_load=_CHOOSE)
        with gr.Column(scale=2, min_width=360, visible=False) as beside:
            record = gr.HTML(apply_default_css=False, elem_id="ledger-record", js_on_load=_CHOOSE)
    page, seq, bad = gr.State(0), gr.Number(visible=False, precision=0), gr.State(())
    filters: list[Any] = [run, actor, skill, phase, since, until]
    given = [*filters, page, seq, bad]
    shown = [bar, table, beside, record, newer, older]

    answers = _Answers(console)
    address = (None, [*filters, seq], None)
    app: Any = Context.root_block  # a page is laid out inside it
    for trigger in (app.load, reload.click):
        trigger(answers.open_page, None, [*filters, page, seq, bad, audit, *shown], **QUIET)
    changed = [
        *(box.input for box in filters[:4]),
        *(on for text in filters[4:] for on in (text.submit, text.blur)),
    ]
    # One listener: of two, the answer to an earlier filter may come after that to a later one.
    gr.on(changed, answers.turn(0), given, [page, *shown], **QUIET).then(*address, js=_SHOW_ADDRESS)
    newer.click(answers.turn(-1), given, [page, *shown], **QUIET)
    older.click(answers.turn(1), given, [page, *shown], **QUIET)
    for part in (table, record, audit):
        chosen = part.select(answers.choose, given, [seq, *shown], js=_CHOICE, **QUIET)
        chosen.then(*address, js=_SHOW_ADDRESS)
    # It tells how it goes, which needs the queue; the table then shows what is asked for by then.
    at_work: dict[str, Any] = {**QUIET, "queue": True, "trigger_mode": "once", "concurrency_limit": 1}
    check.click(answers.verified, None, [audit, bad], **at_work).then(answers.again, given, shown, **QUIET)


class _Answers:
    """What the page's parts show: each gets the filters, page, record and what was found wrong."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def open_page(self, request: gr.Request) -> list[Any]:
        """The filters and the record that the address names."""
        query = {name: str(value) for name, value in dict(request.query_params).items()}
        number = int(query["seq"]) if query.get("seq", "").isdecimal() and len(query["seq"]) < 16 else None
        asked = LedgerView({name: query[name][:200] for name in FILTERS if query.get(name)}, seq=number)
        boxes = [_choices(self._console.records, name, asked.filters.get(name, "")) for name in FILTERS[:4]]
        times = [asked.filters.get(name, "") for name in FILTERS[4:]]
        return [*boxes, *times, 0, number, (), gr.HTML("", visible=False), *show(self._console, asked)]

    def turn(self, by: int) -> Callable[..., list[Any]]:
        """The page so many further; 0: the first, as after a filter changed."""

        def turned(*values: Any) -> list[Any]:
            to = max(0, values[6] + by) if by else 0
            return [to, *show(self._console, _view(*values[:6], to, *values[7:]))]

        return turned

    def choose(self, *values: Any) -> list[Any]:
        """The record that was clicked."""
        return [values[7], *show(self._console, _view(*values))]

    def again(self, *values: Any) -> list[Any]:
        """The same page, as it is now."""
        return show(self._console, _view(*values))

    def verified(self) -> Iterator[list[Any]]:
        """How the verification goes, and the records it found wrong."""
        for html, wrong in _verified(self._console):
            yield [gr.HTML(html, visible=True), gr.skip() if wrong is None else wrong]


def _view(*values: Any) -> LedgerView:
    wanted = {name: str(value).strip() for name, value in zip(FILTERS, values, strict=False) if value}
    return LedgerView(wanted, values[6], int(values[7]) if values[7] else None, tuple(values[8]))


def show(console: Console, view: LedgerView) -> list[Any]:
    """The line above the table, the table, the record beside it, and the buttons that turn the page."""
    index = console.records
    total, count, first, fault = index.refresh(), 0, 0, ""
    found: list[Record | Fault] = []
    try:
        criteria = Criteria.of(**view.filters)
        count = index.count(criteria)
        first = min(view.page * _ROWS, max(0, count - 1) // _ROWS * _ROWS)
        found = index.page(criteria, _ROWS, first)
    except OpswrightError as error:
        fault = str(error)
    rows = [_row(record, view) for record in found]
    bar = {"first": first + 1, "last": first + len(rows), "count": count, "total": total}
    table = {"rows": rows, "total": total, "fault": fault, "chosen": view.seq, "bad": view.bad}
    return [
        render("ledger_bar.html", **bar, query=view.query),
        render("ledger_table.html", **table),
        gr.Column(visible=view.seq is not None),
        "" if view.seq is None else _record(index, view.seq, total),
        gr.Button(interactive=first > 0),
        gr.Button(interactive=first + _ROWS < count),
    ]


def _row(record: Record | Fault, view: LedgerView) -> dict[str, Any]:
    query = urlencode({**view.filters, "seq": record.seq})
    if isinstance(record, Fault):
        return {"seq": record.seq, "message": record.message, "query": query}
    names = ("seq", "time", "actor", "roles", "phase", "run", "step", "skill")
    return {**{name: getattr(record, name) for name in names}, "query": query, "tone": _tone(record.phase)}


def _record(index: LedgerIndex, seq: int, total: int) -> str:
    record = index.get(seq)
    if record is None:
        message = f"Record {seq} not found; the ledger has {total:,} records."
        return render("ledger_record.html", seq=seq, message=message)
    if isinstance(record, Fault):
        return render("ledger_record.html", seq=seq, message=record.message)
    return render(
        "ledger_record.html",
        record=asdict(record),
        tone=_tone(record.phase),
        before=seq - 1 if index.get(seq - 1) else None,
        after=seq + 1 if index.get(seq + 1) else None,
        run_query=urlencode({"run": record.run or ""}),
        in_run=index.count(Criteria.of(run=record.run)) if record.run else 0,
        json=json.dumps(asdict(record), indent=2, ensure_ascii=False),
    )


def _tone(phase: str) -> str:
    return _TONES.get(Phase(phase), "soft") if phase in set(Phase) else "soft"


def _choices(index: LedgerIndex, name: str, value: str) -> Any:
    """The choices of a filter as the ledger has them now; one that no record has can still be asked for."""
    label = "person" if name == "actor" else name
    known = [str(phase) for phase in Phase] if name == "phase" else index.values(name)
    if value and value not in known:
        known = [value, *known]
    return gr.Dropdown([(f"any {label}", ""), *((one, one) for one in known)], value=value)


def _verified(console: Console) -> Iterator[tuple[str, tuple[int, ...] | None]]:
    """The verification's progress, then its result and the numbers of the records that are wrong."""
    seconds = 0.0
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(audit_workspace, console.workspace, console.registry)
        while True:
            yield render("ledger_audit.html", working=f"{seconds:.0f}"), None
            try:
                report = job.result(timeout=_TELL_S)
                break
            except StillAtWork:
                seconds += _TELL_S
            except OpswrightError as error:
                yield render("ledger_audit.html", error=str(error)), ()
                return
    yield render("ledger_audit.html", report=report), tuple(fault.seq for fault in report.faults if fault.seq)
