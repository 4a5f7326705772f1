"""Consent by a plan's id that somebody types: how much of the id it takes, and what to type."""

from __future__ import annotations

from ..core.errors import AskError

CONSENT_DIGITS = 32
"""Of a plan's id, wherever consent names one: two plans with 12 digits in common take whoever writes both a
minute to make, so that who read one of them would consent to the other."""


def match_plan(given: str, plan: str) -> str:
    """The plan id that a full id or its first digits mean; AskError for fewer than `CONSENT_DIGITS`."""
    if len(given) < CONSENT_DIGITS:
        raise AskError(f"invalid plan id '{given[:80]}': give at least its first {CONSENT_DIGITS} digits.")
    return plan if plan.startswith(given) else given.ljust(64, "-")


def mismatch(approved: str, plan: str) -> str:
    """What to say when what was approved is another plan: such consent counts for nothing here."""
    if approved == plan:
        return ""
    named = approved[:CONSENT_DIGITS]
    return f"--approve {named} is no consent to this plan, which is {plan[:CONSENT_DIGITS]}."


def approve_command(run: str, plan: str) -> str:
    """The command by which somebody records consent to exactly this plan."""
    return f"opswright approvals approve {run} --plan {plan[:CONSENT_DIGITS]}"


def approval_hint(run: str, plan: str, why_not: str = "") -> str:
    """What to type to answer a waiting plan; `why_not` says why somebody else has to."""
    if why_not:
        return (
            f"Nothing was run. {why_not}\n"
            f"Who may does so in their own name: {approve_command(run, plan)}\n"
            f"Then: opswright resume {run}"
        )
    return (
        "Nothing was run. To consent to exactly this plan: "
        f"opswright resume {run} --approve {plan[:CONSENT_DIGITS]}\n"
        f"To refuse it: opswright resume {run} --deny"
    )
