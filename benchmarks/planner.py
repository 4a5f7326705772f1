"""How well plain language is understood: right plans, questions, answers and refusals, by kind and by manner.

`python benchmarks/planner.py [--set built|held_out|third|fourth|hostile] [--misses]` plans every sentence of
`tests/agents/planner/sentences/` in a small workspace made for it; nothing is run. Needs no GPU, no network
and no model; half a minute. Goal on sentences never used to build the planner: 95 % right, and no wrong
proposal that changes something on a negated, hypothetical, quoted, destructive or vague one.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "agents" / "planner"))

from scoring import Outcome, judge, load, worlds
from world import World

from opswright.core.registry import Registry
from opswright.skills import load_registry

SETS = ("built", "held_out", "third", "fourth", "hostile")


def main() -> None:
    """Print accuracy by kind and manner, wrong changes, and CPU time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--set", choices=SETS, action="append", help="which sentences (default: all there are)"
    )
    parser.add_argument("--planner", default="phrases", help="kind of planner (default phrases)")
    parser.add_argument("--misses", action="store_true", help="list every sentence that went wrong")
    options = parser.parse_args()
    registry = load_registry()
    folder = Path(__file__).parents[1] / "tests" / "agents" / "planner" / "sentences"
    for name in options.set or [one for one in SETS if (folder / f"{one}.yaml").exists()]:
        with worlds(_made, registry) as world:
            outcomes = [judge(one, world(one.state), options.planner) for one in load(name)]
        _report(name, outcomes, misses=options.misses)


def _made(folder: Path, registry: Registry, state: str) -> Any:
    return World(folder, registry, state=state)


def _report(name: str, outcomes: list[Outcome], *, misses: bool) -> None:
    print(f"\n{name}: {len(outcomes)} sentences")
    print(f"  right                 {_share([one.right for one in outcomes])}")
    plans = [one for one in outcomes if one.kind == "plan"]
    print(f"  skills and order      {_share([one.right_skills for one in plans])} of plans")
    print(f"  and every argument    {_share([one.right for one in plans])} of plans")
    for kind, words in (
        ("ask", "right question"),
        ("answer", "right answer"),
        ("refuse", "nothing proposed"),
    ):
        print(f"  {words:21} {_share([one.right for one in outcomes if one.kind == kind])}")
    traps = [one for one in outcomes if one.sentence.trap]
    print(f"  wrong changes         {sum(one.changed_wrongly for one in traps)} of {len(traps)} traps")
    for title, key in (("manner", "manner"), ("trap", "trap")):
        groups: dict[str, list[bool]] = defaultdict(list)
        for one in outcomes:
            if value := getattr(one.sentence, key):
                groups[value].append(one.right)
        print(
            f"  by {title}: "
            + ", ".join(f"{value} {_share(right)}" for value, right in sorted(groups.items()))
        )
    times = sorted(one.cpu_ms for one in outcomes)
    p95 = times[int(0.95 * (len(times) - 1))]
    print(f"  CPU ms: p50 {statistics.median(times):.1f}, p95 {p95:.1f}, most {times[-1]:.1f}")
    if misses:
        for one in outcomes:
            if not one.right:
                print(
                    f"  - {one.sentence.say!r}\n      expected {one.sentence.expect}\n"
                    f"      got {one.got}: {one.shown}"
                )


def _share(right: list[bool]) -> str:
    return f"{sum(right)}/{len(right)} ({sum(right) / len(right):.1%})" if right else "none"


if __name__ == "__main__":
    main()
