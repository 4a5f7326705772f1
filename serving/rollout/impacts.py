"""What users of an endpoint get now, and what a change would give them, in words; nothing is changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from ...core.artifact_refs import parse_ref
from ...core.contract import Impact
from ...core.errors import OpswrightError
from ...core.plan import references
from ...core.workspace import Workspace
from ..releases import EndpointState, Release, read_state

_EXAMINED = "once it loads and answers every probe; until then nothing changes"


def of_deploy(arguments: Mapping[str, Any], workspace: Workspace) -> Impact:
    """What a deployment would change."""
    endpoint = value_in_words(arguments["endpoint"])
    state = _state(workspace, arguments["endpoint"])
    what = value_in_words(arguments["bundle"])
    rails = arguments["guardrails"]
    what += f" behind {value_in_words(rails)}" if rails else " without guardrails"
    if isinstance(state, str):
        return Impact(endpoint=endpoint, before=state, after=f"a new release of {what}, {_EXAMINED}")
    return Impact(endpoint=endpoint, before=now_in_words(state), after=_after_deploy(arguments, state, what))


def of_promote(arguments: Mapping[str, Any], workspace: Workspace) -> Impact:
    """What each verdict on the canary would change."""
    state = _state(workspace, arguments["endpoint"])
    return Impact(
        endpoint=value_in_words(arguments["endpoint"]),
        before=state if isinstance(state, str) else now_in_words(state),
        after="GO: the canary gets all traffic. NO_GO: it is withdrawn and stable gets all traffic. "
        "INCONCLUSIVE: nothing changes",
    )


def of_roll_out(arguments: Mapping[str, Any], workspace: Workspace) -> Impact:
    """What a rollout in stages would change, and when."""
    state = _state(workspace, arguments["endpoint"])
    what = value_in_words(arguments["bundle"])
    stages = ", ".join(f"{percent} %" for percent in arguments["stages"])
    end = "then all traffic" if arguments["promote"] else "and stays a canary there"
    return Impact(
        endpoint=value_in_words(arguments["endpoint"]),
        before=state if isinstance(state, str) else now_in_words(state),
        after=f"a new release of {what} gets {stages} of sessions, {end}, each once what it met holds; it is "
        "withdrawn as soon as it is shown to be worse",
    )


def of_rollback(arguments: Mapping[str, Any], workspace: Workspace) -> Impact:
    """What would be taken back."""
    state = _state(workspace, arguments["endpoint"])
    endpoint = value_in_words(arguments["endpoint"])
    if isinstance(state, str):
        after = "the canary is withdrawn; without one, the release before stable gets all traffic again"
        return Impact(endpoint=endpoint, before=state, after=after)
    if state.canary is not None and state.stable is not None:
        after = f"canary {state.canary.id} is withdrawn; {_release(state.stable)} gets all traffic"
    elif state.stable is not None and state.previous:
        after = f"{_release(state.previous[0])} gets all traffic again, {_EXAMINED}"
    else:
        after = "refused: there is nothing to go back to"
    return Impact(endpoint=endpoint, before=now_in_words(state), after=after)


def now_in_words(state: EndpointState) -> str:
    """Who gets the traffic of an endpoint."""
    if state.stable is None:
        return "nothing is deployed"
    if state.canary is None:
        return f"{_release(state.stable)} gets all traffic"
    return (
        f"{_release(state.stable)} gets {100 - state.canary_percent} % of sessions, canary "
        f"{_release(state.canary)} {state.canary_percent} %"
    )


def value_in_words(value: Any) -> str:
    """An argument as a person reads it: an earlier step's result, an artifact by 12 digits, or itself."""
    for _, step, field in references(value):
        return f"the {field} of step '{step}'"
    try:
        return parse_ref(value).short
    except (OpswrightError, ValueError, AttributeError):
        return str(value)


def _after_deploy(arguments: Mapping[str, Any], state: EndpointState, what: str) -> str:
    percent = arguments["canary_percent"]
    share = f"{percent} % of sessions" if isinstance(percent, int) else value_in_words(percent)
    is_all = isinstance(percent, int) and percent >= 100
    if state.stable is None:
        first = "" if is_all else " (an endpoint's first release is stable whatever its share)"
        return f"a new release of {what} gets all traffic{first}, {_EXAMINED}"
    if _serves(state.stable, arguments):
        return f"the same: {state.stable.id} is this bundle with these guardrails"
    if state.canary is not None:
        if not _serves(state.canary, arguments):
            return (
                f"refused: canary {state.canary.id} is out; it must be promoted or rolled back first (unless "
                f"{what} is what that canary serves)"
            )
        if percent == state.canary_percent:
            return f"the same: canary {state.canary.id} is this, with this share"
        return f"canary {state.canary.id} gets {'all traffic' if is_all else share}, {_EXAMINED}"
    if is_all:
        return f"a new release of {what} gets all traffic instead of {state.stable.id}, {_EXAMINED}"
    return f"a new release of {what} gets {share} beside {state.stable.id}, {_EXAMINED}"


def _serves(release: Release, arguments: Mapping[str, Any]) -> bool:
    return (release.bundle, release.guardrails) == (arguments["bundle"], arguments["guardrails"])


def _release(release: Release) -> str:
    rails = f" behind {release.guardrails.short}" if release.guardrails else ", no guardrails"
    return f"{release.id} ({release.bundle.short}{rails})"


def _state(workspace: Workspace, endpoint: Any) -> EndpointState | str:
    """An endpoint's state, or why it is not known yet."""
    if next(references(endpoint), None) is not None:
        return "what is served there now; an earlier step says which endpoint it is"
    try:
        return read_state(workspace, endpoint)
    except (OpswrightError, ValidationError) as error:
        return f"not known: {error}"
