"""What all workers of a gateway say of themselves, as one: a change counts once every one of them made it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .controller import Controller
from .peers import WorkerReply

_Document = Mapping[str, Any]
_UNREAD = -1  # serial of a state that a worker has not read


def own_state(controller: Controller) -> dict[str, Any]:
    """What this worker serves: the state its traffic follows, and each loaded release."""
    return {
        "fault": controller.server_fault,
        "version": controller.server.version,
        "endpoints": {name: _endpoint(controller, name) for name in sorted(controller.endpoints)},
    }


def _endpoint(controller: Controller, name: str) -> dict[str, Any]:
    endpoint = controller.endpoints[name]
    wanted = {release.id for release in endpoint.desired.releases}
    return {
        "serial": endpoint.applied.serial,
        "fault": endpoint.fault,
        "releases": {
            loaded.release.id: {
                "answers": loaded.answers.is_set(),
                "error": loaded.error,
                "in_flight": loaded.in_flight,
                "rails": loaded.rails is not None,
                "wanted": loaded.release.id in wanted,
                "missing": dict(controller.server.missing(loaded.model.name)),
            }
            for loaded in endpoint.loaded.values()
        },
    }


def merged_states(replies: Sequence[WorkerReply], count: int) -> dict[str, Any]:
    """The states of all workers that run, of `count` that should, as that of one gateway.

    serial: the oldest that any of them follows; one that gives no answer follows none. A release answers when
    it does so in each; `missing` names the workers in which it does not yet.
    """
    ordered = sorted(replies, key=lambda reply: reply.number)
    said = [reply.document for reply in ordered if reply.document is not None]
    names = sorted({name for document in said for name in document["endpoints"]})
    return {
        "fault": next((document["fault"] for document in said if document["fault"]), None),
        "version": next((document["version"] for document in said if document["version"]), ""),
        "endpoints": {name: _merged(name, ordered) for name in names},
        "workers": [_worker(number, ordered) for number in range(count)],
    }


def _worker(number: int, replies: Sequence[WorkerReply]) -> dict[str, Any]:
    found = next((reply for reply in replies if reply.number == number), None)
    answers = found is not None and found.document is not None
    return {"worker": number, "pid": None if found is None else found.pid, "answers": answers}


def _merged(name: str, replies: Sequence[WorkerReply]) -> dict[str, Any]:
    parts = {
        reply.number: None if reply.document is None else reply.document["endpoints"].get(name)
        for reply in replies
    }
    known = [part for part in parts.values() if part is not None]
    releases = list(dict.fromkeys(release for part in known for release in part["releases"]))
    return {
        "serial": min(_UNREAD if part is None else part["serial"] for part in parts.values()),
        "fault": next((part["fault"] for part in known if part["fault"]), None),
        "releases": {release: _release(release, parts) for release in releases},
    }


def _release(release: str, parts: Mapping[int, _Document | None]) -> dict[str, Any]:
    rows = {number: None if part is None else part["releases"].get(release) for number, part in parts.items()}
    known = [row for row in rows.values() if row is not None]
    missing: dict[str, str] = {}
    for row in known:
        missing.update(row["missing"])
    if len(rows) > 1 and any(row["wanted"] for row in known):  # one that leaves need not be everywhere
        missing |= {f"worker {number}": "" for number, row in rows.items() if not (row and row["answers"])}
    return {
        "answers": all(row is not None and row["answers"] for row in rows.values()),
        "error": next((row["error"] for row in known if row["error"]), None),
        "in_flight": sum(row["in_flight"] for row in known),
        "rails": all(row["rails"] for row in known),
        "wanted": any(row["wanted"] for row in known),
        "missing": missing,
    }


def merged_readiness(own: _Document, others: Sequence[WorkerReply]) -> dict[str, Any]:
    """Readiness of all workers that answer: those answer users. `serves`: empty where they differ."""
    documents = [own, *(reply.document for reply in others if reply.document is not None)]
    is_one = len({document["serves"] for document in documents}) == 1
    worst = next((document for document in documents if not document["ready"]), own)
    told = dict(worst) | {
        "ready": all(document["ready"] for document in documents),
        "serves": own["serves"] if is_one else "",
        "traffic_rows_lost": sum(document["traffic_rows_lost"] for document in documents),
    }
    return told | ({"workers": len(documents)} if others else {})
