"""What the pod of one step runs: the same on Argo and on Kubeflow, and on any machine with a shell."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ...core.errors import AskError
from ...core.plan import Plan, StepCall

NOT_RUN = "Checked offline by its published schema. Never run on a cluster by Opswright's own tests."

# The plan comes as the first word, in base64: nothing in it is read as a shell's or a pipeline's own words.
# Backticks, for Kubernetes puts variables in place of $(NAME).
_SCRIPT = (
    'set -e; cd "$1"; plan=`mktemp`; printf %s "$0" | base64 -d > "$plan"; '
    'exec opswright --home "$2" apply "$plan" --run "$3" --approve "$4" --until "$5" --json'
)
_LONGEST_WORD = 120_000  # bytes; Linux takes 128 KiB in one argument
_MOST_BYTES = 1_000_000  # etcd takes 1.5 MiB, with what the system adds while it runs
_NOT_NAME = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True)
class PodPlace:
    """Where pods find what they need: an image with Opswright, a volume claim, and the project on it."""

    image: str
    claim: str
    mount: str = "/project"
    folder: str = "."  # of the plan's inputs, below the mount

    @property
    def project(self) -> PurePosixPath:
        """The folder that the plan's relative inputs are below."""
        return PurePosixPath(self.mount) / self.folder

    @property
    def home(self) -> str:
        """The workspace that all pods share."""
        return str(self.project / ".opswright")


@dataclass(frozen=True)
class PodStep:
    """One step of the plan and its name among pods."""

    name: str
    step: StepCall


def pod_steps(plan: Plan) -> list[PodStep]:
    """The plan's steps in its order, each with a name that every pipeline system takes."""
    return [
        PodStep(f"step-{number:02d}-{_NOT_NAME.sub('-', step.id.lower()).strip('-')}", step)
        for number, step in enumerate(plan.steps, 1)
    ]


def encoded(plan: Plan, place: PodPlace) -> str:
    """The compiled plan in base64; AskError for one that is too large for a pod's command."""
    text = base64.b64encode(plan.document(Path(place.project))).decode()
    if len(text) > _LONGEST_WORD:
        raise AskError(
            f"the plan has {len(text):,} bytes in base64, a pod's command takes {_LONGEST_WORD:,}. "
            "Split the plan."
        )
    return text


def pod_command(text: str, step: StepCall, place: PodPlace, run: str, approve: str) -> list[str]:
    """The words of a step's pod. text: the encoded plan.

    text, run and approve may be what the system puts the plan, the run's name and the plan id in for.
    """
    return ["sh", "-c", _SCRIPT, text, str(place.project), place.home, run, approve, step.id]


def check_place(plan: Plan, place: PodPlace) -> None:
    """AskError for a place that pods could not use, or inputs that would not lie on their volume."""
    if not place.mount.startswith("/") or place.mount == "/" or ".." in PurePosixPath(place.mount).parts:
        raise AskError(f"invalid mount '{place.mount[:80]}': expected an absolute path below /.")
    if PurePosixPath(place.folder).is_absolute() or ".." in PurePosixPath(place.folder).parts:
        raise AskError(f"invalid folder '{place.folder[:80]}': expected a path below the mount.")
    words = {"image": place.image, "claim": place.claim, "mount": place.mount, "folder": place.folder}
    for name, text in words.items():
        if not text or any(sign.isspace() or sign in "{}$" for sign in text):
            raise AskError(f"invalid {name} '{text[:80]}'.")
    for path in plan.inputs:
        parts = PurePosixPath(path)
        if parts.is_absolute() or ".." in parts.parts:
            raise AskError(
                f"input {path} lies outside the plan's folder, so pods would not find it on their volume. "
                "Put it below the folder, name it relative to that, and plan again."
            )


def check_size(documents: Sequence[object]) -> None:
    """AskError for a pipeline that a cluster would not keep."""
    size = len(json.dumps(documents))
    if size > _MOST_BYTES:
        raise AskError(
            f"the pipeline has {size:,} bytes, and Kubernetes keeps at most {_MOST_BYTES:,} of one object. "
            "Split the plan."
        )
