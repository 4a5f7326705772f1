"""The mirror: MLflow, written from the ledger. MLflow shows, the ledger proves."""

from __future__ import annotations

from .background import start_background
from .sync import Mirror, MirrorReport, sync
from .ui import remote_ui, ui_command, ui_url

__all__ = ["Mirror", "MirrorReport", "remote_ui", "start_background", "sync", "ui_command", "ui_url"]
