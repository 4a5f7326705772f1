"""Gradio, imported in less than half the time."""

from __future__ import annotations

import gc
import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Any


def import_gradio() -> ModuleType:
    """The package, without what it does on import that nobody here needs.

    Gradio parses the source of each of its components on import to renew `.pyi` files beside them. That takes
    as long as the rest of the import (4.1 against 2.1 s), writes into site-packages, and does so from every
    process at once. It gives up on a component whose file is not known, which is what this makes of all.
    It compiles 36 different docstrings as 216 templates, and leaves the garbage collector to look through
    modules that stay: another 0.4 s of 2.4.
    """
    if "gradio" in sys.modules:
        return sys.modules["gradio"]
    import jinja2

    getfile, template = inspect.getfile, jinja2.Template

    def no_file_for_stubs(thing: Any) -> str:
        if sys._getframe(1).f_code.co_name == "create_or_modify_pyi":
            raise OSError("no stubs are wanted")
        return getfile(thing)

    inspect.getfile = no_file_for_stubs  # type: ignore[assignment]
    jinja2.Template = cache(template)  # type: ignore[assignment,misc]
    try:
        with collector_off():
            import gradio
    finally:
        inspect.getfile, jinja2.Template = getfile, template  # type: ignore[misc]
    return gradio


@contextmanager
def collector_off() -> Iterator[None]:
    """Make what stays without looking for what may go."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def one_server_later() -> Iterator[None]:
    """Lay pages out without the web application Gradio makes anew whenever a page or the queue is done.

    Each is 90 routes and 0.08 s, and only the last one, made where the pages are mounted, is ever used.
    """
    from gradio.routes import App

    create = App.create_app
    App.create_app = staticmethod(lambda *args, **options: None)  # type: ignore[assignment,method-assign]
    try:
        yield
    finally:
        App.create_app = staticmethod(create)  # type: ignore[method-assign]
