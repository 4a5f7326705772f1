"""The template of a suite's prompt: a small part of Jinja, whose work and text are bounded."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..core.errors import AskError, did_you_mean

if TYPE_CHECKING:
    from jinja2 import Environment, Template, nodes

FIELDS = ("question", "choices", "contexts", "tools", "tags")
"""What a template may name. `choices` and `contexts` are lists of texts, `tools` of JSON, `tags` by name."""

_FILTERS = (
    *("join", "trim", "upper", "lower", "title", "capitalize", "length", "count", "first", "last"),
    *("replace", "default", "d", "json", "tojson"),
)
_METHODS = ("items", "keys", "values", "get", "strip", "upper", "lower", "startswith", "endswith", "cycle")
_LOOPED = ("choices", "contexts", "tools", "tags")
_NESTED_LOOPS = 2
_CONSTANT_CHARS = 100
_TIMES, _CHARS = 10, 100_000  # a prompt has at most the sample's own text so many times, and so many more
_BUDGET = "most_chars"
_REFUSED = (
    *("Macro", "CallBlock", "FilterBlock", "AssignBlock", "Block", "With", "ScopedEvalContextModifier"),
    *("Include", "Import", "FromImport", "Extends"),
)


def compile_template(text: str) -> Template:
    """A template; AskError for one that is not Jinja, names what no sample has, or could grow without end."""
    from jinja2 import TemplateError, meta

    environment = _sandbox()
    try:
        tree = environment.parse(text)
        unknown = sorted(meta.find_undeclared_variables(tree) - set(FIELDS))
        if unknown:
            raise AskError(
                f"the template names '{unknown[0]}', which no sample has (there are: {', '.join(FIELDS)})."
                + did_you_mean(unknown[0], FIELDS)
            )
        _check(tree, frozenset(_LOOPED), 0)
        made: Template = environment.from_string(tree)
        return made
    except TemplateError as error:
        raise AskError(f"the template is not valid Jinja: {error}.") from error
    except (RecursionError, MemoryError, ValueError) as error:
        raise AskError(f"the template is too large or too deeply nested: {type(error).__name__}.") from error


def render_template(template: Template, fields: Mapping[str, Any]) -> str:
    """The text of a template over FIELDS; AskError where it fails, or far outgrows the sample's text."""
    from jinja2 import TemplateError

    budget = _Budget(_TIMES * len(json.dumps(fields, ensure_ascii=False, default=str)) + _CHARS)
    written: list[str] = []
    try:
        for piece in template.generate({**fields, _BUDGET: budget}):
            budget.write(piece)
            written.append(piece)
    except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        raise AskError(f"{error}") from error
    except (RecursionError, MemoryError) as error:
        raise AskError(f"it takes too much ({type(error).__name__})") from error
    return "".join(written)


class _Budget:
    """What one rendering may still do: characters of its text; steps are turns and characters on the way."""

    def __init__(self, chars: int) -> None:
        self.most = self.chars = chars
        self.steps = 10 * chars

    def write(self, piece: str) -> None:
        """Take a piece of the text off; SecurityError when nothing is left."""
        self.chars -= len(piece)
        if self.chars < 0:
            self._refuse()

    def spend(self, steps: int) -> None:
        """Take steps off; SecurityError when nothing is left."""
        self.steps -= steps
        if self.steps < 0:
            self._refuse()

    def _refuse(self) -> None:
        from jinja2.exceptions import SecurityError

        raise SecurityError(
            f"it makes more than {self.most:,} characters: {_TIMES} times the sample's and {_CHARS:,} more"
        )


def _check(node: nodes.Node, looped: frozenset[str], depth: int) -> None:
    """AskError for a construct that can run or grow without end. Loops are made to count their turns."""
    from jinja2 import nodes

    kind = type(node).__name__
    if kind in _REFUSED:
        raise AskError(f"line {node.lineno} of the template: {kind.lower()} is not supported in a template.")
    if isinstance(node, nodes.Filter):
        _check_filter(node)
    elif isinstance(node, nodes.Call):
        _check_call(node)
    elif isinstance(node, nodes.Assign):
        _check_assign(node)
    elif isinstance(node, nodes.For):
        depth += 1
        if _root(node.iter) not in looped or node.recursive or depth > _NESTED_LOOPS:
            raise AskError(
                f"line {node.lineno} of the template: a loop goes over {', '.join(_LOOPED)} or their parts, "
                f"at most {_NESTED_LOOPS} within each other."
            )
        targets = [node.target, *node.target.find_all(nodes.Name)]
        inner = looped | {one.name for one in targets if isinstance(one, nodes.Name)}
        _check(node.iter, looped, depth)
        node.iter = nodes.Filter(node.iter, "turns", [], [], None, None, lineno=node.lineno)
        for child in (*node.body, *([node.test] if node.test else []), *node.else_):
            _check(child, inner, depth)
        return
    for child in node.iter_child_nodes():
        _check(child, looped, depth)


