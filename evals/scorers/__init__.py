"""Scorers: what an answer is worth, 0 to 1.

A scorer is a function of a sample and an answer, declared binary or continuous. Ten lines make one:
`@scorer(binary=True)` above a function in a file of the project, named in a suite by `file:` and `name:`.
"""

from __future__ import annotations

from .base import Score, Scorer, ScoringContext, ServerAccess, right_answers, scorer
from .registry import (
    BUILT_IN,
    DEFAULT_SCORERS,
    ScorerSpec,
    check_scorer_name,
    check_trusted,
    default_specs,
    load_scorer,
    scorer_names,
)

__all__ = [
    "BUILT_IN",
    "DEFAULT_SCORERS",
    "Score",
    "Scorer",
    "ScorerSpec",
    "ScoringContext",
    "ServerAccess",
    "check_scorer_name",
    "check_trusted",
    "default_specs",
    "load_scorer",
    "right_answers",
    "scorer",
    "scorer_names",
]
