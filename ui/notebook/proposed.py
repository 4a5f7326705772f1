"""A plan in a notebook: shown as a card, carried out only by `apply`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ...core.contract import Effect
from ...core.errors import AskError, HeldError
from ..ci.summary import markdown
from ..consent import CONSENT_DIGITS, match_plan
from ..show import gate_words, short
from .running import NotebookRun, as_it_stands, carry_on, safe

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...agents.agent import Agent
    from ...agents.planner import Proposal
    from ...core.contract import Impact
    from ...core.plan import Plan

_STRENGTH = {effect: strength for strength, effect in enumerate(Effect)}
_DIGITS = 12


@dataclass(frozen=True, repr=False)
class ProposedPlan:
    """What a call would do. Nothing of it is recorded or run before `apply` or `propose`."""

    _proposal: Proposal
    _make_agent: Callable[[], Agent]
    _consents_to: Effect = field(default=Effect.READS)  # what typing `apply()` is consent to

    @property
    def plan(self) -> Plan:
        """The plan: canonical, every default written out."""
        return self._proposal.plan

    @property
    def id(self) -> str:
        """The plan's id: the SHA-256 of its canonical form."""
        return self.plan.id

    @property
    def effect(self) -> Effect:
        """The strongest of its steps' effects, as their skills declare them."""
        policy = self._make_agent().policy
        return max((policy.effect_of(step) for step in self.plan.steps), key=_STRENGTH.__getitem__)

    def apply(self, *, approve: str | None = None, yes_to: Effect | str | None = None) -> NotebookRun:
        """Carry it out, with your consent to exactly this plan, in your own name.

        approve: the plan's id, or at least its first 32 digits. yes_to: consent to a plan that does no
        more: reads, writes or serves. With neither, calling a skill's plan is consent to making
        artifacts, as typing its command is; what changes an endpoint, and a plan file that makes anything,
        needs one of the two. Raises HeldError, and runs nothing, without consent or when somebody else has
        to give it; other errors as the command line has exit codes.
        """
        from ...agents.approvals import Consent

        agent = self._make_agent()
        consent: Consent | None
        if approve is not None:
            if match_plan(approve, self.id) != self.id:
                raise HeldError(f"{approve} is not this plan's id, {self.id}: nothing was run.")
            consent = Consent(self.id, "notebook approve")
        else:
            if yes_to is not None and yes_to not in set(Effect):
                raise AskError(f"invalid yes_to {yes_to!r}: expected {', '.join(Effect)}.")
            allowed = self._consents_to if yes_to is None else Effect(yes_to)
            if _STRENGTH[self.effect] > _STRENGTH[allowed]:
                raise HeldError(
                    f"plan {self.id[:_DIGITS]} {self.effect.in_words}, and nothing was run. Look at it, then "
                    f".apply(approve={self.id[:CONSENT_DIGITS]!r}); "
                    ".propose() leaves it for somebody to approve."
                )
            how = "notebook apply" if yes_to is None else f"notebook yes_to {allowed}"
            consent = None if self.effect is Effect.READS else Consent(self.id, how)
        return carry_on(agent, lambda: agent.start(self._proposal, consent))

    def propose(self) -> NotebookRun:
        """Record it as a run that waits for approval, by you or somebody else, wherever they are asked.

        What only reads is carried out at once.
        """
        agent = self._make_agent()
        return as_it_stands(agent.start(self._proposal), agent.registry)

    @cached_property
    def _seen(self) -> _Seen:
        return _Seen.of(self._make_agent(), self._proposal)

    def __repr__(self) -> str:
        """One line, for a terminal."""
        steps = ", ".join(f"{step.id} ({step.skill})" for step in self.plan.steps)
        return f"<plan {self.id[:_DIGITS]}: {steps}; it {self.effect.in_words}; nothing was run>"

    def _repr_html_(self) -> str:
        """The card: steps with arguments, effects and cost, gates, what users get, findings, what to type."""
        parts = [f"<p><b>Plan {self.id[:_DIGITS]}</b>: {safe(self.plan.goal)}</p>"]
        for header, rows in self._tables():
            head = "".join(f"<th>{name}</th>" for name in header)
            body = "".join(
                "<tr>" + "".join(f"<td style='text-align:left'>{safe(cell)}</td>" for cell in row) + "</tr>"
                for row in rows
            )
            parts.append(f"<table><tr>{head}</tr>{body}</table>")
        parts += [f"<p>{safe(line)}</p>" for line in self._lines()]
        return "".join(parts)

    def _repr_markdown_(self) -> str:
        """The same card as Markdown."""
        lines = [f"**Plan {self.id[:_DIGITS]}**: {markdown(self.plan.goal)}", ""]
        for header, rows in self._tables():
            lines += [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
            lines += [f"| {' | '.join(markdown(cell) for cell in row)} |" for row in rows]
            lines.append("")
        return "\n".join([*lines, *(f"{markdown(line)}\n" for line in self._lines())])

    def _tables(self) -> Iterator[tuple[list[str], list[list[str]]]]:
        costs = self._seen.costs
        rows = []
        for step in self.plan.steps:
            minutes = costs.get(step.id, {}).get("minutes")
            expected = "" if minutes is None else f"{minutes:.1f} min" if minutes >= 0.05 else "quick"
            rows.append([step.id, step.skill, self._chosen(step), step.effect.in_words, expected])
        yield ["step", "skill", "with", "effect", "expected"], rows
        if self._seen.impacts:
            cells = [[step, it.endpoint, it.before, it.after] for step, it in self._seen.impacts]
            yield ["step", "endpoint", "its users get before", "and after"], cells

    def _chosen(self, step: Any) -> str:
        """The arguments that do not stand at their default."""
        defaults = self._make_agent().registry.get(step.skill).defaults
        chosen = {k: v for k, v in step.arguments.items() if k not in defaults or defaults[k] != v}
        return ", ".join(f"{name}={_shown(value)}" for name, value in chosen.items())

    def _lines(self) -> Iterator[str]:
        for name, gate in self.plan.gates.items():
            yield f"gate {name}: {gate_words(gate.model_dump())}"
        for step, finding in self._seen.findings:
            yield f"{finding['level']}: {step}: {finding['message']} {finding['fix']}".rstrip()
        if self._seen.refused:
            yield f"This plan would be refused: {'; '.join(self._seen.refused)}"
        elif self._seen.somebody_else:
            yield f"Somebody else must approve it: {self._seen.somebody_else} .propose() leaves it for them."
        elif _STRENGTH[self.effect] <= _STRENGTH[self._consents_to]:
            yield "Nothing was run. .apply() carries it out."
        else:
            yield f"Nothing was run. .apply(approve={self.id[:CONSENT_DIGITS]!r}) carries it out."


@dataclass(frozen=True)
class _Seen:
    """What pre-flight and policy say of a plan, as `opswright plan FILE` shows it."""

    findings: list[tuple[str, dict[str, Any]]]
    costs: dict[str, Any]
    impacts: list[tuple[str, Impact]]
    refused: list[str]
    somebody_else: str

    @classmethod
    def of(cls, agent: Agent, proposal: Proposal) -> _Seen:
        from ...agents.preflight import impacts, preflight, refusal

        plan, principal = proposal.plan, agent.principal
        found = preflight(plan, agent.registry, agent.workspace, proposal.folder, person=principal.name)
        costs = found.recorded_costs
        _, why = refusal(found, agent.policy.may_propose(principal, plan, costs))
        ruling = agent.policy.may_approve(principal, plan, principal, costs)
        told = [(step, one.model_dump()) for step, one in found.findings if one.level != "ok"]
        return cls(
            findings=told,
            costs=costs,
            impacts=impacts(plan, agent.registry, agent.workspace),
            refused=why,
            somebody_else="" if ruling.allowed else ruling.message,
        )


def _shown(value: Any) -> str:
    return short(value) if isinstance(value, str | int | float) else str(value)
