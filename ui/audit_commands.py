"""Commands about the record: `opswright audit list|show|verify|export|sync`."""

from __future__ import annotations

import typer

audit_app = typer.Typer(
    help="The record of every action: list, show, verify, export, bring MLflow up to date.",
    no_args_is_help=True,
)
