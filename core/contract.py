"""A skill: one typed action on the lifecycle, declared once.

The command line, the slash command, the JSON schema and the reference page are made from this declaration.
"""

from __future__ import annotations

import inspect
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Generic,
    Literal,
    Protocol,
    TypeVar,
    get_type_hints,
)

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import to_jsonable_python

from .artifact_refs import ArtifactRef
from .artifacts import ArtifactStore
from .errors import AskError, BackendError, BudgetError, StoppedError
from .explain import explain
from .inputs import InputPath as InputPath  # where a skill's author looks for it
from .inputs import check_request_type
from .references import references_in
from .secrets import Redactor, SecretName

if TYPE_CHECKING:  # pydantic-settings takes 0.1 s to import, and `--help` needs none of it
    from .machine import Machine
    from .settings import Settings
    from .workspace import Workspace


class Effect(StrEnum):
    """What a skill does to the world."""

    READS = "reads"
    WRITES = "writes"
    SERVES = "serves"

    @property
    def in_words(self) -> str:
        """The effect as a person reads it."""
        return {
            Effect.READS: "changes nothing",
            Effect.WRITES: "makes artifacts in the workspace",
            Effect.SERVES: "changes what users of an endpoint get",
        }[self]


class Request(BaseModel):
    """What a skill is asked: frozen, unknown fields forbidden. It holds no secret, only a SecretName."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, defer_build=True, hide_input_in_errors=True
    )


class Result(BaseModel):
    """What a skill gives: frozen, plain JSON, artifacts by typed reference."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Finding(BaseModel):
    """One thing pre-flight found: `stop` refuses the plan, `warn` and `note` are shown, `ok` is kept.

    unless_changed: the argument that names what it is about, such as `endpoint`; where an earlier step of the
    plan changes what users get of the same one, it is left for when the step runs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    level: Literal["ok", "note", "warn", "stop"]
    message: str
    fix: str = ""
    unless_changed: str = Field("", exclude=True)


Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Cost(BaseModel):
    """What a step is expected to take, finite and not negative; None is unknown, which a budget refuses."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    minutes: Amount | None = None
    gpu_hours: Amount | None = None
    disk_bytes: Annotated[int, Field(ge=0)] | None = None
    usd: Amount | None = None
    tokens: Amount | None = 0

    @property
    def amounts(self) -> dict[str, float | None]:
        """What a budget can limit, by name."""
        return {"minutes": self.minutes, "gpu_hours": self.gpu_hours, "usd": self.usd, "tokens": self.tokens}


class JobHandle(BaseModel):
    """A job that was submitted: on which compute backend, the id it gave, and a token of our own.

    Ids are given out again by some schedulers; the token, put into the job by whoever submitted it, is not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    backend: str
    id: str
    token: str
    facts: dict[str, str] = {}  # what the backend needs to find it again: a folder, a cluster


class Impact(BaseModel):
    """What users of an endpoint get before a step and after it, in words a person can consent to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    endpoint: str
    before: str
    after: str


class Events(Protocol):
    """Where what a step tells while it runs goes: a terminal, a browser, a list in a test."""

    def progress(self, step: str, done: float, total: float | None, unit: str) -> None:
        """`done` of `total` units (total None: not known)."""

    def metric(self, step: str, name: str, value: float, at: int | None) -> None:
        """One figure, `at` a training step or None."""

    def log(self, step: str, line: str) -> None:
        """One line for a person."""

    def begun(self, step: str, skill: str) -> None:
        """The step starts."""

    def ended(self, step: str, how: str, seconds: float) -> None:
        """The step is over: done, reused, failed, rolled_back."""


class NullEvents:
    """Events that nobody listens to."""

    def progress(self, step: str, done: float, total: float | None, unit: str) -> None:
        """Nothing."""

    def metric(self, step: str, name: str, value: float, at: int | None) -> None:
        """Nothing."""

    def log(self, step: str, line: str) -> None:
        """Nothing."""

    def begun(self, step: str, skill: str) -> None:
        """Nothing."""

    def ended(self, step: str, how: str, seconds: float) -> None:
        """Nothing."""


