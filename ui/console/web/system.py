"""The page "System": GPUs, disk, versions, and services with their state and ports."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from .... import __version__
from ....core.errors import OpswrightError
from ....core.machine import Machine
from ....serving.status import status
from ....skills.gpus import read_gpus
from ..console import Console
from ..markup import render
from ..replies import Answer, reply
from .approvals import live_page
from .frame import OwnPage

_PACKAGES = (
    *("torch", "transformers", "nemo-automodel", "nvidia-modelopt", "tensorrt-llm", "onnxruntime"),
    *("onnxruntime-genai", "nvidia-pytriton", "tritonclient", "nemoguardrails", "ragas", "pymilvus"),
    *("milvus-lite", "mlflow", "langgraph", "gradio"),
)


def page(console: Console) -> OwnPage:
    """The page; it asks what runs, and starts nothing."""

    def show(asked: Answer, request: Any) -> Answer:
        return reply(console, request, lambda who: {"html": shown(console, str(request.base_url))})

    return live_page("System", (show,))


def shown(console: Console, address: str) -> str:
    """The page's content as the machine is now."""
    workspace = console.workspace
    try:
        standing, fault = status(workspace), ""
    except OpswrightError as error:
        standing, fault = {"gateway": None, "server": None, "endpoints": [], "alarms": []}, str(error)
    return render(
        "system.html",
        machine=Machine.here(workspace.root),
        root=workspace.root,
        gpus=read_gpus(),
        versions=[(name, _version(name)) for name in _PACKAGES],
        own=__version__,
        standing=standing,
        fault=fault or standing.get("fault") or "",
        server=_server(standing.get("server")),
        address=address,
        pid=os.getpid(),
    )


def _server(facts: Mapping[str, Any] | None) -> dict[str, str] | None:
    """The server that runs engines: what it is, and where; None when none is there."""
    if not facts:
        return None
    where = [f"{name} {value}" for name, value in facts.items() if name.endswith(("port", "url")) and value]
    kind = " ".join(str(facts[name]) for name in ("kind", "version") if facts.get(name))
    return {
        "kind": kind,
        "where": ", ".join(where),
        "pid": str(facts.get("pid") or ""),
        "fault": str(facts.get("fault") or ""),
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
