"""Work that ends by a kill, in a process of its own."""

from __future__ import annotations

import os
from collections.abc import Callable


def killed(work: Callable[[], object]) -> None:
    """Do it in a forked child, which is expected to be killed."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(1)
    assert os.WIFSIGNALED(os.waitpid(pid, 0)[1])
