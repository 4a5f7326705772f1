"""A plan as a Kubeflow pipeline: the intermediate representation (IR) that Kubeflow Pipelines 2 runs."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from ...core.plan import Plan
from .pod_command import PodPlace, encoded, pod_command, pod_steps

_APPROVE = {"parameters": {"approve": {"parameterType": "STRING"}}}
_SCHEMA, _SDK = "2.1.0", "kfp-2.17.3"  # the versions of the IR and of the compiler that writes the same


def kubeflow_pipeline(plan: Plan, place: PodPlace) -> tuple[dict[str, Any], dict[str, Any]]:
    """The pipeline and what is Kubernetes' part of it: one task for each step, one after the other.

    It holds no consent: whoever starts it gives the plan id as the parameter `approve`. Nothing is cached by
    Kubeflow and nothing tried again: what need not be done again Opswright knows by itself.
    """
    steps, text = pod_steps(plan), encoded(plan, place)
    tasks: dict[str, Any] = {}
    components: dict[str, Any] = {}
    executors: dict[str, Any] = {}
    mounts: dict[str, Any] = {}
    for number, one in enumerate(steps):
        words = pod_command(
            text, one.step, place, "{{$.pipeline_job_uuid}}", "{{$.inputs.parameters['approve']}}"
        )
        tasks[one.name] = {
            "taskInfo": {"name": one.name},
            "componentRef": {"name": f"comp-{one.name}"},
            "cachingOptions": {},  # off
            "inputs": {"parameters": {"approve": {"componentInputParameter": "approve"}}},
            **({"dependentTasks": [steps[number - 1].name]} if number else {}),
        }
        components[f"comp-{one.name}"] = {
            "executorLabel": f"exec-{one.name}",
            "inputDefinitions": deepcopy(_APPROVE),  # shared ones would be YAML aliases
        }
        executors[f"exec-{one.name}"] = {
            "container": {"image": place.image, "command": words[:3], "args": words[3:]}
        }
        mounts[f"exec-{one.name}"] = {"pvcMount": [{"constant": place.claim, "mountPath": place.mount}]}
    pipeline = {
        "pipelineInfo": {"name": f"opswright-{plan.id[:12]}", "description": f"Plan {plan.id}"},
        "schemaVersion": _SCHEMA,
        "sdkVersion": _SDK,
        "root": {"inputDefinitions": deepcopy(_APPROVE), "dag": {"tasks": tasks}},
        "components": components,
        "deploymentSpec": {"executors": executors},
    }
    return pipeline, {"platforms": {"kubernetes": {"deploymentSpec": {"executors": mounts}}}}
