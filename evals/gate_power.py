"""What a gate can show on a suite, told before anything is trained for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..core.contract import Finding
from ..core.errors import did_you_mean
from ..core.gate import GateSpec, RobustnessBar, Tier
from ..core.statistics.power import (
    USUAL_DISCORDANCE,
    chance_to_pass,
    failing_share,
    independent_discordance,
    least_items_for_bar,
    least_items_for_margin,
    passing_share,
    smallest_margin,
    smallest_visible_drop,
    suggest_bar,
)
from ..data.alterations import ALTERATIONS, PARAPHRASE, altered
from ..data.sample import Sample
from .suites import Suite, in_slice

_POWER = 0.8
_P95 = 0.95


class Size(NamedTuple):
    """How many observations there are: items, or groups of them."""

    n: int
    items: int

    def __str__(self) -> str:
        return f"{self.n:,} items" if self.n == self.items else f"{self.n:,} groups of {self.items:,} items"


@dataclass(frozen=True)
class StableFigures:
    """What is known of the stable release on the suite, as shares; None: not known.

    trivial: the share of the trivial baseline in its report.
    """

    whole: float | None = None
    slices: Mapping[str, float | None] | None = None
    trivial: float | None = None

    def on(self, name: str | None) -> float | None:
        """Its share on a slice, or over all items."""
        return self.whole if name is None else (self.slices or {}).get(name)


def power_findings(spec: GateSpec, suite: Suite, stable: StableFigures | None) -> Iterator[Finding]:
    """For each row what its items can show; a row that could never be GO stops the plan.

    stable: None when the endpoint has no stable release, so that nothing will be compared.
    """
    sizes = {None: size_of(suite.items)} | {
        name: size_of(within(suite, name)) for name in spec.slices if name in suite.slices()
    }
    rows = _rows(spec, compared=stable is not None)
    for unknown in spec.slices:
        if unknown not in sizes:
            yield Finding(
                level="warn",
                message=f"slice '{unknown}' is not one of {suite.name}, so what it can show is not known: "
                "the evaluation must name it.",
                fix=did_you_mean(unknown, suite.slices()).strip(),
            )
    for name, tier, bar in _bars(spec):
        if name in sizes:
            usual = None if stable is None else stable.on(name)
            yield from _of_bar(_label(spec, name), tier, sizes[name], bar, spec, rows, usual)
    if spec.latency is not None:
        answers = Size(len(suite.items), len(suite.items))
        yield from _of_bar("p95 latency", spec.latency.tier, answers, _P95, spec, rows, None)
    if spec.robustness is not None:
        tier, most = spec.robustness.tier, spec.robustness.max_drop
        for label, size in _altered(spec.robustness, suite):
            said = f"drop of {spec.metric} {label}"
            never = _never(said, tier, size, most, spec)
            yield never or _seen(said, size, most, spec, rows, None, "on plain items")
    if spec.against is not None and stable is None:
        yield Finding(level="ok", message="there is no stable release yet, so nothing will be compared.")
    for name, tier, margin in _margins(spec) if stable is not None else ():
        if name in sizes and stable is not None:
            yield from _of_margin(tier, sizes[name], margin, spec, rows, stable, name)


def _label(spec: GateSpec, name: str | None) -> str:
    return spec.metric + (f" on {name}" if name else "")


def size_of(items: Sequence[Sample]) -> Size:
    """How many observations items are: those of one group are one."""
    groups = {item.group if item.group is not None else ("item", item.id) for item in items}
    return Size(len(groups), len(items))


def _altered(bar: RobustnessBar, suite: Suite) -> Iterator[tuple[str, Size]]:
    """Each alteration that a gate wants with the items it changes; those that are known later as one."""
    if not bar.alterations:
        yield "on altered items (those that an alteration changes)", size_of(suite.items)
    for name in ALTERATIONS:
        if name in bar.alterations and name == PARAPHRASE:
            yield f"with {name} (if every item gets a usable one)", size_of(suite.items)
        elif name in bar.alterations:
            changed = [one for item in suite.items if (one := altered(item, name, suite.task)) is not None]
            yield f"with {name} (on the items that it changes)", size_of(changed)


def within(suite: Suite, name: str) -> list[Sample]:
    """A suite's items in one of its slices."""
    rule = suite.slices()[name]
    return [item for item in suite.items if in_slice(item, rule)]


def _bars(spec: GateSpec) -> Iterator[tuple[str | None, Tier, float]]:
    if spec.min is not None:
        yield None, spec.tier, spec.min
    yield from ((name, bar.tier, bar.min) for name, bar in spec.slices.items() if bar.min is not None)


def _margins(spec: GateSpec) -> Iterator[tuple[str | None, Tier, float]]:
    if spec.against is not None:
        yield None, spec.tier, spec.margin
    for name, bar in spec.slices.items():
        if bar.max_drop is not None:
            yield name, bar.tier, bar.max_drop


def _rows(spec: GateSpec, compared: bool) -> int:
    """The rows among which Holm's correction chooses, at least 1."""
    tiers = [tier for _, tier, _ in _bars(spec)] + [bar.tier for bar in spec.suites.values()]
    tiers += [tier for _, tier, _ in _margins(spec)] if compared else []
    tiers += [spec.latency.tier] if spec.latency is not None else []
    if spec.robustness is not None:
        tiers += [spec.robustness.tier] * max(len(spec.robustness.alterations), 1)
    return max(sum(tier is not Tier.ADVISORY for tier in tiers), 1)


