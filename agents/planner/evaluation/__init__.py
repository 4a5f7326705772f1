"""The suite for planners: sentences with what is right, a workspace to say them in, and how well it went."""

from .figures import SETS, PlannerFigures, evaluate_planner
from .report import save_report

__all__ = ["SETS", "PlannerFigures", "evaluate_planner", "save_report"]
