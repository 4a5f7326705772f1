"""The application: every command, with one for each skill, and how a call of it ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import __version__
from ..core.errors import AskError, from_os_error
from ..core.exit_code import ExitCode
from ..core.registry import Registry
from .approval_commands import approvals_app
from .audit_commands import audit_app
from .board_commands import COMMANDS, add_board_commands
from .compute_commands import compute_app
from .contract_commands import contract_app
from .deploy_to import routed
from .export_commands import export_app
from .given_once import refuse_repeats
from .init_command import init
from .install_command import install
from .key_commands import keys_app
from .machine_commands import add_machine_commands
from .mcp_commands import mcp_app
from .notification_commands import notifications_app
from .planner_commands import planners_app
from .policy_commands import policy_app
from .run_commands import add_run_commands
from .serving_commands import add_serving_commands
from .session import Session
from .skill_commands import listed_command, make_command
from .spend_command import spend
from .suite_commands import suites_app
from .traffic_commands import traffic_app
from .user_commands import users_app
from .whoami_command import whoami

HELP = """Operate the life of a language model, from curated data to a watched endpoint.

\b
Examples:
  opswright demo                  the whole loop on real data, in minutes
  opswright init tickets.csv      a project from your data: suite, plans
  opswright run plans/ship.yaml   carry out a plan, shown and asked first
  opswright evaluate --help       one skill as a command
  opswright audit verify          check the record of all that was done

Exit codes: 0 done or GO, 1 failed, 2 wrong command or plan, 3 NO_GO, 4 INCONCLUSIVE, 5 approval needed,
6 budget reached, 7 integrity, 8 denied, 130 interrupted.
"""


_GROUPS = {
    "export": export_app,
    "audit": audit_app,
    "approvals": approvals_app,
    "policy": policy_app,
    "notifications": notifications_app,
    "users": users_app,
    "keys": keys_app,
    "mcp": mcp_app,
    "suites": suites_app,
    "contract": contract_app,
    "compute": compute_app,
    "traffic": traffic_app,
    "planners": planners_app,
}


def build_app(registry: Registry, argv: Sequence[str] | None = None) -> typer.Typer:
    """The application with a command for each skill of the registry.

    With `argv`, only the skills it names get their options; the others are only listed, which is quicker.
    """
    app = typer.Typer(
        help=HELP,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        add_completion=True,
    )

    @app.callback()
    def root(
        context: typer.Context,
        home: Annotated[
            Path | None, typer.Option(envvar="OPSWRIGHT_HOME", help="The workspace. [default: .opswright]")
        ] = None,
        actor: Annotated[
            str | None, typer.Option(help="Who acts, as records name them. [default: you]")
        ] = None,
        role: Annotated[
            str | None, typer.Option(help="viewer, operator or releaser. [default: releaser]")
        ] = None,
        version: Annotated[
            bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
        ] = False,
    ) -> None:
        context.obj = Session(registry, home, actor, role)

    app.command()(init)
    app.command()(install)
    app.command()(whoami)
    add_run_commands(app)
    for name, group in _GROUPS.items():
        app.add_typer(group, name=name)
    app.command()(spend)
    add_machine_commands(app)
    add_board_commands(app)
    add_serving_commands(app)
    for skill in registry:
        if skill.name in COMMANDS:  # the command does more than the skill: it writes files
            continue
        is_named = argv is None or skill.name in argv
        command = make_command(skill, Session.call_skill) if is_named else listed_command(skill)
        app.command(
            skill.name,
            short_help=skill.summary,
            rich_help_panel="Skills",
            context_settings={"allow_extra_args": True},  # name=value, as in a slash command
        )(command)
    return app


def _show_version(value: bool) -> None:
    if value:
        print(f"opswright {__version__}")
        raise typer.Exit


def invoke(registry: Registry, argv: Sequence[str]) -> int:
    """The exit code of one call; AskError for a wrong command, KeyboardInterrupt when it was interrupted."""
    words = routed(argv)
    completing = "_OPSWRIGHT_COMPLETE" in os.environ
    command = typer.main.get_command(build_app(registry, None if completing else words))
    refuse_repeats(command)
    ended = _Ended(command)
    try:
        result = command.main(args=words, prog_name="opswright", standalone_mode=False)
    except typer.Abort as error:
        raise KeyboardInterrupt from error
    except Exception as error:
        if type(error).__name__ in ("NoArgsIsHelpError",):
            print(str(error), file=sys.stderr)
            return 2
        if hasattr(error, "format_message"):  # a usage error of the parser
            raise AskError(_usage(error)) from error
        raise
    if result == ExitCode.INTERRUPTED and not ended.by_itself:  # what the parser makes of Ctrl-C
        raise KeyboardInterrupt
    return result if isinstance(result, int) else 0


class _Ended:
    """How a command ended, where the parser would not tell: by its own exit code, or a broken pipe."""

    def __init__(self, command: Any) -> None:
        self.by_itself = False
        self._invoke = command.invoke
        command.invoke = self._call

    def _call(self, context: Any) -> Any:
        try:
            return self._invoke(context)
        except typer.Exit:
            self.by_itself = True
            raise
        except BrokenPipeError as error:  # the parser would end with 1 and no word
            raise from_os_error(error, f"{context.command_path} ran") from error


def _usage(error: Any) -> str:
    context = getattr(error, "ctx", None)
    path = getattr(context, "command_path", "opswright")
    return f"{error.format_message()}{_commands_of(error)} Try `{path} --help`."


def _commands_of(error: Any) -> str:
    """The commands of the group in which one was not found; nothing for the root, whose help lists them."""
    context = getattr(error, "ctx", None)
    if "No such command" not in error.message or context is None or context.parent is None:
        return ""
    return f" (there are: {', '.join(sorted(context.command.commands))})"
