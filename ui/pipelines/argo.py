"""A plan as an Argo Workflow."""

from __future__ import annotations

from typing import Any

from ...core.plan import Plan
from .pod_command import NOT_RUN, PodPlace, PodStep, encoded, pod_command, pod_steps

_VOLUME, _IDENTITY = "project", "identity"
_TOKEN_FOLDER = "/var/run/opswright"
# Only what took the pod away is tried again: a gate's NO_GO, a refusal or a failed step is an answer.
# 130 is how a pod ends that is told to go; of a run that a person stopped the next try does nothing.
_RETRY = {
    "limit": "2",
    "retryPolicy": "Always",
    "expression": "lastRetry.status == 'Error' || asInt(lastRetry.exitCode) in [130, 137, 143]",
}


def argo_workflow(
    plan: Plan, place: PodPlace, *, service_account: str | None = None, audience: str | None = None
) -> dict[str, Any]:
    """The Workflow: one template for each step, one after the other, on one volume.

    It holds no consent: whoever submits it gives the plan id as the parameter `approve`. The plan is in it
    once, as the parameter `plan`: consent is to an id, so another plan there is refused. audience: of an
    identity token of the service account, by which the pods say who acts.
    """
    steps = pod_steps(plan)
    tasks: list[dict[str, Any]] = []
    for number, one in enumerate(steps):
        after = {"dependencies": [steps[number - 1].name]} if number else {}
        tasks.append({"name": one.name, "template": one.name, **after})
    volumes: list[dict[str, Any]] = [
        {"name": _VOLUME, "persistentVolumeClaim": {"claimName": place.claim}},
    ]
    if audience is not None:
        token = {"audience": audience, "expirationSeconds": 3600, "path": "token"}
        volumes.append({"name": _IDENTITY, "projected": {"sources": [{"serviceAccountToken": token}]}})
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {
            "generateName": f"opswright-{plan.id[:8]}-",
            "annotations": {"opswright/plan": plan.id, "opswright/note": NOT_RUN},
        },
        "spec": {
            "entrypoint": "plan",
            "arguments": {
                "parameters": [{"name": "approve"}, {"name": "plan", "value": encoded(plan, place)}]
            },
            **({"serviceAccountName": service_account} if service_account is not None else {}),
            "volumes": volumes,
            "templates": [
                {"name": "plan", "dag": {"tasks": tasks}},
                *(_template(one, place, audience is not None) for one in steps),
            ],
        },
    }


def _template(one: PodStep, place: PodPlace, has_token: bool) -> dict[str, Any]:
    given = "{{workflow.parameters.plan}}", "{{workflow.name}}", "{{workflow.parameters.approve}}"
    words = pod_command(given[0], one.step, place, *given[1:])
    mounts = [{"name": _VOLUME, "mountPath": place.mount}]
    container: dict[str, Any] = {"image": place.image, "command": words[:3], "args": words[3:]}
    if has_token:
        mounts.append({"name": _IDENTITY, "mountPath": _TOKEN_FOLDER, "readOnly": True})  # type: ignore[dict-item]
        named = f"secret:file:{_TOKEN_FOLDER}/token"
        container["env"] = [{"name": "OPSWRIGHT_IDENTITY__TOKEN", "value": named}]
    return {
        "name": one.name,
        "metadata": {"annotations": {"opswright/step": one.step.id, "opswright/skill": one.step.skill}},
        "retryStrategy": dict(_RETRY),
        "container": {**container, "volumeMounts": mounts},
    }
