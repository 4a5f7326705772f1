"""The planner with a model: any OpenAI-compatible endpoint; it reads, and can only propose."""

from .planner import LlmPlanner

__all__ = ["LlmPlanner"]
