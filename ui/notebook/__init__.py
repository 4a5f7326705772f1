"""A workspace in Python: tables as data frames, and skills as functions whose calls are plans."""

from .skills import SkillFunction, SkillFunctions
from .workspace import NotebookWorkspace

__all__ = ["NotebookWorkspace", "SkillFunction", "SkillFunctions"]
