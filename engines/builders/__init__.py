"""Builders: what turns a checkpoint into an engine, and shows that both answer alike."""

from __future__ import annotations

from .base import BuildResult, EngineBuilder, ParityCase, RunWorker, WorkerCall
from .parity import compare_engines

__all__ = ["BuildResult", "EngineBuilder", "ParityCase", "RunWorker", "WorkerCall", "compare_engines"]
