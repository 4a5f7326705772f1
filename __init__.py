"""Opswright operates the life of a language model."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .ui.notebook import NotebookWorkspace as Workspace

__all__ = ["Workspace"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`Workspace`, for notebooks and scripts, loaded when it is first asked for."""
    if name == "Workspace":
        from .ui.notebook import NotebookWorkspace

        return NotebookWorkspace
    raise AttributeError(f"module 'opswright' has no attribute '{name}'")