def _of_bar(
    label: str, tier: Tier, size: Size, bar: float, spec: GateSpec, rows: int, stable: float | None
) -> Iterator[Finding]:
    n, alpha = size.n, spec.level
    if few := _too_few(label, tier, size, spec):
        yield few
        return
    least = least_items_for_bar(bar, alpha)
    if least is None or n < least:
        yield Finding(
            level=_stop(tier),
            message=f"{label}: {size} cannot show {100 * bar:.4g}%, even if all are right: that takes "
            f"{'more than any number' if least is None else f'{least:,}'}.",
            fix=f"Ask for at most {_floor(alpha ** (1 / n)):.0%}, or for more items.",
        )
        return
    passes, fails = passing_share(n, bar, alpha, _POWER), failing_share(n, bar, alpha, rows, _POWER)
    said = f"{label}: {size}, at least {least:,} needed. A bar of {bar:.1%} is passed 4 times in 5 by a "
    said += "model that is always right" if passes is None else f"model that is truly at {passes:.1%}"
    said += "" if fails is None else f"; one at {fails:.1%} is refused 4 times in 5"
    if stable is not None and passes is not None and stable < passes:
        highest = suggest_bar(n, stable, alpha, _POWER)
        fix = "" if highest is None else f"A model like stable passes {highest:.0%} 4 times in 5."
        yield Finding(level="warn", message=f"{said}. Stable is at {stable:.1%}.", fix=fix)
    else:
        yield Finding(level="note", message=f"{said}.")


def _of_margin(
    tier: Tier,
    size: Size,
    margin: float,
    spec: GateSpec,
    rows: int,
    stable: StableFigures,
    name: str | None,
) -> Iterator[Finding]:
    label, usual = f"drop of {_label(spec, name)}", stable.on(name)
    if never := _never(label, tier, size, margin, spec):
        yield never
        return
    floor = (stable.trivial or 0.0) if name is None else 0.0
    if usual is not None and margin > (usual - floor) / 2:
        lead = "the trivial baseline" if floor else "no right answer at all"
        message = (
            f"{label}: stable is at {usual:.1%}, so a margin of {_points(margin)} is more than half of its "
            "lead over "
        )
        fix = "Set a `min` there, or a smaller `max_drop`."
        yield Finding(level="warn", message=f"{message}{lead}: only a rise will be GO.", fix=fix)
        return
    yield _seen(label, size, margin, spec, rows, usual)


def _never(label: str, tier: Tier, size: Size, margin: float, spec: GateSpec) -> Finding | None:
    """The finding for a drop that no answers could show to be within its margin."""
    if few := _too_few(label, tier, size, spec):
        return few
    least = least_items_for_margin(margin, spec.level)
    if least is not None and size.n >= least:
        return None
    fix = f"Allow {_points(1 - spec.level ** (1 / size.n))}, or ask for more items."
    message = f"{label}: {size} cannot show a drop of under {_points(margin)}, even if nothing is lost"
    return Finding(level=_stop(tier), message=f"{message}: that takes {least:,}.", fix=fix)


def _seen(
    label: str,
    size: Size,
    margin: float,
    spec: GateSpec,
    rows: int,
    usual: float | None,
    what: str = "stable",
) -> Finding:
    """How often a model as good as `what`, at the share `usual`, keeps within a margin; what can be seen."""
    alpha, n = spec.level, size.n
    least = least_items_for_margin(margin, alpha)
    changing, why = _discordance(spec, usual)
    visible = smallest_visible_drop(n, margin, changing, alpha, rows, _POWER)
    chance = chance_to_pass(n, margin, changing, alpha)
    said = f"{label}: {size}, at least {least:,} needed. Where {changing:.0%} of answers change ({why}), "
    said += f"a model as good as {what} passes {_points(margin)} {chance:.0%} of the time"
    said += "" if visible is None else f"; this set can see a drop of {_points(visible)} 4 times in 5"
    if chance < _POWER:
        smallest = smallest_margin(n, changing, alpha, _POWER)
        wanted = "" if smallest is None else f"A margin of {_points(smallest)} would be passed 4 times in 5."
        return Finding(level="warn", message=f"{said}.", fix=wanted)
    return Finding(level="note", message=f"{said}.")


def _too_few(label: str, tier: Tier, size: Size, spec: GateSpec) -> Finding | None:
    """The finding for a row that will have fewer observations than the gate wants."""
    if size.n >= max(spec.min_items, 1):
        return None
    message = f"{label}: the suite has {size}, the gate wants {spec.min_items} (`min_items`)."
    return Finding(level=_stop(tier), message=message, fix="Add items, or judge another slice.")


def _discordance(spec: GateSpec, stable: float | None) -> tuple[float, str]:
    """The share of items that only one of the two will get right, and where that figure is from."""
    if spec.discordance is not None:
        return spec.discordance, "as the gate says"
    if stable is not None:
        independent = independent_discordance(stable)
        if independent < USUAL_DISCORDANCE:
            return independent, "at most, by stable's score"
    return USUAL_DISCORDANCE, "assumed; set `discordance` if you know better"


def _stop(tier: Tier) -> Any:
    """A critical row that cannot be GO stops a plan; others only cannot speak."""
    return "stop" if tier is Tier.CRITICAL else "warn"


def _points(share: float) -> str:
    return f"{100 * share:.3g} points"


def _floor(share: float) -> float:
    return int(100 * share) / 100
