"""Commands about this machine and its servers: demo, serve, stop, mlflow, doctor, targets."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from ..core.errors import AskError, NeedsError
from .session import Session

_STOP_S = 10.0
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def add_machine_commands(app: typer.Typer) -> None:
    """Add them to the application."""
    app.command()(demo)
    app.command()(serve)
    app.command()(stop)
    app.command()(mlflow)
    app.command()(doctor)
    app.command()(targets)


def demo(context: typer.Context, json: Json = False) -> None:
    """Ship, watch, refuse, retrain and promote a real model: the whole loop, on real data, in minutes.

    A second time it reuses what is unchanged. Everything lies in the workspace; the endpoint stays up until
    `opswright stop`.

    Example: opswright demo --json
    """
    from .demo import play

    raise typer.Exit(play(context.obj, json))


def serve(
    context: typer.Context,
    json: Json = False,
    install: Annotated[
        bool, typer.Option("--install", help="Write a systemd unit that does, and start nothing.")
    ] = False,
    system: Annotated[
        bool, typer.Option("--system", help="With --install: a unit of the machine, not of the user.")
    ] = False,
) -> None:
    """Start the server and gateway again for everything that is deployed, as after a reboot.

    A supervisor starts the gateway again when it dies. With --install, systemd starts both with the machine.

    Example: opswright serve
    """
    if system and not install:
        raise AskError("--system says where --install writes: give both.")
    if install:
        _install_unit(context.obj, system, json)
        return
    from ..serving.status import start_all
    from .show import print_json, show_serving

    session: Session = context.obj
    status = start_all(session.workspace)
    if json:
        print_json(status)
    else:
        show_serving(status)


def _install_unit(session: Session, system: bool, json: bool) -> None:
    from ..serving.fleet import GatewayClient
    from ..serving.systemd import install
    from .show import print_json

    GatewayClient(session.workspace, lambda line: print(line, file=sys.stderr)).prepare()
    unit = install(session.workspace, system=system)
    if json:
        print_json({"unit": str(unit.path), "checked": unit.is_checked, "next": list(unit.next_commands)})
        return
    checked = "" if unit.is_checked else " (not checked: no systemd-analyze could here)"
    print(f"wrote {unit.path}{checked}; its settings are in {unit.environment}. Next:")
    print("\n".join(f"  {command}" for command in unit.next_commands))


def stop(context: typer.Context, json: Json = False) -> None:
    """Stop every process this workspace started; `opswright serve` starts what is deployed again.

    Example: opswright stop
    """
    from ..agents.worker import MODULE
    from ..compute.local import stop_jobs
    from ..serving import processes
    from ..serving.fleet import stop_all
    from .show import print_json

    session: Session = context.obj
    home = f"\0--home\0{session.workspace.root}\0"
    workers = processes.with_argument(MODULE, home)
    processes.end(workers, _STOP_S)  # a run stops where it is and can be resumed
    stopped = [f"worker (pid {pid})" for pid in sorted(workers)]
    stopped += stop_jobs(session.workspace.root) + stop_all(session.workspace)
    followers = processes.with_argument("opswright.record.mirror", home)
    processes.end(followers, _STOP_S)  # what they had not mirrored yet, the next one will
    stopped += [f"mirror (pid {pid})" for pid in sorted(followers)]
    if json:
        print_json({"stopped": stopped})
    else:
        print(f"stopped: {', '.join(stopped) if stopped else 'nothing was running'}")


def mlflow(
    context: typer.Context,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the pages on 127.0.0.1.")] = 5000,
) -> None:
    """Open MLflow's pages on the workspace: every run, step, metric and trace. Ends with Ctrl-C.

    Example: opswright mlflow --port 5001
    """
    from ..record.mirror import remote_ui, ui_command, ui_url

    session: Session = context.obj
    if (address := remote_ui(session.workspace)) is not None:
        print(f"MLflow is at {address}")
        return
    command = ui_command(session.workspace, port)
    print(f"MLflow: {ui_url(session.workspace, port)} (Ctrl-C ends it)", file=sys.stderr, flush=True)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        raise NeedsError(
            f"cannot start MLflow's server: {error}. Install it: pip install mlflow==3.17.2"
        ) from error


def doctor(
    context: typer.Context,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 when something cannot be done.")
    ] = False,
    json: Json = False,
) -> None:
    """What this machine can and cannot do, each line with what would change it.

    Example: opswright doctor
    """
    from rich.text import Text

    from .doctor import examine
    from .show import console, print_json, table

    session: Session = context.obj
    lines = examine(session.workspace)
    if json:
        print_json([line.document() for line in lines])
    else:
        colour = {"yes": "green", "no": "yellow", "not_run": "magenta"}
        rows = [
            [Text(x.can.replace("_", " "), style=colour[x.can]), x.ability, x.found, x.fix] for x in lines
        ]
        console().print(table(["can", "what", "found", "what would change it"], rows))
    if strict and any(line.can == "no" for line in lines):
        raise typer.Exit(1)


def targets(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="One target, with its options.")] = None,
    json: Json = False,
) -> None:
    """The kinds of engines that `build-engine` makes, and the options that each takes.

    Example: opswright targets trtllm
    """
    from ..engines.registry import engine_target, engine_targets
    from .show import console, print_json, table
    from .skill_commands import default_words, type_words

    found = engine_targets() if name is None else [engine_target(name)]
    if json:
        print_json({one.name: one.options.model_json_schema() for one in found})
        return
    for one in found:
        console().print(f"[bold]{one.name}[/bold]  {one.summary}")
        fields = one.options.model_fields.items() if name is not None else ()
        rows = [[key, type_words(it), default_words(it), it.description or ""] for key, it in fields]
        if rows:
            console().print(table(["option", "type", "default", "meaning"], rows))
