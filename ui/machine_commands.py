"""Commands about this machine and its servers: demo, serve, stop, mlflow, doctor."""

from __future__ import annotations

import typer


def add_machine_commands(app: typer.Typer) -> None:
    """Add them to the application."""
