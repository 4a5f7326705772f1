"""Commands about what endpoints serve and served: live."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .session import Session

if TYPE_CHECKING:
    from ..record.ledger import Record
    from ..serving.live import Live

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def add_serving_commands(app: typer.Typer) -> None:
    """Add them to the application."""
    app.command()(live)


def live(
    context: typer.Context,
    at: Annotated[
        str | None, typer.Option(metavar="TIME", help="A UTC time, ISO 8601. [default: now]")
    ] = None,
    endpoint: Annotated[str | None, typer.Option(help="Only this endpoint.")] = None,
    json: Json = False,
) -> None:
    """What each endpoint serves, or served at a time: releases, shares, digests, and the record of why.

    Example: opswright live --at 2026-11-20T15:00:00Z
    """
    from ..record.index import LedgerIndex
    from ..serving.gateway.traffic_log import as_logged
    from ..serving.live import live_at
    from ..serving.releases import now
    from ..serving.status import status
    from .show import print_json

    session: Session = context.obj
    found = live_at(session.workspace, at, endpoint)
    alarms = status(session.workspace)["alarms"] if at is None else []  # of other times nobody knows them
    records = LedgerIndex.of(session.workspace).changes(one.key for one in found)
    if json:
        endpoints = [{**one.document(), "record": _sequence(records, one.key)} for one in found]
        told = {"alarms": alarms} if at is None else {}
        print_json({"at": as_logged(at) or now(), "endpoints": endpoints, **told})
    else:
        _show(found, records, at)
        for alarm in alarms:
            print(f"ALARM {alarm}")


def _show(found: list[Live], records: Mapping[str, Record], at: str | None) -> None:
    from ..core.artifact_refs import parse_ref
    from .show import console, table

    out = console()
    if not found:
        print(
            f"Nothing was served at {at}."
            if at
            else "Nothing is served. `opswright deploy bundle=REF endpoint=NAME` changes that."
        )
        return
    rows: list[list[Any]] = []
    for one in found:
        record = _sequence(records, one.key)
        for release in one.releases:
            none = "none" if release.bundle else "not known"
            rows.append(
                [
                    one.endpoint,
                    release.release,
                    f"{release.percent} % ({release.route})",
                    parse_ref(release.bundle).short if release.bundle else "not known",
                    parse_ref(release.guardrails).short if release.guardrails else none,
                    f"{one.since[:19].replace('T', ' ')} {one.change}",
                    "" if record is None else f"#{record}",
                ]
            )
    columns = ["endpoint", "release", "share", "bundle", "guardrails", "since (UTC)", "record"]
    out.print(table(columns, rows, f"Live at {found[0].at[:19].replace('T', ' ')} UTC"))
    for one in found:
        last = f"{one.last_request} by {one.last_release}" if one.last_request else "none"
        print(f"{one.endpoint}: last request answered by then: {last}")
        if one.shadow_percent:
            print(f"{one.endpoint}: {one.shadow_percent} % of stable's requests were asked of the canary too")
    if found[0].gateway is not None:
        since = f"gateway since {found[0].gateway['at'][:19].replace('T', ' ')} UTC"
        print(f"{since}: {_chosen(found[0].gateway['settings'])}")


def _chosen(settings: Mapping[str, Any]) -> str:
    """The settings of a gateway that stand at no default; all are in the JSON document."""
    from ..core.settings.serving import ServingSettings

    usual = ServingSettings().model_dump(mode="json")
    chosen = [f"{name} {value}" for name, value in settings.items() if usual.get(name, value) != value]
    return ", ".join(chosen) or "every setting at its default"


def _sequence(records: Mapping[str, Record], key: str) -> int | None:
    record = records.get(key)
    return record.seq if record else None
