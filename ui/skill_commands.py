"""A command for each skill, made from its declaration: the same names, defaults and help everywhere."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Callable, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from ..core.contract import Effect, Skill
from ..core.errors import AskError, did_you_mean

_WAIVER_FIELD = FieldInfo(default=None, description="Why no gate need have judged what is served.")

SkillCall = Callable[[Any, Skill[Any, Any], dict[str, str], bool, bool], None]


def make_command(skill: Skill[Any, Any], call: SkillCall) -> Callable[..., None]:
    """A Typer command function with an option for each field of the skill's request.

    Every value arrives as text and is read as a slash command reads it, and may be given as one writes it
    there: `suite=NAME` is `--suite NAME`. `call` gets session, skill, values, json and yes.
    """
    from ..agents.planner.slash import WAIVER

    def command(context: typer.Context, **values: Any) -> None:
        as_json, yes = values.pop("as_json"), values.pop("yes")
        given = {name: value for name, value in values.items() if value is not None}
        given |= named_words(skill, context.args, given)
        call(context.obj, skill, given, as_json, yes)

    parameters = [
        inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    ]
    parameters += [_option(name, field) for name, field in skill.request.model_fields.items()]
    if skill.effect is Effect.SERVES:
        parameters.append(_option(WAIVER, _WAIVER_FIELD))
    parameters.append(_flag("as_json", "--json", "Print one JSON document."))
    parameters.append(_flag("yes", "--yes", "Consent to this very command without being asked."))
    command.__name__ = skill.name
    command.__doc__ = help_text(skill)
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    return command


def named_words(
    skill: Skill[Any, Any], words: Sequence[str], given: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The arguments that stand on a command line as `name=value`; AskError for any other word.

    The first word alone may leave its name out, as in `opswright rollback shop`: it is the first argument.
    """
    from ..agents.planner.slash import WAIVER

    known = [*skill.request.model_fields, *([WAIVER] if skill.effect is Effect.SERVES else [])]
    named: dict[str, str] = {}
    for place, word in enumerate(words):
        name, equals, value = word.partition("=")
        name = name.replace("-", "_")
        if not equals and place == 0 and known and not word.startswith("-"):
            name, value = known[0], word
        elif not equals or name not in known:
            raise AskError(
                f"unexpected argument '{word}': `opswright {skill.name}` takes name=value or --name value "
                f"({', '.join(known)}).{did_you_mean(name, known)}"
            )
        if name in named or name in (given or {}):
            raise AskError(f"'{name}' is given twice.")
        named[name] = value
    return named


def listed_command(skill: Skill[Any, Any]) -> Callable[..., None]:
    """A stand-in with the skill's name and sentence, for a list of commands."""

    def command(context: typer.Context) -> None:
        raise AskError(f"command '{skill.name}' has no options here: it was only listed")

    command.__doc__ = skill.summary
    return command


def help_text(skill: Skill[Any, Any]) -> str:
    """What `--help` says: the claim, the effect in words, an example."""
    return f"{skill.summary}\n\nEffect: {skill.effect.in_words}.\n\nExample: {as_command_line(skill.example)}"


def as_command_line(slash: str) -> str:
    """A slash command's example as the command line takes it."""
    if not slash.startswith("/"):
        return slash
    words = [word.partition("=") for word in shlex.split(slash[1:])]
    options = [f"--{name.replace('_', '-')} {shlex.quote(value)}" for name, equals, value in words if equals]
    return " ".join(["opswright", words[0][0], *options])


def type_words(field: FieldInfo) -> str:
    """A field's type as help shows it."""
    return "|".join(dict.fromkeys(_words(field.annotation)))


def _words(annotation: Any) -> list[str]:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _words(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return [
            word for option in get_args(annotation) if option is not type(None) for word in _words(option)
        ]
    if origin is Literal:
        return [str(value) for value in get_args(annotation)]
    if origin in (tuple, list):
        return ["a,b,..."]
    if origin is dict or (isinstance(annotation, type) and hasattr(annotation, "model_fields")):
        return ["{name: value}"]
    if hasattr(annotation, "kind") and isinstance(annotation.kind, str):
        return [f"{annotation.kind}:<digest>"]
    return {"Path": ["path"], "str": ["text"], "int": ["n"], "float": ["x"], "bool": ["true", "false"]}.get(
        getattr(annotation, "__name__", ""), ["value"]
    )


def default_words(field: FieldInfo) -> str:
    """A field's default as help shows it."""
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    if default is None or default == () or default == {}:
        return "default: none"
    return f"default: {default}"


def _option(name: str, field: FieldInfo) -> inspect.Parameter:
    message = f"{field.description or ''} [{default_words(field)}]".strip()
    info = typer.Option(
        f"--{name.replace('_', '-')}", metavar=type_words(field).upper(), help=message, show_default=False
    )
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[str | None, info],
    )


def _flag(name: str, flag: str, message: str) -> inspect.Parameter:
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=False,
        annotation=Annotated[bool, typer.Option(flag, help=message)],
    )
