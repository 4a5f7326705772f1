"""Commands about where work runs: `opswright compute manifest`."""

from __future__ import annotations

from typing import Annotated

import typer

from .session import Session

compute_app = typer.Typer(help="Where jobs run, and what they are sent as.", no_args_is_help=True)


@compute_app.callback()
def _compute() -> None:
    pass


@compute_app.command()
def manifest(
    context: typer.Context,
    cpus: Annotated[int, typer.Option(help="CPU cores the job asks for.")] = 1,
    gpus: Annotated[int, typer.Option(help="GPUs the job asks for.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Print the manifest that a job on Kubernetes would be sent as, checked without asking the cluster.

    Everything is as the settings have it but the name, the token and the folders of the job. It can be piped
    to `kubectl create --dry-run=server -f -`.

    Example: opswright compute manifest --gpus 2
    """
    import yaml

    from ..compute import Resources
    from ..compute.kubernetes import KubernetesCompute
    from .show import print_json

    session: Session = context.obj
    backend = KubernetesCompute(session.workspace.settings.compute.kubernetes)
    document = backend.checked_manifest(Resources(cpus=cpus, gpus=gpus))
    if json:
        print_json(document)
    else:
        typer.echo(yaml.safe_dump(document, sort_keys=False), nl=False)
