"""The skill `curate`: raw labelled text in, a clean training set out, every row left out accounted for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...core.artifacts import DatasetRef, PendingArtifact
from ...core.contract import Cost, Effect, Finding, StepContext, skill
from ...core.errors import AskError, OpswrightError
from ...core.machine import Machine
from ...core.workspace import Workspace
from ...data.rows import Dropped
from .request import LEAKS, CurateRequest, CurateResult

if TYPE_CHECKING:
    import polars as pl

    from ...data.rows import Gathered
    from .clean import Cleaned

__all__ = ["CurateRequest", "CurateResult", "curate"]

_ROWS_PER_S = 7_000  # cleaning short texts on one busy core
_BYTES_A_ROW = 50
_STAGES = 5
_SHOWN = 50
_NAME_CHARS = 24


def _preflight(request: CurateRequest, machine: Machine, workspace: Workspace) -> Sequence[Finding]:
    from ...data.read import check_source
    from .gather import check_replay

    found = []
    try:
        layout = check_source(request.rows)
        found.append(Finding(level="ok", message=f"{request.source} is there, layout {layout}."))
        check_replay(request)
        for ref in (request.golden, request.replay):
            if ref is not None:
                workspace.artifacts.open(ref)
    except PendingArtifact as error:
        found.append(Finding(level="ok", message=f"checked when it runs: {error}."))
    except OpswrightError as error:
        found.append(Finding(level="stop", message=str(error)))
    if request.golden is None:
        found.append(
            Finding(
                level="warn",
                message="no golden set is kept out of training, so an evaluation may measure memory.",
                fix="Make one with `golden` and give it as golden.",
            )
        )
    return found


def _estimate(request: CurateRequest, machine: Machine, workspace: Workspace) -> Cost:
    from ...core.files import files_below

    source = request.source
    size = (
        sum(p.stat().st_size for p in files_below(source).values())
        if source.is_dir()
        else source.stat().st_size
    )
    return Cost(minutes=(5 + size / _BYTES_A_ROW / _ROWS_PER_S) / 60, gpu_hours=0, usd=0, disk_bytes=4 * size)


@skill(
    effect=Effect.WRITES,
    summary="Clean, deduplicate and split raw labelled text into a training set.",
    phrases=[
        "clean {source}",
        "curate {source}",
        "deduplicate {source} and keep {golden} out of it",
        "make a training set from {source}",
    ],
    preflight=_preflight,
    estimate=_estimate,
)
def curate(request: CurateRequest, ctx: StepContext) -> CurateResult:
    """Read a source, leave out what would spoil training, split by groups, and write chat-format JSONL.

    Texts and labels are written byte for byte as the source has them; labels are normalised only where two
    are compared. Fields of the source that the dataset does not take are counted in `unused`.

    Left out, each with its reason in dropped.jsonl: rows that cannot be read, rows of the golden set
    (verbatim, normalised, near-duplicate), rows with the same words and different labels, duplicates and
    near-duplicates.

    Example: `/curate source=examples/support_router/raw/clinc150 near_duplicate_jaccard=0.85`
    """
    from ...data.read import read_source
    from . import gather
    from .clean import clean

    gather.check_replay(request)
    gathered = read_source(request.rows)
    ctx.progress(1, _STAGES, "stages")
    new = gather.of_domains(gathered, request)
    table = gather.with_replay(new, request, ctx)
    golden = gather.golden_texts(request, ctx)
    ctx.progress(2, _STAGES, "stages")
    cleaned = clean(table, golden, request)
    ctx.progress(3, _STAGES, "stages")
    rows = _split(table, gather.trim_replay(table, cleaned.kept, request.replay_ratio), cleaned, request)
    _check_labels(rows, request, [*gathered.dropped, *cleaned.dropped])
    ctx.progress(4, _STAGES, "stages")
    result = _save(request, ctx, rows, gathered, cleaned, len(new))
    ctx.progress(5, _STAGES, "stages")
    return result


def _split(table: pl.DataFrame, kept: list[int], cleaned: Cleaned, request: CurateRequest) -> pl.DataFrame:
    """The kept rows with split and group."""
    import polars as pl

    from .clean import TIED_JACCARD
    from .split import choose_sides, find_groups

    rows = table[kept]
    groups = find_groups(kept, cleaned.pairs.above(TIED_JACCARD), rows["tied"].to_list()).tolist()
    labels, fixed = rows["label"].to_list(), rows["side"].to_list()
    sides = choose_sides(groups, labels, fixed, request.validation_fraction, request.seed)
    return rows.with_columns(pl.Series("split", sides), pl.Series("group", [f"g{g:06d}" for g in groups]))


def _check_labels(rows: pl.DataFrame, request: CurateRequest, dropped: list[Dropped]) -> None:
    """AskError unless there are two labels to tell apart."""
    labels = rows["label"].unique().to_list()
    if len(labels) >= 2:
        return
    reasons = ", ".join(f"{n} {reason}" for reason, n in Counter(one.reason for one in dropped).items())
    left_out = f" Left out: {reasons}." if reasons else ""
    if not labels:
        raise AskError(f"no row of {request.source} is left to train on.{left_out}")
    raise AskError(
        f"all {len(rows)} rows of {request.source} have one label ('{labels[0]}'): nothing to tell apart. "
        f"Check label_column.{left_out}"
    )


def _save(
    request: CurateRequest,
    ctx: StepContext,
    rows: pl.DataFrame,
    gathered: Gathered,
    cleaned: Cleaned,
    selected: int,
) -> CurateResult:
    from ...data.dataset import write_dataset

    dropped, conflicts = [*gathered.dropped, *cleaned.dropped], cleaned.conflicts
    unused = dict(sorted(gathered.unused.items()))
    by_reason = Counter(str(one.reason) for one in dropped)
    leaked = {name: by_reason[reason] for reason, name in LEAKS.items()}
    sides = Counter(rows["split"].to_list())
    counts: dict[str, Any] = {
        "rows": len(rows),
        "train_rows": sides["train"],
        "validation_rows": sides["validation"],
        "labels": rows["label"].n_unique(),
    }
    replayed = int(rows["side"].is_not_null().sum())
    sources = sorted(rows["source"].unique().to_list())
    domains = sorted(rows["domain"].drop_nulls().unique().to_list())
    report = {
        **counts,
        "replay_rows": replayed,
        "selected_rows": selected,
        "dropped": dict(sorted(by_reason.items())),
        "unused": unused,
        "leaked": leaked,
        "conflicts": dict(list(conflicts.items())[:_SHOWN]),
        "rows_of_label": dict(sorted(Counter(rows["label"].to_list()).items())),
        "groups": rows["group"].n_unique(),
        "settings": request.model_dump(mode="json", exclude={"source"}),
    }
    with ctx.artifacts.staging() as folder:
        columns = rows.select("text", "label", "domain", "split", "group", "source")
        write_dataset(folder, columns, dropped, report, request.seed)
        parents = [ref for ref in (request.golden, request.replay) if ref is not None]
        facts = {**counts, "domains": domains, "sources": sources}
        dataset = ctx.artifacts.save(DatasetRef, folder, facts, parents)
    for name, value in {**counts, "dropped": len(dropped), "leaked": sum(leaked.values())}.items():
        ctx.metric(name, value)
    return CurateResult(
        dataset=dataset,
        **counts,
        replay_rows=replayed,
        dropped=dict(sorted(by_reason.items())),
        unused=unused,
        leaked=leaked,
        conflicts=len(conflicts),
        rows_left_out=_few([f"{n} {why}" for why, n in _most_first(by_reason)]),
        fields_left_out=_few([name for name, _ in _most_first(gathered.unused)]),
    )


def _most_first(counts: Counter[str]) -> list[tuple[str, int]]:
    """Names with their counts; ties by alphabet."""
    return sorted(counts.items(), key=lambda one: (-one[1], one[0]))


def _few(names: Sequence[str], most: int = 3) -> str:
    """The first names, short enough for the line in which a terminal shows a result."""
    shown = [name if len(name) <= _NAME_CHARS else f"{name[:_NAME_CHARS]}..." for name in names[:most]]
    return ", ".join(shown) + (f" and {len(names) - most} more" if len(names) > most else "")
