"""The gateway process: `python -m opswright.serving.gateway --home WORKSPACE`."""

from __future__ import annotations

import argparse
import gc
import logging
import os
import secrets
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING

from ... import __version__
from ...core.errors import AskError, HeldError, OpswrightError
from ...core.files import canonical_json
from ...core.settings import load_settings
from ...core.workspace import Workspace
from .. import processes, server_selection
from ..canary.watch import CanaryWatch
from ..fleet import SECRET_SETTINGS, GatewayClient, starts_path
from ..keys.shared_store import SharedStore, key_counts
from ..keys.store import KeyStore
from ..log_files import kept_small
from ..ports import held_port, kept_port
from ..releases import now
from ..rollout import Rollout
from ..workers import GatewayWorker, worker_record_path
from .shipping import TrafficShipper

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from .controller import Controller

_GRACE_S = 10
_YOUNG_OBJECTS = 20_000  # some tens of requests leave so many
_SWITCH_S = 0.001  # how long a thread that reads a long text may keep the event loop waiting


def main(arguments: list[str] | None = None) -> int:
    """Serve every endpoint of a workspace until SIGTERM; the exit code."""
    parser = argparse.ArgumentParser(prog="opswright.serving.gateway", description=__doc__)
    parser.add_argument("--home", type=Path, help="The workspace.")
    options = parser.parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    sys.setswitchinterval(_SWITCH_S)
    signal.signal(signal.SIGTERM, _end)
    try:
        serve(Workspace(load_settings(home=options.home)), GatewayWorker.of_environment())
    except OpswrightError as error:
        print(f"gateway: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _end(number: int, frame: object) -> None:
    """End by leaving: uvicorn sends the signal that stopped it once more, before logs are shipped."""
    raise SystemExit(128 + number)


def serve(workspace: Workspace, worker: GatewayWorker | None = None) -> None:
    """Bind, leave a record for others to find, and serve; one gateway a workspace."""
    from filelock import Timeout

    worker = worker or GatewayWorker()
    name = f"gateway-process-{worker.number}" if worker.number else "gateway-process"
    try:
        with workspace.lock(name, timeout_s=0):
            _serve(workspace, worker)
    except Timeout as error:
        raise HeldError(f"another gateway serves {workspace.root}; `opswright stop` ends it.") from error


def _serve(workspace: Workspace, worker: GatewayWorker) -> None:
    from .access import Access
    from .app import build_app
    from .controller import Controller
    from .listening import listen
    from .metrics import GatewayMetrics
    from .peers import Peers
    from .tracing import Tracing
    from .whole_gateway import WholeGateway

    settings = workspace.settings.serving
    token = settings.auth_token.get_secret_value() if settings.auth_token else None
    store = SharedStore.of(workspace)
    keys = store.keys if store is not None else KeyStore(workspace)
    if token is None and not keys.exists and settings.host not in ("127.0.0.1", "localhost", "::1"):
        raise AskError(
            f"a gateway on {settings.host} can be reached from other machines, so it needs keys: "
            "`opswright keys create NAME` (or set OPSWRIGHT_SERVING__AUTH_TOKEN, a token for everybody; or "
            "OPSWRIGHT_SERVING__HOST=127.0.0.1)."
        )
    chosen = server_selection.choose(workspace)
    is_first = worker.number == 0
    server = server_selection.build(workspace, chosen, logging.getLogger("triton").info, is_first=is_first)
    listener = listen(settings.host, settings.gateway_port, kept_port(workspace))
    port = int(listener.getsockname()[1])
    own, held = held_port() if worker.count > 1 else (None, None)  # where this one and no other answers
    control = worker.control or secrets.token_urlsafe(24)
    usage = store.usage if store is not None else key_counts(workspace)
    access = Access(control, token, keys=keys, usage=usage, store=store)
    tracing = Tracing.of(settings.tracing)
    peers = Peers(workspace, worker)
    controller = Controller(workspace, server, GatewayMetrics(), peers=peers)
    gateway = WholeGateway(controller, peers, os.getppid(), store)
    app = build_app(controller, access, {"reason": chosen.reason}, tracing, gateway)
    path = worker_record_path(workspace, worker.number)
    processes.write_record(
        path,
        os.getpid(),
        host=settings.host,
        port=port,
        control=control,
        supervisor=os.getppid(),
        worker=worker.number,
        own_port=port if own is None else own.getsockname()[1],
    )
    _spare_the_collector()
    try:
        with _looked_after(workspace, port) if is_first else nullcontext():
            _run(app, worker, listener, own, controller)
    finally:
        usage.close()
        if tracing is not None:
            tracing.close()
        path.unlink(missing_ok=True)
        if held is not None:  # while the record names the port, the control token is sent there
            held.close()


def _run(
    app: ASGIApp, worker: GatewayWorker, listener: socket, own: socket | None, controller: Controller
) -> None:
    """Serve; `own`: the socket of this worker alone, where there are others."""
    import uvicorn

    from .http_protocol import patient_protocol
    from .worker_server import WorkerServer

    settings = controller.workspace.settings.serving
    config = uvicorn.Config(
        app,
        log_level="warning",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nobody asks where a caller comes from
        lifespan="on",
        http=patient_protocol(settings.headers_timeout_s),
        timeout_graceful_shutdown=_GRACE_S,
    )
    if own is None:
        WorkerServer(config, worker).run(sockets=[listener])
        return
    shared = WorkerServer(config, worker, listener, lambda: controller.is_settled, settings.hold_s)
    shared.run(sockets=[own])


@contextmanager
def _looked_after(workspace: Workspace, port: int) -> Iterator[None]:
    """What one worker does for all: it watches canaries, and keeps logs small."""
    logs = [workspace.logs / "gateway.log", workspace.logs / "triton.log"]
    watch = CanaryWatch(workspace, lambda name: Rollout(workspace, name, GatewayClient(workspace)))
    shipper = TrafficShipper.of(workspace)
    _note_start(workspace, port)
    watch.start()
    if shipper is not None:
        shipper.start()
    try:
        with kept_small(logs, round(workspace.settings.serving.log_mb * 1_000_000)):
            yield
    finally:
        watch.stop()
        if shipper is not None:
            shipper.stop()


def _spare_the_collector() -> None:
    """Let the garbage collector look at what requests leave, and seldom; not at all that was imported."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, 20, 50)


def _note_start(workspace: Workspace, port: int) -> None:
    """Keep the settings that are in force from now on, for who asks later what was served and how."""
    settings = workspace.settings.serving.model_dump(mode="json", exclude=set(SECRET_SETTINGS))
    start = {"at": now(), "version": __version__, "settings": {**settings, "gateway_port": port}}
    with starts_path(workspace).open("ab") as file:
        file.write(canonical_json(start) + b"\n")


if __name__ == "__main__":
    sys.exit(main())
