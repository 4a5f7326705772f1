"""What could stop a change of an endpoint, found without changing anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ...core.artifact_refs import BundleRef, GuardrailRef
from ...core.contract import Finding
from ...core.errors import AskError, NeedsError, OpswrightError, did_you_mean
from ...core.install import not_installed
from ...core.workspace import Workspace
from ...engines.registry import engine_target
from .. import processes
from ..fleet import url_of
from ..ports import USUAL
from ..releases import Release, endpoint_names, read_state
from ..server import ServedModel
from ..server_selection import choose, external_accesses, question_maker, triton_home
from ..triton import environment, installation
from ..triton.external_checks import server_findings
from ..triton.shared_repository import SharedRepository
from ..workers import worker_records
from .impacts import now_in_words

_ENDPOINT = "endpoint"  # the argument of every skill that changes one


def platform_findings(workspace: Workspace) -> list[Finding]:
    """The server that will run, and the gateway's port."""
    findings = []
    try:
        choice = choose(workspace)
    except NeedsError as error:
        return [Finding(level="stop", message=str(error))]
    if choice.kind == "in-process":
        message = f"served by the in-process engine, not by Triton: {choice.reason}."
        findings.append(Finding(level="warn", message=message))
    elif choice.kind == "external":
        findings += external_findings(workspace)
    elif install_bytes(workspace):
        home = triton_home(workspace)
        message = f"Triton's server ({', '.join(installation.pins())}) will be installed into {home}, once."
        findings.append(Finding(level="ok", message=message))
    records = worker_records(workspace)
    if records:
        by = f", {len(records)} workers" if len(records) > 1 else ""
        findings.append(Finding(level="ok", message=f"the gateway runs at {url_of(records[0])}{by}."))
        return findings
    return [*findings, *_port_findings(workspace.settings.serving.gateway_port)]


def external_findings(workspace: Workspace) -> Iterator[Finding]:
    """Whether each Triton server that settings name can be used, and their repository reached."""
    external = workspace.settings.serving.external
    try:
        accesses = external_accesses(external)
        SharedRepository(external.repository, external.s3).check()
    except NeedsError as error:
        yield Finding(level="stop", message=str(error))
        return
    for access in accesses:
        yield from server_findings(access)


def _port_findings(wanted: int | None) -> Iterator[Finding]:
    """Whether the gateway gets the port that was named, or the usual one where none was."""
    if wanted is None:
        if owner := processes.port_owner(USUAL):
            message = f"port {USUAL} is in use by {owner}; the gateway takes a free one, and says which."
            yield Finding(level="note", message=message)
        return
    try:
        processes.need_port(wanted, "the gateway")
    except NeedsError as error:
        yield Finding(level="stop", message=str(error))


def engine_findings(workspace: Workspace, bundle: BundleRef) -> list[Finding]:
    """Whether the server that will run here can run this kind of engine."""
    name = str(workspace.artifacts.open(bundle).facts.get("target", ""))
    try:
        target, kind = engine_target(name), choose(workspace).kind
    except AskError as error:
        return [Finding(level="stop", message=f"{bundle.short} cannot be served here: {error}")]
    except NeedsError:
        return []  # platform_findings says so
    if kind == "external" and target.triton_text is not None:
        return _text_findings(workspace, name)
    if kind != "in-process" and target.triton is None:
        where = f"{target.elsewhere}." if target.elsewhere else "it is served in-process only."
        message = f"Triton cannot run a bundle of target '{name}' here: {where}"
        return [Finding(level="stop", message=message, fix="Set OPSWRIGHT_SERVING__SERVER=in-process.")]
    missing = None if kind == "external" else not_installed(target.runs_with, *target.run_extras)
    if missing is None and target.elsewhere:
        return [Finding(level="warn", message=f"what answers here is no '{name}': {target.elsewhere}.")]
    return [] if missing is None else [missing]