def _root(node: nodes.Node) -> str | None:
    """The name that `a.b[0].items()` begins with; None for anything but such a path."""
    from jinja2 import nodes

    while isinstance(node, nodes.Getattr | nodes.Getitem | nodes.Call):
        node = node.node
    return node.name if isinstance(node, nodes.Name) else None


def _check_filter(node: nodes.Filter) -> None:
    from jinja2 import nodes

    if node.name not in _FILTERS:
        raise AskError(
            f"line {node.lineno} of the template: filter '{node.name}' is not supported (there are: "
            f"{', '.join(_FILTERS)})."
        )
    given = [*node.args, *(pair.value for pair in node.kwargs)]
    if node.name in ("default", "d") and not (node.dyn_args or node.dyn_kwargs):
        return
    fit = all(isinstance(one, nodes.Const) and len(str(one.value)) <= _CONSTANT_CHARS for one in given)
    many = {"replace": 2, "join": 1, "trim": 1}.get(node.name, 0)
    if not fit or len(given) > many or node.dyn_args or node.dyn_kwargs:
        raise AskError(
            f"line {node.lineno} of the template: filter '{node.name}' takes at most {many} constants of "
            f"{_CONSTANT_CHARS} characters."
        )


def _check_call(node: nodes.Call) -> None:
    from jinja2 import nodes

    called = node.node
    name = called.attr if isinstance(called, nodes.Getattr) else None
    if name not in _METHODS or node.dyn_args or node.dyn_kwargs:
        raise AskError(
            f"line {node.lineno} of the template: calling '{name or _root(called) or 'it'}' is not supported "
            f"(there are: {', '.join(_METHODS)})."
        )


def _check_assign(node: nodes.Assign) -> None:
    from jinja2 import nodes

    plain = isinstance(node.node, nodes.Const) or (
        _root(node.node) is not None and not list(node.node.find_all(nodes.Call))
    )
    named = node.target.name if isinstance(node.target, nodes.Name) else None
    if not plain or named is None or named in FIELDS:
        raise AskError(f"line {node.lineno} of the template: `set` names a constant or a part of the sample.")


def _sandbox() -> Environment:
    """Jinja that reaches nothing but the sample; what filters make is taken off the rendering's budget."""
    from jinja2 import StrictUndefined
    from jinja2.exceptions import SecurityError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Sandbox(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset(("*", "**", "%"))

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            raise SecurityError(f"'{operator}' is not allowed in a template")

        def call(__self, __context: Any, __obj: Any, *args: Any, **named: Any) -> Any:
            value = super().call(__context, __obj, *args, **named)
            __context.parent[_BUDGET].spend(len(value) if isinstance(value, str) else 1)
            return value

    environment = Sandbox(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    environment.globals.clear()
    environment.filters["json"] = lambda value: json.dumps(value, ensure_ascii=False)
    for name in ("join", "replace", "json", "tojson", "upper", "lower", "title", "capitalize"):
        environment.filters[name] = _counted(environment.filters[name])
    environment.filters["turns"] = _turns()
    return environment


def _counted(made: Callable[..., Any]) -> Callable[..., Any]:
    """A filter whose text is taken off the budget, before it is made where it can become much longer."""
    from jinja2 import pass_context
    from jinja2.utils import _PassArg

    wants = _PassArg.from_obj(made)

    def count(context: Any, *args: Any, **named: Any) -> Any:
        first = {
            _PassArg.context: (context,),
            _PassArg.eval_context: (context.eval_ctx,),
            _PassArg.environment: (context.environment,),
        }
        constants = [len(one) for one in (*args[1:], *named.values()) if isinstance(one, str)]
        if constants and hasattr(args[0], "__len__"):
            context.parent[_BUDGET].spend((len(args[0]) + 1) * max(constants))
        value = made(*(first[wants] if wants else ()), *args, **named)
        context.parent[_BUDGET].spend(len(str(value)))
        return value

    return pass_context(count)


def _turns() -> Callable[..., Iterator[Any]]:
    """What a loop goes over, each turn taken off the budget; texts have no parts to go over."""
    from jinja2 import pass_context
    from jinja2.exceptions import SecurityError

    def turns(context: Any, values: Any) -> Iterator[Any]:
        if isinstance(values, str):
            raise SecurityError("a loop cannot go over the characters of a text")
        for value in values:
            context.parent[_BUDGET].spend(1)
            yield value

    return pass_context(turns)
