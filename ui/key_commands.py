"""Commands about the gateway's API keys: create, list, revoke."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError

from ..core.errors import AskError

if TYPE_CHECKING:
    from ..core.workspace import Workspace
    from ..serving.keys.store import ApiKey
    from ..serving.keys.usage import Used

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

keys_app = typer.Typer(help="Who may ask the gateway: API keys and their limits.", no_args_is_help=True)


@keys_app.command("create")
def create_command(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Whose it is, as each row of the traffic log will have it.")],
    endpoint: Annotated[
        list[str] | None, typer.Option(help="Endpoint it is for; may be given again. [default: all]")
    ] = None,
    scope: Annotated[
        list[str] | None, typer.Option(help="ask or metrics; may be given again. [default: ask]")
    ] = None,
    requests_per_minute: Annotated[int | None, typer.Option(help="Requests in 60 seconds.")] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(help="Tokens in 60 seconds.")] = None,
    budget_tokens: Annotated[int | None, typer.Option(help="Tokens it may use in a period.")] = None,
    per: Annotated[str, typer.Option(help="The period: day, month or forever, in UTC.")] = "month",
    valid_days: Annotated[float | None, typer.Option(help="Days until it ends by itself.")] = None,
    json: Json = False,
) -> None:
    """Give out a key, shown once: what is kept is a hash. From the first key on the gateway asks for one.

    Example: opswright keys create webshop --endpoint shop --requests-per-minute 600
    """
    from ..serving.keys.shared_store import key_registry
    from ..serving.keys.store import Limits
    from .show import print_json

    workspace = context.obj.workspace
    _check_endpoints(endpoint or [])
    limits = {
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
        "budget_tokens": budget_tokens,
        "budget_period": per,
    }
    try:
        made = key_registry(workspace).create(
            name,
            scopes=scope or ("ask",),  # type: ignore[arg-type]  # checked by the key
            endpoints=endpoint or (),
            limits=Limits.model_validate(limits),
            valid_days=valid_days,
        )
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(map(str, fault["loc"])).replace("_", "-")
        raise AskError(f"{where} is wrong: {fault['msg']} (found {fault['input']!r}).") from error
    if json:
        print_json({"id": made.key.id, "name": made.key.name, "key": made.text})
        return
    print(made.text)
    print(f"key {made.key.id} of {name}: keep it now, it is not shown again", file=sys.stderr)


@keys_app.command("list")
def list_command(context: typer.Context, json: Json = False) -> None:
    """List every key ever given out, with its limits and what it has used of its budget; never its text.

    Example: opswright keys list
    """
    from .show import console, print_json, table

    found = _with_use(context.obj.workspace)
    if json:
        hidden = {"hash"}
        documents = [(key.model_dump(mode="json", exclude=hidden), used) for key, used in found]
        print_json([{**key, "used": vars(used)} for key, used in documents])
        return
    if not found:
        is_shared = context.obj.workspace.settings.serving.store.url is not None
        who = "nobody may ask" if is_shared else "whoever reaches the gateway under a local name may ask"
        print(f"There are no keys: {who}.")
        return
    columns = ["id", "name", "for", "requests a minute", "tokens a minute", "budget", "used", "state"]
    console().print(table(columns, [_row(key, used) for key, used in found]))


@keys_app.command("revoke")
def revoke_command(
    context: typer.Context, key: Annotated[str, typer.Argument(help="Its id; or the name of its only key.")]
) -> None:
    """Take a key back: the gateway refuses it from its next request on; in a shared store, within a second.

    Example: opswright keys revoke webshop
    """
    from ..serving.keys.shared_store import key_registry

    revoked = key_registry(context.obj.workspace).revoke(key)
    print(f"key {revoked.id} of {revoked.name} was revoked", file=sys.stderr)


def _check_endpoints(named: list[str]) -> None:
    """AskError for a name that no endpoint can have; one that is still to be deployed is none."""
    from pydantic import TypeAdapter

    from ..serving.releases import EndpointName

    for name in named:
        try:
            TypeAdapter(EndpointName).validate_python(name)
        except ValidationError as error:
            raise AskError(f"invalid endpoint name '{name[:60]}': {error.errors()[0]['msg']}.") from error


def _with_use(workspace: Workspace) -> list[tuple[ApiKey, Used]]:
    from contextlib import closing

    from ..serving.keys.shared_store import key_counts, key_registry

    keys = key_registry(workspace).keys()
    if not keys:
        return []
    with closing(key_counts(workspace)) as usage:
        return [(key, usage.used(key)) for key in keys.values()]


def _row(key: ApiKey, used: Used) -> list[str]:
    limits = key.limits
    budget = "" if limits.budget_tokens is None else f"{limits.budget_tokens:,} a {limits.budget_period}"
    asked = (key.endpoints or ("all endpoints",)) if "ask" in key.scopes else ()
    state = "valid" if key.is_valid(datetime.now(UTC)) else "revoked" if key.revoked else "expired"
    return [
        key.id,
        key.name,
        ", ".join((*asked, *(scope for scope in key.scopes if scope != "ask"))),
        "" if limits.requests_per_minute is None else f"{limits.requests_per_minute:,}",
        "" if limits.tokens_per_minute is None else f"{limits.tokens_per_minute:,}",
        budget,
        f"{used.tokens:,} tokens, {used.requests:,} requests",
        state,
    ]
