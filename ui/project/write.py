"""From data to a project: profile, golden set, baselines, bar, rails, suite and plans."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.errors import AskError
from ...data.golden import LEAST_PASSAGES, MOST, GoldenChoice, write_golden
from ...data.profile import BYTES_A_TOKEN, SourceProfile, profile, prompt_text, split_key
from ...data.read import Source, read_samples
from ...data.sample import Sample, Task
from ...data.text import fingerprint
from .leaks import judged_rows
from .place import check_free, move_all, scratch_folder
from .plans import ProjectFacts, relative, retrain_plan, ship_plan, suite_text
from .rails import DomainRails, domain_rails
from .sources import check_name, check_outside, mapping, rights

if TYPE_CHECKING:
    from ...evals.suites import Suite

FILES = ("data/golden.jsonl", "suites/{name}.yaml", "plans/ship.yaml", "plans/retrain.yaml", "guardrails")
_BASELINE_ROWS = 20_000
_LEAST_ROWS = 60
_LEAST_GOLDEN = 20
_REACH = 0.75  # of the way from the trivial baseline to the best one: what a first model should show
_LEAD = 0.25  # of the way from the trivial baseline to all right: the least a first model should show


@dataclass(frozen=True)
class Project:
    """What `init` found and is about to write.

    golden: samples held out. baselines: each one's score by the gate's metric. visible_drop: the smallest
    drop that a gate against a stable release sees four times in five. leaks: rows of the training file that
    are golden too, or nearly, or of a golden group, by how they were found, where the golden rows have a file
    of their own. length_rule: how long rows may be, and what becomes of longer ones.
    """

    name: str
    profile: SourceProfile
    golden: int
    digest: str
    metric: str
    baselines: Mapping[str, float]
    skipped: Mapping[str, str]
    bar: float | None
    bar_says: str
    visible_drop: float | None
    rails_left_out: tuple[str, ...]
    leaks: Mapping[str, int] | None
    length_rule: str
    files: tuple[str, ...]


def make_project(
    train: Source, held_out: Source | None, folder: Path, name: str, seed: int, say: Callable[[str], None]
) -> Project:
    """Look, choose, measure, and write the project into a folder, all of it or nothing.

    AskError when a file is there already, the data are too few or for a task that is not trained, or the name
    is none that an endpoint can have.
    """
    check_name(name)
    files = [file.format(name=name) for file in FILES]
    check_free(folder, files)
    data = [source.path for source in (train, held_out) if source is not None]
    check_outside(data, folder, files)
    say("looking at every row")
    found = profile(train)
    check_profile(found)
    golden, rows, leaks = _golden(train, held_out, found, seed)
    _check_golden(golden, found)
    mode = rights(data)
    with scratch_folder(folder) as staged:
        digest = write_golden(staged / "data" / "golden.jsonl", golden, mode)
        facts = _facts(name, train, relative(train.path, folder / "plans"), found, golden)
        tags = [tag for tag, values in found.tags.items() if 1 < values <= 20]
        (staged / "suites").mkdir()
        suite_path = staged / "suites" / f"{name}.yaml"
        suite_path.write_text(suite_text(facts, len(golden), digest, tags), encoding="utf-8")
        say("fitting baselines")
        suite, measured = _baselines(suite_path, found.task, rows)
        bar, bar_says = _bar(suite, measured.scores, len(golden))
        facts = _with_bar(facts, measured.metric, bar, bar_says)
        say("choosing rails that leave the data alone")
        rails = domain_rails(golden, max(found.asked.longest, found.answered.longest))
        _write(staged, facts, rails, mode)
        _compile(staged / "plans", found)
        move_all(staged, folder, files)
    return Project(
        name=name,
        profile=found,
        golden=len(golden),
        digest=digest,
        metric=measured.metric,
        baselines=measured.scores,
        skipped=measured.skipped,
        bar=bar,
        bar_says=bar_says,
        visible_drop=_visible_drop(len(golden)),
        rails_left_out=rails.left_out,
        leaks=leaks,
        length_rule=facts.length_rule,
        files=tuple(files),
    )


def _check_golden(golden: Sequence[Sample], found: SourceProfile) -> None:
    if len(golden) < _LEAST_GOLDEN:
        raise AskError(
            f"{found.source} gives {len(golden)} different rows to judge a model by; {_LEAST_GOLDEN} are "
            "needed at least. Add rows, or name a second file with `test` in its name."
        )


def _facts(
    name: str, train: Source, source: str, found: SourceProfile, golden: Sequence[Sample]
) -> ProjectFacts:
    """What the plans are made from, but for the gate's bar, which takes the suite and its baselines."""
    longest = max(len((sample.answer or "").encode(errors="replace")) for sample in golden)
    return ProjectFacts(
        name=name,
        task=found.task,
        source=source,
        columns=mapping(found.columns, train.mapping.unused),
        profile=found,
        metric="",
        bar=None,
        bar_says="",
        answer_tokens=_answer_tokens(longest, found.task),
    )


