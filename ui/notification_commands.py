"""Commands about notifications: try the webhooks, see how they stand, deliver without end."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

notifications_app = typer.Typer(
    help="Webhooks that are told what waits, was approved, expired or alarmed.", no_args_is_help=True
)


@notifications_app.command("test")
def test_command(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="One webhook. [default: all]")] = None,
    json: Json = False,
) -> None:
    """Send each webhook one signed message of the type opswright.test; exits 1 when one is not taken.

    Example: opswright notifications test
    """
    import time

    from ..agents.notifications.delivery import DeliveryError, deliver
    from ..agents.notifications.events import trial_message
    from ..core.errors import AskError, OpswrightError
    from .show import print_json

    settings = context.obj.workspace.settings.notifications
    chosen = [one for one in settings.webhooks if name in (None, one.name)]
    if not chosen:
        known = ", ".join(one.name for one in settings.webhooks) or "none"
        raise AskError(f"no webhook{f' {name!r}' if name else ''} is set (there are: {known}).")
    rows = []
    for webhook in chosen:
        try:
            deliver(webhook, trial_message(), int(time.time()), settings.timeout_s)
            rows.append({"webhook": webhook.name, "taken": True, "error": ""})
        except (DeliveryError, OpswrightError) as error:
            rows.append({"webhook": webhook.name, "taken": False, "error": str(error)})
    if json:
        print_json(rows)
    for row in rows:
        print(f"{row['webhook']}: {'taken' if row['taken'] else row['error']}", file=sys.stderr)
    if not all(row["taken"] for row in rows):
        raise typer.Exit(1)


@notifications_app.command("status")
def status_command(context: typer.Context, json: Json = False) -> None:
    """Show each webhook: what was taken, what is yet to be, how far behind it is, and what went wrong last.

    waiting: messages it has yet to take, of which the oldest is of that time. behind: records of the ledger
    that were not looked at for it yet.

    Example: opswright notifications status --json
    """
    from datetime import UTC, datetime

    from ..agents.notifications.background import is_dispatching
    from ..agents.notifications.dispatcher import WebhookState, read_state, read_up_to
    from ..record.ledger import Ledger
    from .show import console, print_json, table

    session = context.obj
    webhooks = session.workspace.settings.notifications.webhooks
    if not webhooks:
        if json:
            print_json({"delivering": False, "webhooks": []})
        print("No webhook is set: see [notifications] in docs/guide/notifications.md.", file=sys.stderr)
        return
    state = read_state(session.workspace)
    head, rows = Ledger.of(session.workspace).head()[0], []
    for webhook in webhooks:
        one = state.webhooks.get(webhook.name, WebhookState())
        due = min((found.next_at for found in one.pending.values()), default=None)
        told = None if due is None else datetime.fromtimestamp(due, UTC).isoformat(timespec="seconds")
        rows.append(
            {
                "webhook": webhook.name,
                "events": list(webhook.events),
                "taken": one.delivered,
                "waiting": len(one.pending),
                "behind": head - read_up_to(state, webhook.name),
                "oldest": min((found.message["time"] for found in one.pending.values()), default=None),
                "given_up": one.given_up,
                "next_try": told,
                "last_error": one.last_error,
            }
        )
    if json:
        print_json({"delivering": is_dispatching(session.workspace), "webhooks": rows})
        return
    columns = ["webhook", "taken", "waiting", "oldest", "behind", "given_up", "next_try", "last_error"]
    cells = [[row[name] for name in columns] for row in rows]
    console().print(table([name.replace("_", " ") for name in columns], cells))
    left = sum(row["waiting"] + row["behind"] for row in rows)
    if left and not is_dispatching(session.workspace):
        print("Nothing delivers: the next run starts it, or `opswright notifications run`.", file=sys.stderr)


@notifications_app.command("run")
def run_command(context: typer.Context) -> None:
    """Deliver until interrupted, as a service does: approvals that expire are told in time.

    Example: opswright notifications run
    """
    from ..agents.notifications.background import dispatch
    from ..core.errors import HeldError

    session = context.obj
    if not dispatch(session.workspace, session.registry, lambda: True):
        raise HeldError("another process delivers this workspace's notifications; wait until it ends.")