@dataclass
class StepContext:
    """What a skill may use besides its request; the step runner makes one for each call."""

    workspace: Workspace
    run_id: str
    step_id: str
    idempotency_key: str
    workdir: Path
    events: Events = field(default_factory=NullEvents)
    deadline: float | None = None  # time.monotonic() value, None for no limit
    cancelled: threading.Event = field(default_factory=threading.Event)
    metrics: dict[str, float] = field(default_factory=dict)
    spent: dict[str, float] = field(default_factory=dict)
    endpoints: dict[str, dict[str, float]] = field(default_factory=dict)  # of that, by address: tokens, usd
    job: JobHandle | None = None  # what an earlier attempt of this step submitted and nobody has collected
    served: tuple[str, ...] | None = None  # what the step may serve, as it was judged; None: nobody asked
    on_submit: Callable[[JobHandle], None] = field(default=lambda job: None)
    plan_id: str = ""
    redactor: Redactor = field(default_factory=Redactor)

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.workspace.settings

    @property
    def artifacts(self) -> ArtifactStore:
        """Where artifacts are opened and saved."""
        return self.workspace.artifacts

    def progress(self, done: float, total: float | None, unit: str) -> None:
        """Tell how far the step is, and stop here when it was cancelled or its time is over (HeldError)."""
        self.events.progress(self.step_id, done, total, self.redactor.text(unit))
        self.check()

    def metric(self, name: str, value: float, at: int | None = None) -> None:
        """Record a figure; the last value of each name goes to the ledger and MLflow."""
        name = self.redactor.text(name)
        self.metrics[name] = float(value)
        self.events.metric(self.step_id, name, float(value), at)

    def log(self, line: str) -> None:
        """Show a person one line."""
        self.events.log(self.step_id, self.redactor.text(line))

    def secret(self, name: SecretName) -> str:
        """The secret of that name; from now on it is hidden in the step's log, result and errors."""
        return self.redactor.resolve(name)

    def spend(
        self, *, gpu_hours: float | None = None, usd: float | None = None, tokens: float | None = None
    ) -> None:
        """Tell what the step really took, besides time; it is settled against the plan's budget.

        An amount that is never told counts as it was reserved. ValueError for a negative or non-finite one.
        """
        told = {"gpu_hours": gpu_hours, "usd": usd, "tokens": tokens}
        given = {name: float(amount) for name, amount in told.items() if amount is not None}
        for name, amount in given.items():
            if not math.isfinite(amount) or amount < 0:
                raise ValueError(f"invalid {name} spent, {amount}: expected a finite number, 0 or more")
        for name, amount in given.items():
            self.spent[name] = self.spent.get(name, 0.0) + amount

    def submitted(self, job: JobHandle) -> None:
        """Have a job recorded at once, before anything waits for it: whoever resumes attaches to it.

        What is recorded holds no secret: a handle that needs one to find its job cannot be resumed.
        """
        self.on_submit(JobHandle.model_validate(self.redactor.plain(job.model_dump(mode="json"))))
        self.job = job

    def check(self) -> None:
        """Raise StoppedError when a person cancelled the step, BudgetError when its deadline has passed."""
        if self.cancelled.is_set():
            raise StoppedError(
                f"step {self.step_id} was stopped by a person; `opswright resume {self.run_id}` continues it."
            )
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise BudgetError(f"the plan's time budget ended in step {self.step_id}; what was done is kept.")


RequestT = TypeVar("RequestT", bound=Request)
ResultT = TypeVar("ResultT", bound=Result)


@dataclass(frozen=True)
class Skill(Generic[RequestT, ResultT]):
    """A declared skill; calling it runs the bare function, as tests do. The agent uses the step runner."""

    name: str
    summary: str
    effect: Effect
    function: Callable[[RequestT, StepContext], ResultT]
    request: type[RequestT]
    result: type[ResultT]
    phrases: tuple[str, ...] = ()
    preflight: Callable[[RequestT, Machine, Workspace], Iterable[Finding]] | None = None
    estimate: Callable[[RequestT, Machine, Workspace], Cost] | None = None
    reusable: bool | Callable[[RequestT], bool] = True
    impact: Callable[[Mapping[str, Any], Workspace], Impact] | None = None
    serves: Callable[[RequestT, Workspace], Sequence[ArtifactRef]] | None = None
    restores: bool = False
    lacks: Callable[[RequestT], Mapping[str, str]] = lambda request: {}
    pins: Callable[[Mapping[str, Any], Workspace], Mapping[str, Any]] | None = None

    def __call__(self, request: RequestT, ctx: StepContext) -> ResultT:
        """Run the skill's own function, nothing around it."""
        return self.function(request, ctx)

    @property
    def defaults(self) -> dict[str, Any]:
        """Each argument that a plan may leave out, with what stands there then, as plain JSON."""
        fields = self.request.model_fields.items()
        optional = {name: field for name, field in fields if not field.is_required()}
        return {
            name: to_jsonable_python(field.get_default(call_default_factory=True))
            for name, field in optional.items()
        }

    def may_reuse(self, request: RequestT) -> bool:
        """Whether a receipt of the same call may stand for this one."""
        return self.reusable(request) if callable(self.reusable) else self.reusable

    def served(self, ask: RequestT, workspace: Workspace) -> list[ArtifactRef]:
        """The artifacts that users get by a call: those the skill says, else all that the request names."""
        return references_in(ask) if self.serves is None else list(self.serves(ask, workspace))

    def parse(self, arguments: dict[str, Any]) -> RequestT:
        """The request these arguments make; AskError names each wrong one and the nearest known name."""
        try:
            return self.request.model_validate(arguments)
        except ValidationError as error:
            raise AskError(f"{self.name}: {'; '.join(explain(error, self.request))}") from error

    def schema(self) -> dict[str, Any]:
        """The JSON schema of its request."""
        return self.request.model_json_schema()

    @property
    def example(self) -> str:
        """The first paragraph of the documentation's `Example:` line, or the bare slash command."""
        for line in (inspect.getdoc(self.function) or "").splitlines():
            if line.strip().startswith("Example:"):
                return line.partition("Example:")[2].strip().strip("`")
        return f"/{self.name}"


