"""Skills as functions: signature and documentation come from their requests, calls become plans."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ...core.contract import Effect, Result, Skill
from ...core.errors import AskError, did_you_mean
from .proposed import ProposedPlan
from .running import carry_on, safe

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from ...agents.agent import Agent
    from ...agents.planner import Proposal
    from ...core.registry import Registry


class SkillFunction:
    """One skill. What only reads gives its result; anything else gives the plan that would do it."""

    def __init__(self, skill: Skill[Any, Any], make_agent: Callable[[], Agent]) -> None:
        self._skill = skill
        self._make_agent = make_agent
        self.__name__ = self.__qualname__ = python_name(skill.name)
        self.__signature__ = signature_of(skill)
        self.__doc__ = documentation_of(skill)

    def __call__(self, *values: Any, **arguments: Any) -> Result | ProposedPlan:
        """The skill's result when it only reads, else a plan; AskError names what is wrong."""
        if values:
            names = ", ".join(f"{name}=..." for name in self._skill.request.model_fields)
            raise AskError(f"{self.__name__} takes its arguments by name: {self.__name__}({names}).")
        agent = self._make_agent()
        proposal = typed_proposal(self._skill, arguments, agent)
        if agent.policy.effect_of(proposal.plan.steps[0]) is Effect.READS:
            return carry_on(agent, lambda: agent.start(proposal)).result
        return ProposedPlan(proposal, self._make_agent, Effect.WRITES)

    def __repr__(self) -> str:
        """The call as it is written, and what the skill does."""
        return f"<skill {self.__name__}{self.__signature__}: {self._skill.summary}>"


class SkillFunctions:
    """Every skill of the workspace as a function; a hyphen of its name is an underscore."""

    def __init__(self, registry: Registry, make_agent: Callable[[], Agent]) -> None:
        self._skills = {python_name(skill.name): skill for skill in registry}
        self._make_agent = make_agent

    def __getattr__(self, name: str) -> SkillFunction:
        """The skill of that name; AttributeError with the nearest one otherwise."""
        if name.startswith("_") or name not in self._skills:
            raise AttributeError(f"unknown skill '{name}'.{did_you_mean(name, self._skills)}")
        return SkillFunction(self._skills[name], self._make_agent)

    def __dir__(self) -> list[str]:
        """The skills, for completion."""
        return sorted(self._skills)

    def __iter__(self) -> Iterator[SkillFunction]:
        """Every skill's function."""
        return (getattr(self, name) for name in self._skills)

    def _repr_html_(self) -> str:
        """A table of what there is."""
        rows = "".join(
            f"<tr><td>{safe(name)}</td><td>{one.effect.in_words}</td>"
            f"<td style='text-align:left'>{safe(one.summary)}</td></tr>"
            for name, one in self._skills.items()
        )
        return f"<table><tr><th>skill</th><th>effect</th><th>what it does</th></tr>{rows}</table>"


def python_name(name: str) -> str:
    """A skill's name as Python takes it."""
    return name.replace("-", "_")


def typed_proposal(skill: Skill[Any, Any], arguments: dict[str, Any], agent: Agent) -> Proposal:
    """The plan of one call with typed values; references may be shortened as everywhere."""
    from pydantic_core import PydanticSerializationError, to_jsonable_python

    from ...agents.planner import Proposal
    from ...agents.planner.slash import WAIVER
    from ...core.compile import compile_plan
    from ...core.pins import with_pins
    from ...core.plan_file import single_step
    from ..mcp.desk import slash_words

    known = [*skill.request.model_fields, *([WAIVER] if skill.effect is Effect.SERVES else [])]
    for name in arguments:
        if name not in known:
            raise AskError(
                f"{python_name(skill.name)}: unknown argument '{name}' (it takes: {', '.join(known)})."
                + did_you_mean(name, known)
            )
    try:
        given = {name: to_jsonable_python(value) for name, value in arguments.items()}
    except (PydanticSerializationError, UnicodeDecodeError) as error:  # bytes that are no text
        raise AskError(
            f"{python_name(skill.name)}: a value is not plain: {error}. A plan holds texts, numbers, lists, "
            "references and paths; write rows to a file and give its path."
        ) from error
    waiver = given.pop(WAIVER, None)
    text = single_step(skill.name, given, slash_words(skill.name, given), waiver)
    text = with_pins(text, agent.registry, agent.workspace)
    plan = compile_plan(text, agent.registry, agent.workspace.artifacts.resolve)
    return Proposal(plan, f"notebook {text.goal}")


def signature_of(skill: Skill[Any, Any]) -> inspect.Signature:
    """The call's signature: each field by name, with its type and default, what is needed first."""
    from ...agents.planner.slash import WAIVER

    fields = sorted(skill.request.model_fields.items(), key=lambda item: not item[1].is_required())
    parameters = [_parameter(name, field) for name, field in fields]
    if skill.effect is Effect.SERVES:
        waiver = inspect.Parameter(
            WAIVER, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=str | None
        )
        parameters.append(waiver)
    returned = skill.result if skill.effect is Effect.READS else ProposedPlan
    return inspect.Signature(parameters, return_annotation=returned)


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    default = inspect.Parameter.empty
    if not field.is_required():
        default = field.get_default(call_default_factory=True)
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=field.annotation
    )


def documentation_of(skill: Skill[Any, Any]) -> str:
    """The claim, the effect in words, each argument with type, default and meaning, what it gives."""
    from ..skill_commands import default_words, type_words

    lines = [skill.summary, "", f"Effect: {skill.effect.in_words}.", "", "Arguments:"]
    for name, field in skill.request.model_fields.items():
        about = " ".join((field.description or "").split())
        lines.append(f"  {name} ({type_words(field)}; {default_words(field)}): {about}".rstrip(": "))
    lines += ["", f"Gives: {', '.join(skill.result.model_fields)}."]
    return "\n".join(lines)
