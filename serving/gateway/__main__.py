"""The gateway process: `python -m opswright.serving.gateway --home WORKSPACE`."""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import socket
import sys
from pathlib import Path

from ...core.errors import AskError, HeldError, OpswrightError, from_os_error
from ...core.settings import load_settings
from ...core.workspace import Workspace
from .. import processes, server_selection
from ..canary.watch import CanaryWatch
from ..fleet import GatewayClient, record_path
from ..rollout import Rollout

_GRACE_S = 5
_BACKLOG = 1024


def main(arguments: list[str] | None = None) -> int:
    """Serve every endpoint of a workspace until SIGTERM; the exit code."""
    parser = argparse.ArgumentParser(prog="opswright.serving.gateway", description=__doc__)
    parser.add_argument("--home", type=Path, help="The workspace.")
    options = parser.parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        serve(Workspace(load_settings(home=options.home)))
    except OpswrightError as error:
        print(f"gateway: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def serve(workspace: Workspace) -> None:
    """Bind, leave a record for others to find, and serve; one gateway a workspace."""
    from filelock import Timeout

    try:
        with workspace.lock("gateway-process", timeout_s=0):
            _serve(workspace)
    except Timeout as error:
        raise HeldError(f"another gateway serves {workspace.root}; `opswright stop` ends it.") from error


def _serve(workspace: Workspace) -> None:
    import uvicorn

    from .app import Access, build_app
    from .controller import Controller
    from .metrics import GatewayMetrics

    settings = workspace.settings.serving
    token = settings.auth_token.get_secret_value() if settings.auth_token else None
    if token is None and settings.host not in ("127.0.0.1", "localhost", "::1"):
        raise AskError(
            f"a gateway on {settings.host} can be reached from other machines, so it needs a token: set "
            "OPSWRIGHT_SERVING__AUTH_TOKEN, or OPSWRIGHT_SERVING__HOST=127.0.0.1."
        )
    chosen = server_selection.choose(workspace)
    server = server_selection.build(workspace, chosen, logging.getLogger("triton").info)
    listener = bind(settings.host, settings.gateway_port)
    port = int(listener.getsockname()[1])
    control = secrets.token_urlsafe(24)
    app = build_app(
        Controller(workspace, server, GatewayMetrics()), Access(control, token), {"reason": chosen.reason}
    )
    config = uvicorn.Config(
        app,
        log_level="warning",
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=_GRACE_S,
    )
    watch = CanaryWatch(workspace, lambda name: Rollout(workspace, name, GatewayClient(workspace)))
    path = record_path(workspace)
    processes.write_record(path, os.getpid(), host=settings.host, port=port, control=control)
    watch.start()
    try:
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        watch.stop()
        path.unlink(missing_ok=True)


def bind(host: str, port: int) -> socket.socket:
    """The socket to listen on; NeedsError, naming the owner, when the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # the protocol by name: asyncio switches Nagle's delay (40 ms an answer) off only for sockets that say TCP
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        processes.need_port(port, "the gateway")
        raise from_os_error(error, f"the gateway wanted {host}:{port}") from error
    listener.set_inheritable(True)
    return listener


if __name__ == "__main__":
    sys.exit(main())