def skill(
    *,
    effect: Effect,
    summary: str,
    phrases: Sequence[str] = (),
    preflight: Callable[[Any, Machine, Workspace], Iterable[Finding]] | None = None,
    estimate: Callable[[Any, Machine, Workspace], Cost] | None = None,
    reusable: bool | Callable[[Any], bool] | None = None,
    impact: Callable[[Mapping[str, Any], Workspace], Impact] | None = None,
    serves: Callable[[Any, Workspace], Sequence[ArtifactRef]] | None = None,
    restores: bool = False,
    lacks: Callable[[Any], Mapping[str, str]] = lambda request: {},
    pins: Callable[[Mapping[str, Any], Workspace], Mapping[str, Any]] | None = None,
) -> Callable[[Callable[[RequestT, StepContext], ResultT]], Skill[RequestT, ResultT]]:
    """Declare a function `(ask: XRequest, ctx: StepContext) -> XResult` as a skill.

    Its name is the function's with hyphens. `reusable` says whether a receipt of the same call may stand for
    a new one, always or for which requests; by default only for skills that make artifacts. What `preflight`
    found before it met an artifact that is still to be made is kept. `impact` says
    what a step would change for an endpoint's users; it gets the arguments as the plan holds them, where
    `${step.field}` may stand for a value, and neither raises nor changes anything. `serves` says which
    artifacts users get by a call, which gates must have judged GO; by default all that the request names,
    however deep. One that `restores` brings back what everybody got from its request's `endpoint` before:
    the record of that stands for a gate. `lacks` names the fields that a request's result will not have, each
    with why: a plan that hands one on is refused. `pins` gives arguments that tie a call to what it is
    planned for, as that is now: a plan that leaves them out gets them. TypeError when the annotations do not
    fit, or a skill restores without an endpoint.
    """

    def declare(function: Callable[[RequestT, StepContext], ResultT]) -> Skill[RequestT, ResultT]:
        hints = get_type_hints(function)
        result = hints.pop("return", None)
        request = next(iter(hints.values()), None)
        if not (isinstance(request, type) and issubclass(request, Request)):
            raise TypeError(f"{function.__name__}: the first parameter must be annotated with a Request")
        if not (isinstance(result, type) and issubclass(result, Result)):
            raise TypeError(f"{function.__name__}: the return annotation must be a Result")
        check_request_type(request)
        if restores and "endpoint" not in request.model_fields:
            raise TypeError(f"{function.__name__} restores, so {request.__name__} needs a field `endpoint`")
        name = function.__name__.replace("_", "-")
        return Skill(
            name=name,
            summary=summary,
            effect=effect,
            function=function,
            request=request,  # type: ignore[arg-type]
            result=result,  # type: ignore[arg-type]
            phrases=tuple(phrases),
            preflight=preflight,
            estimate=None if estimate is None else _checked(name, estimate),
            reusable=effect is Effect.WRITES if reusable is None else reusable,
            impact=impact,
            serves=serves,
            restores=restores,
            lacks=lacks,
            pins=pins,
        )

    return declare


Estimate = Callable[[Any, "Machine", "Workspace"], Cost]


def _checked(name: str, estimate: Estimate) -> Estimate:
    """The estimate, held to what a cost can be: one below zero would make room in a budget."""

    def checked(ask: Any, machine: Machine, workspace: Workspace) -> Cost:
        try:
            return Cost.model_validate(estimate(ask, machine, workspace).model_dump())
        except ValidationError as error:
            found = "; ".join(explain(error, Cost))
            raise BackendError(f"{name} estimated what no step can take: {found}.") from error

    return checked
