"""What to do next in a workspace, read off what was made and not yet used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ...core.artifact_refs import parse_ref
from ...core.contract import Effect
from ...core.registry import Registry
from ...core.workspace import Workspace
from ...record.index import Criteria, LedgerIndex, Link
from ...record.ledger import Phase, Record
from ...serving.releases import EndpointState

_NEWEST = 60  # records of finished steps that are looked at


@dataclass(frozen=True)
class NextStep:
    """One thing that could be done: why, and the command that begins it or the page where it is done."""

    why: str
    command: str = ""
    href: str = ""
    label: str = ""


def next_steps(
    workspace: Workspace, registry: Registry, endpoints: Mapping[str, EndpointState], most: int = 4
) -> list[NextStep]:
    """The newest things that lead nowhere yet, each with what leads on; how to begin, where nothing is."""
    index = LedgerIndex.of(workspace)
    if not index.run_count():
        return _to_begin()
    done = [one for one in index.page(Criteria.of(phase=Phase.DONE), _NEWEST) if isinstance(one, Record)]
    found = [*_of_drift(index, done), *_of_endpoints(endpoints)]
    found = [one for one in found if one.command.split()[0][1:] in registry]
    return [*found, *_of_artifacts(index, done, registry)][:most]


def _to_begin() -> list[NextStep]:
    return [
        NextStep(
            "Bring a file of your own: it is looked at, and a project is made of it.", "", "/data", "Data"
        ),
        NextStep("See the whole loop on public data: run `opswright demo` in a terminal."),
        NextStep("Show what a plan file would do.", "/plan "),
        NextStep("What else can be done.", "/help"),
    ]


def _of_drift(index: LedgerIndex, done: list[Record]) -> Iterator[NextStep]:
    """The newest look at each endpoint's traffic, when it raised an alarm that nobody has answered."""
    seen: set[str] = set()
    for record in done:
        result = record.detail.get("result", {})
        endpoint = result.get("endpoint")
        if record.skill != "drift" or not isinstance(endpoint, str) or endpoint in seen:
            continue
        seen.add(endpoint)
        report = str(result.get("report", ""))
        if result.get("alarm") is True and not users_of(index, report):
            why = f"The traffic of {endpoint} has drifted: retrain with answered rows of what is new."
            yield NextStep(why, f"/retrain alarm={_short(report)} new_data=")


def _of_endpoints(endpoints: Mapping[str, EndpointState]) -> Iterator[NextStep]:
    for name, state in endpoints.items():
        if state.canary is not None:
            why = f"{state.canary.id} has {state.canary_percent} % of the traffic of {name}: promote it"
            yield NextStep(
                f"{why}, or take it back with /rollback endpoint={name}.", f"/promote endpoint={name}"
            )


_LEADS_ON = {  # kind of artifact: the skill that takes it, why, how its command begins
    "dataset": ("finetune", "{short} was made and nothing has learned from it.", "/finetune data={short}"),
    "checkpoint": ("evaluate", "{short} was not measured yet.", "/evaluate model={short} suite="),
    "bundle": ("deploy", "{short} is built and not served.", "/deploy bundle={short} endpoint="),
}


def _of_artifacts(index: LedgerIndex, done: list[Record], registry: Registry) -> Iterator[NextStep]:
    """The newest artifact of each kind that no later step was given."""
    seen: set[str] = set()
    for record in done:
        for reference in record.artifacts.values():
            kind = reference.partition(":")[0]
            if kind in seen:
                continue
            seen.add(kind)
            skill, why, command = _LEADS_ON.get(kind, ("", "", ""))
            short = _short(reference)
            used_by = {one.skill for one in users_of(index, reference)}
            if skill not in registry:
                command = _taken_by(registry, kind)
                if not used_by and command:
                    yield NextStep(f"{short} was made and nothing has used it.", command.format(short=short))
            elif not used_by:
                yield NextStep(why.format(short=short), command.format(short=short))
            elif (
                kind == "checkpoint"
                and skill in used_by
                and "build-engine" in registry
                and "build-engine" not in used_by
            ):
                yield NextStep(
                    f"{short} was measured; no engine is built of it.", f"/build-engine model={short}"
                )


def _taken_by(registry: Registry, kind: str) -> str:
    """How the command of a skill begins that needs this kind and makes something of it, or serves it."""
    from ...agents.planner.phrases.fields import field_words, kinds_given

    serving = ""
    for skill in registry:
        needed = [one for one in field_words(skill.request) if one.is_required]
        taking = next((one.name for one in needed if kind in one.kinds), None)
        if taking is None or kind.endswith("report"):  # people read those
            continue
        others = "".join(f" {one.name}=" for one in needed if one.name != taking)
        command = f"/{skill.name} {taking}={{short}}{others}"
        if skill.effect is Effect.WRITES and any(
            kinds_given(info.annotation) for info in skill.result.model_fields.values()
        ):
            return command
        if skill.effect is Effect.SERVES:
            serving = serving or command
    return serving


def users_of(index: LedgerIndex, reference: str) -> list[Record]:
    """The records of what was given an artifact and did more than read it."""
    found = index.linked([reference], Link.USED).get(reference, [])
    return [one for one in found if one.effect != Effect.READS]


def _short(reference: str) -> str:
    return parse_ref(reference).short
