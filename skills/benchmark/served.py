"""A bundle behind a gateway of its own, for as long as it is measured."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from ...core.artifact_refs import BundleRef
from ...core.contract import StepContext
from ...core.workspace import Workspace

_ENDPOINT = "benchmark"


@contextmanager
def served(bundle: BundleRef, name: str, ctx: StepContext) -> Iterator[tuple[str, str | None]]:
    """The address of a gateway that serves a bundle alone, and its key; nobody else's endpoint is touched.

    It lives in a workspace of its own in the step's folder, and ends with the measurement.
    """
    from ...serving.fleet import GatewayClient, stop_all
    from ...serving.rollout import Rollout

    settings = ctx.settings
    serving = settings.serving.model_copy(update={"gateway_port": 0, "host": "127.0.0.1"})
    home = ctx.workdir / "served" / name
    workspace = Workspace(settings.model_copy(update={"home": home, "serving": serving}))
    stop_all(workspace)  # of an attempt that was killed
    _lend(bundle, ctx, workspace)
    token = settings.serving.auth_token
    try:
        fleet = GatewayClient(workspace, ctx.log)
        url = Rollout(workspace, _ENDPOINT, fleet).deploy(bundle, None, 100).url
        yield url, token.get_secret_value() if token is not None else None
    finally:
        stop_all(workspace)
        shutil.rmtree(home, ignore_errors=True)


def _lend(bundle: BundleRef, ctx: StepContext, workspace: Workspace) -> None:
    """Have the other workspace know the bundle, its files linked where the disk can."""
    source, target = ctx.artifacts.folder(bundle), workspace.artifacts.folder(bundle)
    shutil.rmtree(target, ignore_errors=True)
    ctx.artifacts.open(bundle)
    try:
        shutil.copytree(source, target, copy_function=os.link)
    except shutil.Error:  # another disk
        shutil.copytree(source, target, dirs_exist_ok=True)
