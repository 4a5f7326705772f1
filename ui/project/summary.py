"""What is said of data and of the project made from them, for the command line and the console alike."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ...data.profile import Lengths, SourceProfile
from .write import Project

_SHOWN = 12
_BASES = (
    ("1 M", 1.1e6, 4),
    ("1 B", 1e9, 2),
    ("8 B", 8e9, 2),
)  # name, parameters, bytes a weight is trained in


def column_rows(found: SourceProfile) -> list[tuple[str, str]]:
    """Each column and what it was taken for, those that are not used at the end."""
    missed = [(column, f"not used ({n:,} rows hold something there)") for column, n in found.unused.items()]
    return [*found.columns.items(), *missed]


def profile_rows(found: SourceProfile, leaks: Mapping[str, int] | None) -> list[tuple[str, str]]:
    """What a source holds, as (what, found). leaks: rows that are held out too; None without such a file."""
    rows = [
        ("question, characters", _lengths(found.asked)),
        ("question, tokens (about)", _lengths(found.asked_tokens)),
        ("answer, characters", _lengths(found.answered)),
        ("answer, tokens (about)", _lengths(found.answered_tokens)),
        ("different questions", f"{found.questions:,}"),
        ("the same question and answer again", f"{found.same:,}"),
    ]
    if found.unanswered:
        rows.append(("without an answer", f"{found.unanswered:,}"))
    if found.dropped:
        rows.append(("left out", counts(found.dropped)))
    if found.labels:
        most, least = found.labels[0], found.labels[-1]
        said = f"most '{most[0]}' ({most[1]:,}), least '{least[0]}' ({least[1]:,})"
        rows.append(("labels", f"{len(found.labels):,}; {said}"))
    if found.grouped:
        rows.append(("in groups", f"{found.grouped:,} rows; groups are kept together"))
    if leaks is not None:
        rows.append(("held out too, or nearly", leak_words(leaks)))
    rows.append(("scripts", ", ".join(f"{name} {share:.0%}" for name, share in found.scripts.items())))
    rows.append(("personal data, by pattern", counts(found.personal) if found.personal else "none found"))
    return [*rows, *_needs(found)]


def leak_words(leaks: Mapping[str, int]) -> str:
    """Rows to learn from that are held out too, by how they were found."""
    if not leaks:
        return "none found"
    named = {kind.replace("_", " "): n for kind, n in leaks.items()}
    n = sum(leaks.values())
    return f"{n:,} {'row' if n == 1 else 'rows'}: {counts(named)}; curate leaves them out"


def project_lines(made: Project) -> list[str]:
    """What was written and what its golden set can show, a sentence each; the baselines are a table."""
    lines = [
        f"held out: {made.golden:,} samples (SHA-256 {made.digest[:16]}), judged by {made.metric}",
        f"bar: {made.bar_says}",
    ]
    if made.visible_drop is not None:
        points = f"{100 * made.visible_drop:.3g} points"
        lines.append(f"against a model that is served, this set can see a drop of {points}")
    if made.leaks:
        lines.append(f"held out too, or nearly: {leak_words(made.leaks)}")
    lines.append(f"rows: {made.length_rule}")
    return [*lines, *(f"rails leave out: {why}" for why in made.rails_left_out)]


def baseline_rows(made: Project) -> list[tuple[str, str]]:
    """Each baseline with its score, or why it was not run."""
    scores = [(name, f"{value:.1%}") for name, value in made.baselines.items()]
    return [*scores, *((name, f"not run: {why}") for name, why in made.skipped.items())]


def heading(found: SourceProfile) -> str:
    """Source, rows and task on one line."""
    return f"{Path(found.source).name}: {found.rows:,} rows, task {found.task}"


def _lengths(found: Lengths) -> str:
    return f"half up to {found.p50:,}, 95 % up to {found.p95:,}, longest {found.longest:,}"


def counts(found: Mapping[str, int]) -> str:
    """Counts by name on a line, the first dozen."""
    shown = [f"{name} {n:,}" for name, n in list(found.items())[:_SHOWN]]
    return ", ".join(shown) + (f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else "")


def _needs(found: SourceProfile) -> list[tuple[str, str]]:
    """About the memory each size of base takes to train every weight: weights, gradients, two moments."""
    rows = []
    for name, parameters, size in _BASES:
        whole, adapters = parameters * (size + 4 + 8) / 1e9, parameters * 2 / 1e9
        said = f"about {_gb(whole)} to train every weight, {_gb(adapters)} and a little for adapters"
        rows.append((f"a base of {name} parameters", said))
    return rows


def _gb(size: float) -> str:
    return f"{size:,.0f} GB" if size >= 1 else f"{size * 1000:.2g} MB"
