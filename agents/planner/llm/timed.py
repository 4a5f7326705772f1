"""Work that is given up when its time is over, or when a person stops it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

from ....core.errors import BudgetError
from .model_client import PlanningStopped

T = TypeVar("T")
_POLL_S = 0.05


def in_time(work: Callable[[], T], seconds: float, cancelled: threading.Event, limit: str) -> T:
    """The work's result. BudgetError, which says the limit, when it takes longer; PlanningStopped when told.

    It goes on in a thread of its own that nothing waits for, so it must only read.
    """
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=run, name="planner-reads", daemon=True).start()
    left = seconds
    while not wait([done], timeout=min(_POLL_S, left)).done:
        left -= _POLL_S
        if cancelled.is_set():
            raise PlanningStopped
        if left <= 0:
            raise BudgetError(limit)
    return done.result()
