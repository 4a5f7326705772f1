"""The check of what an endpoint serves now against what its records say."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..endpoint_history import EndpointHistory, Parts

PROMOTE = "promote"  # the skill that names no bundle: it serves its endpoint's canary


@dataclass(frozen=True)
class EndpointFile:
    """An endpoint's desired state as it lies on the disk."""

    stable: Mapping[str, Any] | None
    canary: Mapping[str, Any] | None
    percent: int
    previous: tuple[Mapping[str, Any], ...]
    keys: tuple[tuple[str, str], ...]  # of each change: the caller's key, and what was changed

    @classmethod
    def read(cls, path: Path) -> EndpointFile:
        """The file; OSError, ValueError, KeyError, TypeError or AttributeError when it is not one."""
        body = json.loads(path.read_bytes())
        found = cls(
            body["stable"],
            body["canary"],
            int(body["canary_percent"]),
            tuple(body["previous"]),
            tuple(
                (str(change["key"]), f"{change['what']} {change['release']}") for change in body["changes"]
            ),
        )
        _ = [release["id"] for release in found.releases]
        return found

    @property
    def releases(self) -> tuple[Mapping[str, Any], ...]:
        """Every release that gets traffic, or would after a rollback."""
        return (*(one for one in (self.stable, self.canary) if one is not None), *self.previous)


def compare_endpoint(name: str, path: Path, recorded: EndpointHistory) -> Iterator[tuple[bool, int, str]]:
    """Where an endpoint's file differs from its records, as (is a fault, record's number, message)."""
    try:
        now = EndpointFile.read(path)
    except FileNotFoundError:
        if recorded.stable is not None:
            message = f"endpoint {name} has no desired.json, record {recorded.seq} says that it serves "
            yield True, recorded.seq, message + recorded.stable
        return
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        yield True, recorded.seq, f"desired.json of endpoint {name} does not read: {error!r}"
        return
    yield from _unmade(name, now, recorded)
    yield from _never_stable(name, now, recorded)
    told = (_id(now.stable), _id(now.canary), now.percent)
    said = (recorded.stable, recorded.canary, recorded.percent)
    if told == said:
        return
    known = all(one["id"] in recorded.releases or _may_be_begun(one, recorded) for one in now.releases)
    if known and recorded.unfinished:
        seq = max(record.seq for record in recorded.unfinished.values())
        message = (
            f"endpoint {name} is as the unfinished call of record {seq} may have left it: {_state(*told)}"
        )
        yield False, seq, message
        return
    message = f"endpoint {name} should serve {_state(*told)}, the records say {_state(*said)}"
    yield True, recorded.seq, message


def _never_stable(name: str, now: EndpointFile, recorded: EndpointHistory) -> Iterator[tuple[bool, int, str]]:
    """What a rollback brought back, or would, although the records never made it stable."""
    for seq, release in recorded.taken_back_to:
        yield True, seq, f"record {seq} took endpoint {name} back to {release}, which never was stable"
    for kept in now.previous:
        if kept["id"] not in recorded.was_stable and kept["id"] in recorded.releases:
            message = f"endpoint {name} would roll back to {kept['id']}, which never was stable"
            yield True, recorded.seq, message


def _unmade(name: str, now: EndpointFile, recorded: EndpointHistory) -> Iterator[tuple[bool, int, str]]:
    """The releases that no record made, or made of something else."""
    for release in now.releases:
        made = recorded.releases.get(release["id"])
        parts = (release.get("bundle"), release.get("guardrails"))
        if made is None:
            if not _may_be_begun(release, recorded):
                yield (
                    True,
                    recorded.seq,
                    f"endpoint {name} holds release {release['id']}, which no record made",
                )
        elif made != parts:
            message = f"release {release['id']} of endpoint {name} is made of {_parts(parts)}"
            yield True, recorded.seq, f"{message}, the records say {_parts(made)}"


def _may_be_begun(release: Mapping[str, Any], recorded: EndpointHistory) -> bool:
    """Whether a call that was begun and not finished may have made this release."""
    parts = (release.get("bundle"), release.get("guardrails"))
    requests = (record.detail.get("request", {}) for record in recorded.unfinished.values())
    return any((request.get("bundle"), request.get("guardrails")) == parts for request in requests)


def _id(release: Mapping[str, Any] | None) -> str | None:
    return None if release is None else str(release["id"])


def _state(stable: str | None, canary: str | None, percent: int) -> str:
    return f"{stable or 'nothing'}" + (f" and canary {canary} at {percent} %" if canary else "")


def _parts(parts: Parts) -> str:
    bundle, guardrails = parts
    return f"{str(bundle)[:19]} with " + (f"{guardrails[:23]}" if guardrails else "no guardrails")
