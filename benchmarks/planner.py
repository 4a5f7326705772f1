"""How well plain language is understood: right plans, questions, answers and refusals, and what it takes.

`python benchmarks/planner.py [--planner phrases|llm|...] [--set NAME] [--misses]` says every
sentence of the suite for planners in a small workspace made for it; nothing is run. The phrases planner
needs no GPU, no network and no model, and half a minute; `llm` asks the endpoint of the settings. Goal on
sentences never used to build the planner: 95 % right, and no wrong proposal that changes something on a
negated, hypothetical, quoted, destructive or vague one.
"""

from __future__ import annotations

import argparse

from opswright.agents.planner.evaluation import SETS, PlannerFigures, evaluate_planner
from opswright.core.settings import load_settings
from opswright.skills import load_registry


def main() -> None:
    """Print accuracy by kind and manner, wrong changes, tokens and time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", choices=SETS, action="append", help="which sentences (default: all)")
    parser.add_argument("--planner", default="phrases", help="kind of planner (default phrases)")
    parser.add_argument("--limit", type=int, help="only so many sentences of a set, spread over it")
    parser.add_argument("--misses", action="store_true", help="list every sentence that went wrong")
    options = parser.parse_args()
    settings = load_settings().planner
    sets = options.set or SETS
    for figures in evaluate_planner(options.planner, load_registry(), settings, sets, options.limit):
        print("\n" + "\n".join(figures.lines(misses=options.misses)))
        for title in ("manner", "trap"):
            print(f"  by {title}: {_by(figures, title)}")


def _by(figures: PlannerFigures, title: str) -> str:
    values = sorted({getattr(one.sentence, title) for one in figures.outcomes} - {""})
    shares = {
        value: figures.share_of(lambda one, value=value: getattr(one.sentence, title) == value)
        for value in values
    }
    return ", ".join(f"{value} {right}/{n}" for value, (right, n) in shares.items())


if __name__ == "__main__":
    main()