def check_profile(found: SourceProfile) -> None:
    """AskError for data that no project is made of: too few, of one label, or of a task not trained."""
    if found.task == "prefer":
        raise AskError(
            f"{found.source} holds preferences (chosen and rejected answers), and training on them is not "
            "built: no recipe of NeMo AutoModel does it. To learn the chosen answers, say --task generate."
        )
    if found.rows < _LEAST_ROWS:
        raise AskError(
            f"{found.source} has {found.rows} usable rows; {_LEAST_ROWS} are needed to hold some out and "
            "learn from the others."
        )
    if found.task == "classify" and len(found.labels) < 2:
        raise AskError(
            f"every row of {found.source} has the label '{found.labels[0][0]}': nothing can be told apart."
        )


def _golden(
    train: Source, held_out: Source | None, found: SourceProfile, seed: int
) -> tuple[list[Sample], list[tuple[str, str]], Mapping[str, int] | None]:
    """The held-out samples, some rows for baselines, and the training rows that are golden too."""
    if held_out is not None:
        golden = held_out_samples(held_out, seed)
        rows: list[tuple[str, str]] = []
        leaks: Counter[str] = Counter()
        for sample, how in judged_rows(train, golden):
            if how is not None:
                leaks[how] += 1
            elif len(rows) < _BASELINE_ROWS and sample.answer is not None:
                rows.append((sample.question, sample.answer))
        return golden, rows, dict(leaks.most_common())
    labels = dict(found.labels)
    choice = GoldenChoice(found.rows, labels, seed, by_passage=found.passages >= LEAST_PASSAGES)
    left: list[tuple[str, str]] = []
    for sample in read_samples(train):
        if not choice.look(sample) and sample.answer is not None:
            left.append((sample.question, sample.answer))
    return choice.samples, _thinned(left, seed), None


def held_out_samples(source: Source, seed: int) -> list[Sample]:
    """At most MOST different samples of a held-out file that have an answer, the same ones each time."""
    kept: dict[tuple[str, str], Sample] = {}
    for sample in read_samples(source):
        if sample.answer is not None:
            kept.setdefault((fingerprint(prompt_text(sample)), sample.answer), sample)
    return sorted(kept.values(), key=lambda one: _drawn(split_key(one), seed))[:MOST]


def _thinned(rows: list[tuple[str, str]], seed: int) -> list[tuple[str, str]]:
    return sorted(rows, key=lambda row: _drawn(row[0], seed))[:_BASELINE_ROWS]


def _drawn(text: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed} {text}".encode()).digest()


@dataclass(frozen=True)
class _Measured:
    metric: str
    scores: dict[str, float]
    skipped: Mapping[str, str]


