"""Commands about the policy: show the one in force, try it on a table of cases."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

policy_app = typer.Typer(help="Who may propose, approve and run what.", no_args_is_help=True)


@policy_app.command("show")
def show_command(context: typer.Context, json: Json = False) -> None:
    """Show the policy in force: roles, rules, protected endpoints, how long approvals last.

    It is policy.yaml beside the workspace, the file that the setting `policy` names, or the built-in roles.

    Example: opswright policy show
    """
    from ..agents.budget import in_words
    from .show import console, plain, print_json, table

    policy = context.obj.agent().policy
    if json:
        print_json({"source": policy.source, "digest": policy.digest, **policy.document()})
        return
    out = console()
    out.print(f"Policy: {policy.source} ({policy.digest[:12]})")
    columns = ["role", "may propose", "may approve", "may run"]
    rows = [
        [role, *(", ".join(map(str, effects)) or "-" for effects in (g.propose, g.approve, g.run))]
        for role, g in policy.rules.roles.items()
    ]
    out.print(table(columns, rows))
    for rule in policy.rules.rules:
        who = [
            f"{action}: {', '.join(roles) or 'nobody'}"
            for action in ("propose", "approve", "run")
            if (roles := getattr(rule, action)) is not None
        ]
        match = rule.match.model_dump(mode="json", exclude_defaults=True)
        about = ", ".join(f"{name} {value}" for name, value in match.items()) or "every step"
        out.print(f"Rule {rule.name}: {about}; only {'; '.join(who) or 'as the roles say'}")
    if policy.rules.protected_endpoints:
        names = ", ".join(policy.rules.protected_endpoints)
        out.print(f"Protected endpoints (who proposed may not approve): {names}")
    for whose, limits in policy.rules.budgets.listed:
        out.print(
            plain(f"Budget of a month, {whose}: {in_words(limits.limits) if limits.limits else 'no limit'}")
        )
    for name, identity in policy.rules.identities.items():
        claims = ", ".join(f"{claim} {' or '.join(identity.allowed(claim))}" for claim in identity.claims)
        out.print(f"Identity {name} ({', '.join(identity.roles)}): tokens of {identity.issuer} with {claims}")
    if (local := policy.rules.local_roles) is not None:
        out.print(f"Roles of the operating system's user: {', '.join(local) or 'none'}")
    hours = policy.rules.approvals.expire_hours
    out.print(f"Approvals last {'until they are withdrawn' if hours is None else f'{hours:g} hours'}.")


@policy_app.command("test")
def test_command(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A YAML file with a table of cases.")],
    json: Json = False,
) -> None:
    """Try the policy on a table of cases; exits 1 when one does not hold.

    A case names `who` (roles), `may` (propose, approve or run), a `skill`, perhaps `endpoint`, `cost`,
    `proposed_by` and `approved_by`, and what to `expect`: allow or deny.

    Example: opswright policy test policy-cases.yaml
    """
    from ..agents.policy_cases import read_cases, try_cases
    from .show import console, print_json, table

    tried = try_cases(context.obj.agent().policy, read_cases(file))
    failed = [one for one in tried if not one.holds]
    if json:
        print_json(
            {
                "ok": not failed,
                "cases": [
                    {
                        "case": one.case.case,
                        "expect": one.case.expect,
                        "allowed": one.ruling.allowed,
                        "rule": one.ruling.rule,
                        "message": one.ruling.message,
                        "holds": one.holds,
                    }
                    for one in tried
                ],
            }
        )
    else:
        rows = [
            [
                "holds" if one.holds else "FAILS",
                one.case.case,
                one.case.expect,
                "allow" if one.ruling.allowed else "deny",
                one.ruling.rule,
            ]
            for one in tried
        ]
        console().print(table(["", "case", "expected", "policy says", "by rule"], rows))
        for one in failed:
            print(f"{one.case.case}: {one.ruling.message or 'allowed'}", file=sys.stderr)
        print(f"{len(tried) - len(failed)} of {len(tried)} cases hold", file=sys.stderr)
    if failed:
        raise typer.Exit(1)
