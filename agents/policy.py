"""Policy: who may propose, approve and run what. Every way in asks this one object, and so does the audit.

It is `policy.yaml` beside the workspace (or where the setting `policy` points), and three roles where there
is none. It decides from the registry's effects, never from what a plan says of itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, field_validator

from ..core.contract import Effect
from ..core.errors import AskError, DeniedError, did_you_mean
from ..core.explain import explain
from ..core.files import sha256_json
from ..core.plan import Budget, Plan, StepCall, references
from ..core.principal import OS_USER, Principal, Ruling
from ..core.registry import Registry
from ..core.strict_yaml import read_yaml
from ..core.workspace import Workspace
from ..record.run_state import AMOUNTS, Approval
from .identity.rules import PREFIX, IdentityRule, check_identity_names

Action = Literal["propose", "approve", "run"]
_MOST_HOURS = 10 * 365 * 24
Costs = Mapping[str, Mapping[str, float | None] | None]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Grant(_Frozen):
    """What a role may do, by the effects of the steps."""

    propose: tuple[Effect, ...] = Field((), description="Effects of the plans it may propose.")
    approve: tuple[Effect, ...] = Field((), description="Effects of the plans it may approve.")
    run: tuple[Effect, ...] = Field((), description="Effects of the steps it may run.")


class Match(_Frozen):
    """Which steps a rule is about; what is left out matches every step."""

    skills: tuple[str, ...] = Field((), description="Names of skills, * for any characters.")
    effects: tuple[Effect, ...] = Field((), description="Effects.")
    endpoints: tuple[str, ...] = Field((), description="Names of endpoints, * for any characters.")
    over: dict[str, FiniteFloat] = Field(
        default_factory=dict,
        description="Steps expected to take more than this of minutes, gpu_hours, usd or tokens.",
    )


class Rule(_Frozen):
    """Narrows who may do what with the steps it matches; an action it does not name stays as it was."""

    name: str = Field(min_length=1, description="How denials call it.")
    match: Match = Match()
    propose: tuple[str, ...] | None = Field(None, description="Roles that may propose such steps.")
    approve: tuple[str, ...] | None = Field(None, description="Roles that may approve such steps.")
    run: tuple[str, ...] | None = Field(None, description="Roles that may run such steps.")


class ApprovalRules(_Frozen):
    """How long consent lasts."""

    expire_hours: float | None = Field(
        None, gt=0, le=_MOST_HOURS, description="Hours after which an approval lapses."
    )


class MonthBudgets(_Frozen):
    """What may be taken in a calendar month (UTC); a run is charged to who proposed it."""

    person: Budget = Field(Budget(), description="What the runs of each person may take.")
    people: dict[str, Budget] = Field(
        default_factory=dict, description="Instead of that, by name; {} is no limit."
    )
    month: Budget = Field(Budget(), description="What all runs together may take.")

    def of(self, person: str) -> list[tuple[str | None, Budget]]:
        """The budgets that a person's runs are held against, and whose each is; None: everybody's."""
        found = [(person, self.people.get(person, self.person)), (None, self.month)]
        return [(whose, one) for whose, one in found if one.limits]

    @property
    def listed(self) -> list[tuple[str, Budget]]:
        """Each budget that is set, and whose it is."""
        named = [("each person", self.person), ("everybody together", self.month)]
        return [(who, one) for who, one in named if one.limits] + list(self.people.items())


_ALL = tuple(Effect)
DEFAULT_ROLES = {
    "viewer": Grant(propose=(Effect.READS,), run=(Effect.READS,)),
    "operator": Grant(propose=_ALL, approve=(Effect.READS, Effect.WRITES), run=(Effect.READS, Effect.WRITES)),
    "releaser": Grant(propose=_ALL, approve=_ALL, run=_ALL),
}


class PolicyRules(_Frozen):
    """The content of `policy.yaml`."""

    roles: dict[str, Grant] = Field(default_factory=lambda: dict(DEFAULT_ROLES), description="Roles.")
    rules: tuple[Rule, ...] = Field((), description="Rules; a step must pass every one that matches it.")
    protected_endpoints: tuple[str, ...] = Field(
        (), description="Endpoints where who proposed a plan may not approve it; * for any characters."
    )
    approvals: ApprovalRules = ApprovalRules()
    budgets: MonthBudgets = MonthBudgets()
    identities: dict[str, IdentityRule] = Field(
        default_factory=dict, description="Whose tokens are which principal, and with which roles."
    )
    local_roles: tuple[str, ...] | None = Field(
        None, description="Roles that the operating system's user may have; needed beside identities."
    )

    _names_fit = field_validator("identities")(check_identity_names)


# Fields that policies without them do not have in their digest: records name older policies by theirs.
_LATER = {name: PolicyRules.model_fields[name] for name in ("budgets", "identities", "local_roles")}


@dataclass(frozen=True)
class Policy:
    """Answers who may do what; `effects` gives a skill's effect as the registry has it, None when unknown."""

    rules: PolicyRules
    effects: Callable[[str], Effect | None]
    source: str = "built in"

    @cached_property
    def digest(self) -> str:
        """SHA-256 of its canonical form: what records name it by."""
        return sha256_json(self.document())

    def document(self) -> dict[str, Any]:
        """Its rules as plain JSON."""
        unset = {
            name
            for name, field in _LATER.items()
            if getattr(self.rules, name) == field.get_default(call_default_factory=True)
        }
        return self.rules.model_dump(mode="json", exclude=unset)

    def check_roles(self, principal: Principal) -> None:
        """AskError for a role that the policy does not know, DeniedError for one not theirs to have."""
        for role in principal.roles:
            if role not in self.rules.roles:
                known = ", ".join(self.rules.roles)
                raise AskError(
                    f"unknown role '{role}' (the policy, {self.source}, knows: {known})."
                    + did_you_mean(role, self.rules.roles)
                )
        if beyond := sorted(set(principal.roles) - set(self.counted_roles(principal))):
            raise DeniedError(
                f"{principal.name} may not act as '{beyond[0]}': known by {principal.authenticated_by}, the "
                f"policy, {self.source}, allows {', '.join(self._roles_given(principal) or ()) or 'no role'}."
            )

    def counted_roles(self, principal: Principal) -> tuple[str, ...]:
        """Those of a principal's roles that count, given how it is known: who runs a process, or a token."""
        given = self._roles_given(principal)
        return principal.roles if given is None else tuple(r for r in principal.roles if r in given)

    def _roles_given(self, principal: Principal) -> tuple[str, ...] | None:
        """The roles that someone known in this way may have; None: those that they come with."""
        if principal.authenticated_by.startswith(PREFIX):
            rule = self.rules.identities.get(principal.name)
            return rule.roles if rule is not None else ()
        return self.rules.local_roles if principal.authenticated_by.startswith(OS_USER) else None

    def month_limits(self, person: str) -> list[tuple[str | None, Mapping[str, float]]]:
        """The limits of a month that a person's runs are held against, and whose each is."""
        return [(whose, one.limits) for whose, one in self.rules.budgets.of(person)]

    def may_propose(self, principal: Principal, plan: Plan, costs: Costs | None = None) -> Ruling:
        """Whether someone may propose a plan."""
        return self._all_steps("propose", principal, plan, costs)

    def may_approve(
        self, principal: Principal, plan: Plan, proposer: Principal | None, costs: Costs | None = None
    ) -> Ruling:
        """Whether someone's consent to a plan counts; `proposer` is who proposed it."""
        for step in plan.steps:
            if self.effect_of(step) is not Effect.SERVES or proposer is None:
                continue
            endpoint = _endpoint_of(step)
            guarded = endpoint is None or _any(endpoint, self.rules.protected_endpoints)
            if self.rules.protected_endpoints and guarded and principal.name == proposer.name:
                return Ruling(
                    False,
                    "protected_endpoints",
                    f"{principal} proposed the plan, and endpoint {endpoint or 'not known yet'} is protected:"
                    " somebody else must approve it.",
                )
        return self._all_steps("approve", principal, plan, costs)

    def may_run(
        self,
        principal: Principal,
        plan: Plan,
        step: StepCall,
        approvals: Sequence[Approval],
        at: datetime,
        proposer: Principal | None = None,
        costs: Costs | None = None,
    ) -> Ruling:
        """Whether a step may run: the runner's own right, and somebody's standing consent to the plan."""
        ruling = self._one_step("run", principal, step, costs)
        if not ruling.allowed or self.effect_of(step) is Effect.READS:
            return ruling
        return self._consent(plan, step, approvals, at, proposer, costs)

    def _consent(
        self,
        plan: Plan,
        step: StepCall,
        approvals: Sequence[Approval],
        at: datetime,
        proposer: Principal | None,
        costs: Costs | None,
    ) -> Ruling:
        """Whether one of the approvals is for this plan, still holds, and is by someone who may give it."""
        needs = f"step {step.id} needs approval of plan {plan.id[:12]}"
        why, rule = f"{needs}; nobody has approved it.", "approval"
        for approval in approvals:
            if approval.plan != plan.id:
                why = f"{needs}; approved was {approval.plan[:12]}."
                continue
            if self.has_lapsed(approval, at):
                why = (
                    f"{needs}; that of {approval.principal} lapsed after "
                    f"{self.rules.approvals.expire_hours:g} hours."
                )
                rule = "approvals.expire_hours"
                continue
            ruling = self.may_approve(approval.principal, plan, proposer, costs)
            if ruling.allowed:
                return Ruling(True, ruling.rule)
            why, rule = f"{needs}; that of {approval.principal} does not count: {ruling.message}", ruling.rule
        return Ruling(False, rule, why, needs_approval=True)

    def has_lapsed(self, approval: Approval, at: datetime) -> bool:
        """Whether an approval no longer counts at a time for its age, by the latest clock of its run."""
        until = self.lapses(approval.seen_at(at))
        return until is not None and max(at, approval.latest or at) > until

    def lapses(self, approval: Approval) -> datetime | None:
        """Until when an approval counts; None where it has no end."""
        hours = self.rules.approvals.expire_hours
        return None if hours is None else approval.since + timedelta(hours=hours)

    def effect_of(self, step: StepCall) -> Effect:
        """A step's effect by the registry; the strongest one for a skill that is not installed."""
        return self.effects(step.skill) or Effect.SERVES

    def _all_steps(self, action: Action, principal: Principal, plan: Plan, costs: Costs | None) -> Ruling:
        for step in plan.steps:
            ruling = self._one_step(action, principal, step, costs)
            if not ruling.allowed:
                return ruling
        return Ruling(True, "roles")

    def _one_step(self, action: Action, principal: Principal, step: StepCall, costs: Costs | None) -> Ruling:
        effect = self.effect_of(step)
        counted = self.counted_roles(principal)
        grants = [self.rules.roles[role] for role in counted if role in self.rules.roles]
        if not any(effect in getattr(grant, action) for grant in grants):
            able = [role for role, grant in self.rules.roles.items() if effect in getattr(grant, action)]
            return self._denial("roles", action, principal, step, effect, able)
        for rule in self.rules.rules:
            roles = getattr(rule, action)
            if roles is None or not self._matches(rule.match, step, effect, costs):
                continue
            if not set(roles) & set(counted):
                return self._denial(rule.name, action, principal, step, effect, roles)
        return Ruling(True, "roles")

    def _denial(
        self,
        rule: str,
        action: Action,
        principal: Principal,
        step: StepCall,
        effect: Effect,
        able: Iterable[str],
    ) -> Ruling:
        who = ", ".join(able) or "nobody"
        role = f"role '{', '.join(principal.roles) or 'none'}'"
        message = (
            f"{principal.name} ({role}) may not {action} step {step.id} ({step.skill}), which "
            f"{effect.in_words}: rule '{rule}'. Who may: {who}."
        )
        return Ruling(False, rule, message)

    def _matches(self, match: Match, step: StepCall, effect: Effect, costs: Costs | None) -> bool:
        if match.skills and not _any(step.skill, match.skills):
            return False
        if match.effects and effect not in match.effects:
            return False
        if match.endpoints:
            endpoint = _endpoint_of(step)
            if "endpoint" not in step.arguments or (endpoint and not _any(endpoint, match.endpoints)):
                return False
        if not match.over:
            return True
        cost = (costs or {}).get(step.id) or {}
        taken = {name: cost.get(name) for name in match.over}
        return any(value is None or value > match.over[name] for name, value in taken.items())


