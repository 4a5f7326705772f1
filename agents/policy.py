"""Policy: who may do what, and whether a step may still run."""

from __future__ import annotations

from ..core.contract import Effect
from ..core.errors import HeldError, IntegrityError
from ..core.plan import Plan, StepCall
from ..core.settings import Role

ALLOWED: dict[Role, frozenset[Effect]] = {
    Role.VIEWER: frozenset({Effect.READS}),
    Role.OPERATOR: frozenset({Effect.READS, Effect.WRITES}),
    Role.RELEASER: frozenset(Effect),
}


def refusals(plan: Plan, role: Role) -> list[str]:
    """Why a role may not run a plan: a sentence for each effect it lacks."""
    missing = {step.effect for step in plan.steps} - ALLOWED[role]
    return [
        f"role '{role}' may not run steps that {_verb(effect)} "
        f"({', '.join(s.id for s in plan.steps if s.effect is effect)}); ask someone whose role allows it."
        for effect in sorted(missing)
    ]


def needs_approval(plan: Plan) -> bool:
    """Whether a person must consent: for anything but reading."""
    return plan.effect is not Effect.READS


def check_step(plan: Plan, step: StepCall, role: Role, approved_plan: str | None) -> None:
    """Let a step run, or raise: HeldError without role or approval, IntegrityError for a changed input."""
    if step.effect not in ALLOWED[role]:
        raise HeldError(f"role '{role}' may not run step {step.id}: it {step.effect.in_words}.")
    if step.effect is not Effect.READS and approved_plan != plan.id:
        raise HeldError(
            f"step {step.id} needs approval of plan {plan.id[:12]}; "
            + (f"approved was {approved_plan[:12]}." if approved_plan else "nobody has approved it.")
        )
    if changed := plan.changed_inputs(step):
        raise IntegrityError(f"step {step.id}: {'; '.join(changed)}. Plan again and have that approved.")


def _verb(effect: Effect) -> str:
    return {"reads": "read", "writes": "make artifacts", "serves": "change what users of an endpoint get"}[
        effect
    ]
