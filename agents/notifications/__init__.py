"""Notifications: what happened, told to webhooks from the ledger, never on a run's path."""

from .background import start_dispatcher
from .dispatcher import Dispatcher
from .events import Notification

__all__ = ["Dispatcher", "Notification", "start_dispatcher"]