def _endpoint_of(step: StepCall) -> str | None:
    """The endpoint a step names; None while an earlier step has yet to give it: then any may be meant."""
    endpoint = step.arguments.get("endpoint")
    if not isinstance(endpoint, str) or next(references(endpoint), None) is not None:
        return None
    return endpoint


def _any(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def policy_of(workspace: Workspace, registry: Registry) -> Policy:
    """The policy in force for a workspace; AskError for a file that is not one."""
    path = workspace.settings.policy or workspace.root.parent / "policy.yaml"
    if workspace.settings.policy is None and not os.path.lexists(path):
        return Policy(PolicyRules(), effects_of(registry))
    return Policy(read_rules(path), effects_of(registry), str(path))


def kept_policy(document: Mapping[str, Any], registry: Registry) -> Policy:
    """A policy as the record keeps it."""
    return Policy(PolicyRules.model_validate(document), effects_of(registry), "the record")


def effects_of(registry: Registry) -> Callable[[str], Effect | None]:
    """The effect of each skill, as it was declared."""
    return lambda name: registry.get(name).effect if name in registry else None


def read_rules(path: Path) -> PolicyRules:
    """The rules of a policy file; AskError names what is wrong with it, as with a file that says nothing."""
    found = read_yaml(path, "policy").data
    if not isinstance(found, dict) or not found:
        known = ", ".join(PolicyRules.model_fields)
        raise AskError(
            f"{path} says nothing: a policy is a mapping with at least one of {known}. "
            "Remove the file to have the built-in roles."
        )
    try:
        rules = PolicyRules.model_validate(found)
    except ValidationError as error:
        raise AskError(f"{path}: {'; '.join(explain(error, PolicyRules))}") from error
    _check_names(rules, path)
    return rules


def _check_names(rules: PolicyRules, path: Path) -> None:
    names = [rule.name for rule in rules.rules]
    if twice := {name for name in names if names.count(name) > 1}:
        raise AskError(f"{path}: two rules are named '{twice.pop()}'.")
    if rules.identities and rules.local_roles is None:
        raise AskError(
            f"{path}: identities need `local_roles` beside them: the roles that the operating system's user "
            "may have, as local_roles: [viewer]. Else whoever runs a command there takes any role."
        )
    for where, roles in _role_names(rules):
        for role in set(roles) - rules.roles.keys():
            known = ", ".join(rules.roles)
            raise AskError(
                f"{path}: {where} names role '{role}' (roles are: {known})." + did_you_mean(role, rules.roles)
            )
    for rule in rules.rules:
        for amount in rule.match.over.keys() - set(AMOUNTS):
            raise AskError(
                f"{path}: rule '{rule.name}' limits '{amount}' (amounts are: {', '.join(AMOUNTS)})."
                + did_you_mean(amount, AMOUNTS)
            )


def _role_names(rules: PolicyRules) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Every place that names roles, and the roles it names."""
    for rule in rules.rules:
        yield f"rule '{rule.name}'", (*(rule.propose or ()), *(rule.approve or ()), *(rule.run or ()))
    for name, identity in rules.identities.items():
        yield f"identity '{name}'", identity.roles
    yield "local_roles", rules.local_roles or ()
