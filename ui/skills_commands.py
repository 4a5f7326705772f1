"""The command `skills`: list them, write their pages, export them, and add skills of one's own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ..core.errors import AskError
from .session import Session

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

skills_app = typer.Typer(
    help="List the skills; export them; add project skills.", invoke_without_command=True
)


@skills_app.callback()
def skills(
    context: typer.Context,
    reference: Annotated[
        Path | None, typer.Option(help="Write the reference pages into this folder instead.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Only compare the folder with the code.")] = False,
    json: Json = False,
) -> None:
    """List the skills, or write their reference pages.

    Example: opswright skills --reference docs/reference
    """
    from .reference import write_reference
    from .show import console, print_json, table

    if context.invoked_subcommand is not None:
        return
    session: Session = context.obj
    if reference is not None:
        stale = write_reference(session.registry, reference, check_only=check)
        if check and stale:
            raise AskError(
                f"stale in {reference}: {', '.join(stale)}. Run `opswright skills --reference {reference}`."
            )
        print(f"{reference}: {'up to date' if not stale else f'{len(stale)} pages written'}")
        return
    from ..agents.project_skills import ProjectSkills

    own = list(ProjectSkills(session.workspace, session.registry))
    if json:
        documents = [
            {"name": s.name, "effect": str(s.effect), "summary": s.summary, "request": s.schema()}
            for s in session.registry
        ]
        documents += [
            {"name": s.name, "effect": str(s.effect), "summary": s.summary, "request": s.schema()}
            for s in own
        ]
        print_json(documents)
        return
    rows = [[skill.name, str(skill.effect), skill.summary] for skill in session.registry]
    rows += [[skill.name, str(skill.effect), f"Project skill. {skill.summary}"] for skill in own]
    console().print(table(["skill", "effect", "what it does"], rows))


@skills_app.command("export")
def export_command(
    context: typer.Context, folder: Annotated[Path, typer.Argument(help="Where the skills' folders go.")]
) -> None:
    """Write a SKILL.md folder for each skill, for agents that read the Agent Skills format.

    Example: opswright skills export .agents/skills
    """
    from .agent_skills import export_skills

    made = export_skills(context.obj.registry, folder)
    print(f"{folder}: {len(made)} skills written")


@skills_app.command("validate")
def validate_command(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="A skill's folder, or one that holds several.")],
    json: Json = False,
) -> None:
    """Check skills with the format's public validator; ends with 1 when it finds something.

    Example: opswright skills validate .agents/skills
    """
    from .agent_skills import validate_skills
    from .show import print_json

    found = validate_skills(folder)
    wrong = {name: problems for name, problems in found.items() if problems}
    if json:
        print_json(found)
    else:
        for name, problems in wrong.items():
            print(f"{name}: {'; '.join(problems)}")
        print(f"{len(found)} skills, {len(wrong)} with problems", file=sys.stderr)
    raise typer.Exit(1 if wrong else 0)


@skills_app.command("add")
def add_command(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="A folder with a SKILL.md that names a plan file.")],
) -> None:
    """Trust a project skill as it is now: it becomes a slash command and an MCP tool.

    Read what is in the folder first. A byte that changes later refuses it, until it is added again.

    Example: opswright skills add skills/nightly-retrain
    """
    from ..agents.project_skills import ProjectSkills

    session: Session = context.obj
    added = ProjectSkills(session.workspace, session.registry).add(folder)
    signed = f", signed with key {added.signed_by}" if added.signed_by else ", not signed"
    inputs = ", ".join(added.inputs) or "none"
    print(f"/{added.name} ({added.effect.in_words}; inputs: {inputs}), sha256 {added.digest[:12]}{signed}")


@skills_app.command("remove")
def remove_command(
    context: typer.Context, name: Annotated[str, typer.Argument(help="The project skill's name.")]
) -> None:
    """Trust a project skill no more; its folder stays.

    Example: opswright skills remove nightly-retrain
    """
    from ..agents.project_skills import ProjectSkills

    session: Session = context.obj
    ProjectSkills(session.workspace, session.registry).remove(name)
    print(f"{name} was removed", file=sys.stderr)