def _baselines(path: Path, task: Task, rows: list[tuple[str, str]]) -> tuple[Suite, _Measured]:
    """The suite as it will be read, and what each baseline that fits the task scores on it."""
    from ...engines import GenerationResult
    from ...evals.baselines import run_baselines
    from ...evals.report import figure
    from ...evals.runner import score
    from ...evals.suites import load_suite

    suite = load_suite(path)
    scorers = suite.load_scorers()
    first = scorers[0]
    run = run_baselines(task, rows, suite.items, lambda done, of: None)
    scores = {}
    for one in run.baselines:
        items = score(scorers, suite.items, [GenerationResult(text) for text in one.answers], {})
        value = figure(items, first.name, first.is_binary)["value"]
        if value is not None:
            scores[one.name] = value
    return suite, _Measured(first.name, scores, run.skipped)


def _bar(suite: Suite, scores: Mapping[str, float], n: int) -> tuple[float | None, str]:
    """The gate's bar, and where it comes from in words."""
    from ...core.statistics.power import suggest_bar
    from ...evals.report import TRIVIAL_BASELINES

    trivial = max((value for name, value in scores.items() if name in TRIVIAL_BASELINES), default=0.0)
    others = {name: value for name, value in scores.items() if name not in TRIVIAL_BASELINES}
    best = max(others, key=lambda name: others[name], default=None)
    aim = trivial + _LEAD * (1 - trivial)
    why = f"a quarter of the way from the trivial baseline ({trivial:.1%}) to all right"
    if best is not None and trivial + _REACH * (others[best] - trivial) > aim:
        aim = trivial + _REACH * (others[best] - trivial)
        why = f"three quarters of the way from trivial ({trivial:.1%}) to {best} ({others[best]:.1%})"
    bar = suggest_bar(n, aim)
    if bar is None:
        return None, f"none: {n:,} samples cannot show any; add samples"
    says = f"a model that is truly at {aim:.1%} passes {bar:.0%} four times in five; {aim:.1%} is {why}"
    if bar <= trivial:
        says += (
            f". {bar:.0%} is no more than the trivial baseline has: the gate also asks that a model is shown "
            "better than it, which few held-out rows seldom show"
        )
    return bar, says


def _with_bar(facts: ProjectFacts, metric: str, bar: float | None, says: str) -> ProjectFacts:
    from dataclasses import replace

    return replace(facts, metric=metric, bar=bar, bar_says=says)


def _visible_drop(n: int) -> float | None:
    from ...core.statistics.power import smallest_margin, smallest_visible_drop

    margin = smallest_margin(n)
    return None if margin is None else smallest_visible_drop(n, margin)


def _answer_tokens(longest: int, task: Task) -> int:
    """Room for the longest answer, of so many bytes: two for a token are few, for nearly any tokenizer."""
    if task in ("classify", "choose"):
        return min(max(16, 2 * -(-longest // BYTES_A_TOKEN) + 8), 256)
    return min(max(32, longest // 2 + 16), 1024)


def _write(staged: Path, facts: ProjectFacts, rails: DomainRails, mode: int) -> None:
    (staged / "plans").mkdir()
    (staged / "plans" / "ship.yaml").write_text(ship_plan(facts), encoding="utf-8")
    (staged / "plans" / "retrain.yaml").write_text(retrain_plan(facts), encoding="utf-8")
    (staged / "guardrails").mkdir()
    rails.write(staged / "guardrails", mode)


def _compile(plans: Path, found: SourceProfile) -> None:
    """AskError when a plan could not be run, as where a name of the data reads as a reference."""
    from ...core.compile import compile_text
    from ...core.plan_file import parse_plan
    from ...skills import load_registry

    for path in sorted(plans.iterdir()):
        text = parse_plan(path.read_text(encoding="utf-8"), path.name)
        try:
            compile_text(text, load_registry(), lambda shown: "0" * 64, anywhere=True)
        except AskError as error:
            raise AskError(
                f"no plan can be made of {found.source}: {error} Rename the file or the columns that the "
                f"plan would name ({', '.join(map(repr, found.columns))}). Nothing was written."
            ) from error