def _text_findings(workspace: Workspace, target: str) -> list[Finding]:
    """Whether servers elsewhere get what a model of other people's code needs, and what it cannot do."""
    external = workspace.settings.serving.external
    model = ServedModel("preflight", 1, Path(), "", target)
    try:
        place = question_maker(external).place(model)
    except NeedsError as error:
        return [Finding(level="stop", message=str(error))]
    if "://" in external.repository:
        message = f"'{target}' reads its weights by a path, which {external.repository} gives no server."
        return [Finding(level="stop", message=message, fix="Take a folder that the servers share.")]
    missing = [name for name in ("model.py", "helpers.py") if not (place.code / name).is_file()]
    if missing:
        message = f"{place.code} has no {' and no '.join(missing)}."
        return [Finding(level="stop", message=message, fix="Copy them from the container that serves.")]
    note = "its answers do not say which release gave them: the config of each server's model does"
    return [Finding(level="note", message=f"{note}; tokens are counted by the bundle's tokenizer.")]


def install_bytes(workspace: Workspace) -> int:
    """Bytes that Triton's own environment will take when it has to be made; else 0."""
    try:
        needs_wheel = choose(workspace).kind == "triton"
    except NeedsError:
        return 0
    is_there = environment.has_own_server() or environment.is_ready(triton_home(workspace))
    return installation.DISK_BYTES if needs_wheel and not is_there else 0


def endpoint_findings(
    workspace: Workspace, endpoint: str, bundle: BundleRef, guardrails: GuardrailRef | None
) -> list[Finding]:
    """Whether another canary is in the way; one may have ended until a bundle to come is made."""
    state = read_state(workspace, endpoint)
    served = [one for one in (state.stable, state.canary) if one is not None]
    if state.canary is None or any(one.is_same_as(bundle, guardrails) for one in served):
        return []
    is_to_come = bundle.is_pending or (guardrails is not None and guardrails.is_pending)
    message = f"endpoint {endpoint} has a canary already ({state.canary.id})."
    fix = "Promote it or roll it back first."
    if is_to_come:
        return [Finding(level="warn", message=message, fix=fix)]
    return [Finding(level="stop", message=message, fix=fix, unless_changed=_ENDPOINT)]


def canary_findings(workspace: Workspace, endpoint: str) -> Iterator[Finding]:
    """Whether there is a canary to promote now, whose bundle is what it was."""
    state = read_state(workspace, endpoint)
    if not state.changes and not state.releases:
        yield _unknown(workspace, endpoint)
    elif state.canary is None:
        message = f"endpoint {endpoint} has no canary to promote: {now_in_words(state)}."
        fix = "`deploy` with canary_percent below 100 makes one."
        yield Finding(level="stop", message=message, fix=fix, unless_changed=_ENDPOINT)
    else:
        told = f"canary {state.canary.id} has {state.canary_percent} % of sessions."
        yield Finding(level="ok", message=told)
        yield from _damage(workspace, state.canary)


def rollback_findings(workspace: Workspace, endpoint: str) -> Iterator[Finding]:
    """What users would get by a rollback now, and whether that can still be served."""
    state = read_state(workspace, endpoint)
    if not state.changes and not state.releases:
        yield _unknown(workspace, endpoint)
    elif state.canary is not None:
        yield Finding(level="ok", message=f"canary {state.canary.id} will be withdrawn.")
    elif state.stable is not None and state.previous:
        target = state.previous[0]
        yield Finding(level="ok", message=f"users will get {target.id} again instead of {state.stable.id}.")
        yield from _damage(workspace, target) or engine_findings(workspace, target.bundle)
    else:
        message = f"endpoint {endpoint} has nothing to go back to: {now_in_words(state)}."
        yield Finding(level="stop", message=message, unless_changed=_ENDPOINT)


def _unknown(workspace: Workspace, endpoint: str) -> Finding:
    """That nothing is deployed under this name, and the names that there are."""
    names = endpoint_names(workspace)
    there_are = f"there are: {', '.join(names)}" if names else "nothing is deployed here"
    message = f"unknown endpoint '{endpoint}' ({there_are}).{did_you_mean(endpoint, names)}"
    return Finding(level="stop", message=message, unless_changed=_ENDPOINT)


def _damage(workspace: Workspace, release: Release) -> list[Finding]:
    """What of a release's bundle and rails is gone or altered: it would not load any more."""
    found = []
    for part in (release.bundle, *([release.guardrails] if release.guardrails is not None else [])):
        try:
            workspace.artifacts.open(part)
        except OpswrightError as error:
            message = f"release {release.id} cannot be served: {error}"
            found.append(Finding(level="stop", message=message, unless_changed=_ENDPOINT))
    return found
