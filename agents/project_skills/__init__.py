"""Project skills: folders with a SKILL.md and a plan that users add, each run as its plan with its inputs."""

from __future__ import annotations

from .inputs import SkillInput
from .project_skill import ProjectSkill
from .slash import project_proposal
from .store import AddedSkill, ProjectSkills

__all__ = ["AddedSkill", "ProjectSkill", "ProjectSkills", "SkillInput", "project_proposal"]
