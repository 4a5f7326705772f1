"""Commands that write a plan for other systems: an Argo Workflow, a Kubeflow pipeline."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ..core.plan import Plan
    from .pipelines.pod_command import PodPlace
    from .session import Session

PlanFile = Annotated[Path, typer.Argument(help="A compiled plan (JSON), or a plan file (YAML).")]
Image = Annotated[str, typer.Option(help="Container image that has `opswright` and a shell.")]
Claim = Annotated[str, typer.Option(help="PersistentVolumeClaim that holds the project and its workspace.")]
Mount = Annotated[str, typer.Option(help="Where pods mount it.")]
Folder = Annotated[str, typer.Option(help="Folder on the volume that the plan's inputs are relative to.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Write it into this file instead.")]

export_app = typer.Typer(
    help="Write a plan as a pipeline whose pods run it step by step.", no_args_is_help=True
)


@export_app.command("argo")
def argo_command(
    context: typer.Context,
    plan: PlanFile,
    image: Image,
    claim: Claim,
    mount: Mount = "/project",
    folder: Folder = ".",
    service_account: Annotated[str | None, typer.Option(help="Service account of the pods.")] = None,
    identity_audience: Annotated[
        str | None,
        typer.Option(help="Let the service account's token for this audience say who acts in the pods."),
    ] = None,
    output: Output = None,
) -> None:
    """Write a plan as an Argo Workflow, a pod for each step, on one volume. Consent comes at submission.

    Example: opswright export argo plan.json --image IMAGE --claim models -o workflow.yaml
    """
    from .pipelines.argo import argo_workflow

    compiled, place = _read(context.obj, plan, image, claim, mount, folder)
    made = argo_workflow(compiled, place, service_account=service_account, audience=identity_audience)
    _give([made], output, plan)
    target = output or "FILE"
    print(f"Submit it with consent: argo submit {target} -p approve={compiled.id}", file=sys.stderr)


@export_app.command("kubeflow")
def kubeflow_command(
    context: typer.Context,
    plan: PlanFile,
    image: Image,
    claim: Claim,
    mount: Mount = "/project",
    folder: Folder = ".",
    output: Output = None,
) -> None:
    """Write a plan as a Kubeflow pipeline (IR of KFP 2), a pod for each step. Consent comes at its start.

    Example: opswright export kubeflow plan.json --image IMAGE --claim models -o pipeline.yaml
    """
    from .pipelines.kubeflow import kubeflow_pipeline

    compiled, place = _read(context.obj, plan, image, claim, mount, folder)
    _give(kubeflow_pipeline(compiled, place), output, plan)
    print(f"Start it with the parameter approve={compiled.id}: that is the consent.", file=sys.stderr)


def _read(
    session: Session, file: Path, image: str, claim: str, mount: str, folder: str
) -> tuple[Plan, PodPlace]:
    """The plan, checked as `apply` does, and the place of its pods."""
    from ..agents.planner import Ask
    from .pipelines.pod_command import PodPlace, check_place

    kind = "compiled_plan" if file.suffix == ".json" else "plan_file"
    compiled = session.agent().plan_for(Ask(kind, str(file))).plan
    place = PodPlace(image, claim, mount, folder)
    check_place(compiled, place)
    return compiled, place


def _give(documents: Sequence[dict[str, Any]], output: Path | None, plan: Path) -> None:
    """Write the documents, to stdout where no file is named; AskError for the plan's own file."""
    import yaml

    from ..core.errors import AskError
    from ..core.files import write_atomically
    from .pipelines.pod_command import NOT_RUN, check_size

    if output is not None and output.exists() and output.samefile(plan):
        raise AskError(f"--output {output} cannot be written: it is the plan's file.")

    check_size(documents)
    text = f"# {NOT_RUN}\n" + yaml.safe_dump_all(documents, sort_keys=False, width=120)
    if output is None:
        sys.stdout.write(text)
    else:
        write_atomically(output, text.encode())
    print(NOT_RUN, file=sys.stderr)
