"""What an endpoint serves according to the records, and the check of what it serves now against them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..ledger import Record
from .phases import INTENT

PROMOTE = "promote"  # the skill that names no bundle: it serves its endpoint's canary
Parts = tuple[str | None, str | None]  # bundle and guardrails


@dataclass
class EndpointHistory:
    """What the records of deploy, promote and rollback make of one endpoint."""

    releases: dict[str, Parts] = field(default_factory=dict)  # every release that a record made
    stable: str | None = None
    canary: str | None = None
    percent: int = 0
    seq: int = 0  # the last record that changed it
    was_stable: set[str] = field(default_factory=set)  # what a rollback may bring back
    taken_back_to: list[tuple[int, str]] = field(default_factory=list)  # by records, what never was stable
    unfinished: dict[tuple[str | None, str | None], Record] = field(default_factory=dict)

    @property
    def canary_bundle(self) -> str | None:
        """What the canary is made of."""
        return self.releases[self.canary][0] if self.canary in self.releases else None

    def take(self, record: Record, request: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        """Take in a call that changes the endpoint: begun, or finished."""
        if record.phase == INTENT:
            self.unfinished[record.run, record.step] = record
            return
        self.unfinished.clear()  # who finished held the endpoint's lock, and went on from what was there
        release = result.get("release")
        if not isinstance(release, str):
            return
        self.seq = record.seq
        if "canary_now" in result:
            self._promoted(release, result)
        elif result.get("rolled_back"):
            if release not in self.was_stable:
                self.taken_back_to.append((record.seq, release))
            self.releases.setdefault(release, (result.get("bundle"), None))
            self.stable, self.canary, self.percent = release, None, 0
        else:
            self._deployed(release, request, result)
        if self.stable is not None and not result.get("rolled_back"):
            self.was_stable.add(self.stable)

    def _deployed(self, release: str, request: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        if isinstance(bundle := request.get("bundle"), str):
            self.releases.setdefault(release, (bundle, request.get("guardrails")))
        if result.get("route") == "canary":
            self.canary, self.percent = release, int(result.get("canary_percent", 0))
        elif self.stable != release:
            self.stable, self.canary, self.percent = release, None, 0

    def _promoted(self, stable: str, result: Mapping[str, Any]) -> None:
        if result["canary_now"] == "stable":
            self.stable = stable
        if result["canary_now"] != "canary":
            self.canary, self.percent = None, 0


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
