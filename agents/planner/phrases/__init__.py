"""Plain language without a model: from the skills' phrases and typed slots to a proposed plan."""

from .planner import PhrasesPlanner

__all__ = ["PhrasesPlanner"]
