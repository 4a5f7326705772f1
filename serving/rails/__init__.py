"""The rails in front of an endpoint: NeMo Guardrails (Colang 1, no model, offline) decides what passes.

A text passes only when its rails ran to their end and none objected; anything else blocks.
"""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections.abc import Collection, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ...core.errors import AskError, NeedsError
from ...core.files import files_below
from ...core.install import install_hint
from .patterns import Direction, Hit, RailSet
from .readings import as_text

if TYPE_CHECKING:
    from nemoguardrails import RailsConfig
    from nemoguardrails.colang.v1_0.runtime.runtime import RuntimeV1_0

T = TypeVar("T")

SHIPPED = Path(__file__).with_name("shipped")
ACTION = "apply_rails"  # the one action a config's flows may execute
_MAX_BYTES = 1_000_000
_FILES = {".yml", ".yaml", ".co"}
_KEYS = {"colang_version", "models", "rails", "custom_data"}
_GATE = "opswright gate"
_PASSED = "opswright_passed"
_VARIABLES: dict[Direction, str] = {"input": "user_message", "output": "bot_message"}
_SHORT = 1_000  # characters that are read on the event loop: at most some milliseconds
_OUT_OF_ORDER = "The check of this message failed, so it was not passed on. Please try again later."

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RailDecision:
    """Whether a text may pass; if not, which rail says so, what it found and what the user is told.

    `error` is set when a rail failed rather than objected: the text is blocked, and `rail` is `error`.
    """

    allowed: bool
    rail: str | None = None
    message: str | None = None
    found: str | None = None
    error: str | None = None


class Rails:
    """The rails of one config folder. Safe to share between threads and tasks: checks keep no state."""

    def __init__(
        self,
        runtime: RuntimeV1_0,
        messages: Mapping[str, Sequence[str]],
        what: RailSet,
        plain: Collection[Direction] = (),
    ) -> None:
        self._runtime = runtime
        self._messages = messages
        self._plain = plain  # directions whose flows only apply the rails: no interpreter is needed for them
        self.what = what

    def check_input(self, text: str) -> RailDecision:
        """Whether a user's text may go to the model."""
        return self._check("input", as_text([("user", text)]))

    def check_conversation(self, turns: Sequence[tuple[str, str]]) -> RailDecision:
        """Whether a conversation of (role, text) may go to the model."""
        return self._check("input", as_text(turns))

    def check_output(self, text: str) -> RailDecision:
        """Whether a model's answer may go to the user."""
        return self._check("output", as_text([("assistant", text)]))

    async def acheck_conversation(self, turns: Sequence[tuple[str, str]]) -> RailDecision:
        """check_conversation on an event loop, which a long one does not hold up."""
        return await self._acheck("input", as_text(turns))

    async def acheck_output(self, text: str) -> RailDecision:
        """check_output on an event loop, which a long text does not hold up."""
        return await self._acheck("output", as_text([("assistant", text)]))

    async def _acheck(self, direction: Direction, text: str) -> RailDecision:
        if len(text) <= _SHORT:
            return self._check(direction, text)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(_threads(), self._check, direction, text)

    def _check(self, direction: Direction, text: str) -> RailDecision:
        try:
            if direction in self._plain:
                return _found(self.what.find(direction, text))
            return _at_once(self._run(direction, text))
        except Exception as error:  # whatever fails in a rail blocks
            return _failed(f"{type(error).__name__}: {error}")

    async def _run(self, direction: Direction, text: str) -> RailDecision:
        """Have the direction's flows decide in NeMo Guardrails' runtime."""
        variable = _VARIABLES[direction]
        history = [
            {"type": "ContextUpdate", "data": {variable: text}},
            {"type": "start_flow", "flow_id": f"{_GATE} {direction}"},
        ]
        return self._decide(direction, await self._runtime.generate_events(history))

    def _decide(self, direction: Direction, events: Sequence[Mapping[str, Any]]) -> RailDecision:
        from nemoguardrails.actions.rail_outcome import RailOutcome

        passed = False
        for event in events:
            kind = event["type"]
            if kind == "InternalSystemActionFinished":
                if event["status"] != "success":
                    return _failed(f"the action {event['action_name']} failed")
                outcome = event["return_value"]
                if isinstance(outcome, RailOutcome) and outcome.is_blocked:
                    return _blocked(outcome)
            elif kind == "BotIntent":  # the flow itself answers, so the model must not
                said = self._messages.get(event["intent"]) or (_OUT_OF_ORDER,)
                return RailDecision(False, "flow", said[0], found=event["intent"])
            elif kind == "ContextUpdate":
                passed = event["data"].get(_PASSED) == direction
        return RailDecision(True) if passed else _failed(f"the {direction} rails did not run to their end")


def load_rails(folder: Path) -> Rails:
    """The rails of a NeMo Guardrails config folder: config.yml and Colang 1 flows, nothing that runs code.

    Flows may execute one action, `apply_rails(direction=..., text=...)`, which applies what the config
    describes under `custom_data.rails`. AskError for any other content, NeedsError without the package.
    """
    raw, colang = read_config(folder)
    what = RailSet.read(raw.get("custom_data", {}).get("rails", {}), f"{folder / 'config.yml'}")
    config = _nemo_config(folder, raw, colang)
    plain = [direction for direction in _VARIABLES if _only_applies(config, direction, raw["rails"])]
    return Rails(_runtime(config, what), config.bot_messages, what, plain)


def _only_applies(config: RailsConfig, direction: Direction, rails: Mapping[str, Any]) -> bool:
    """Whether a direction's flows apply the rails to its text, stop when they block, and do nothing else.

    What they decide is then what the rails find, without a walk through Colang's interpreter (0.3 ms).
    """
    applied = {"direction": direction, "text": f"${_VARIABLES[direction]}"}
    flows = {flow["id"]: flow["elements"] for flow in config.flows}
    for name in rails[direction]["flows"]:
        steps = [one for one in flows[name] if one["_type"] != "meta"]
        kinds = [(one["_type"], one.get("action_name", one.get("expression"))) for one in steps]
        result = steps[0].get("action_result_key") if steps else None
        expected = [("run_action", ACTION), ("if", f"${result}.is_blocked"), *[("run_action", "utter")] * 2]
        if kinds != expected or steps[0]["action_params"] != applied:
            return False
        if steps[1].get("_next_else") != 3 or steps[3]["action_params"] != {"value": "stop"}:
            return False
    return True


def read_config(folder: Path) -> tuple[dict[str, Any], str]:
    """A config folder's YAML and Colang text; AskError when there is anything else in it."""
    import yaml

    if not folder.is_dir():
        raise AskError(f"no guardrails config at {folder}: expected a folder with config.yml and a .co file.")
    files = files_below(folder)
    if sum(path.stat().st_size for path in files.values()) > _MAX_BYTES:
        raise AskError(f"{folder} is too large for a guardrails config: it may hold {_MAX_BYTES} bytes.")
    for name, path in files.items():
        if path.suffix == ".py":
            raise AskError(
                f"{folder} holds {name}: Python in a guardrails config runs when it is loaded, so it is "
                f"refused. Describe rails in config.yml and execute {ACTION} from Colang."
            )
        if path.suffix not in _FILES:
            raise AskError(f"{folder} holds {name}: a guardrails config holds only .yml and .co files.")
    sheets = [path for path in files.values() if path.suffix != ".co"]
    if len(sheets) != 1:
        raise AskError(f"{folder} holds {len(sheets)} YAML files; a guardrails config has one, config.yml.")
    try:
        raw = yaml.safe_load(sheets[0].read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise AskError(f"{sheets[0]} is not YAML: {error}") from error
    _check_sheet(sheets[0], raw)
    return raw, "\n".join(path.read_text() for path in files.values() if path.suffix == ".co")


def _check_sheet(sheet: Path, raw: Any) -> None:
    if not isinstance(raw, dict):
        raise AskError(f"{sheet} must be a YAML mapping that begins with `models: []` and `rails:`.")
    if extra := sorted(set(raw) - _KEYS):
        raise AskError(
            f"{sheet} holds '{extra[0]}'; here a guardrails config has only {', '.join(sorted(_KEYS))}: "
            "no models, servers, imports or tracing."
        )
    if str(raw.get("colang_version", "1.0")) != "1.0":
        raise AskError(f"{sheet} asks for Colang {raw['colang_version']}; rails are written in Colang 1.0.")
    if raw.get("models"):
        raise AskError(f"{sheet} names models; these rails run without any. Write `models: []`.")
    rails = raw.get("rails")
    if not isinstance(rails, dict) or set(rails) != {"input", "output"}:
        raise AskError(f"{sheet}: rails must have input and output, each with flows, and nothing else.")
    for direction, part in rails.items():
        if not isinstance(part, dict) or set(part) != {"flows"} or not part["flows"]:
            raise AskError(f"{sheet}: rails.{direction} must have flows, at least one, and nothing else.")


def _nemo_config(folder: Path, raw: dict[str, Any], colang: str) -> RailsConfig:
    """The NeMo Guardrails config, its flows checked one by one, and a gate flow for each direction."""
    nemo = _nemo()
    from nemoguardrails.colang import parse_colang_file

    try:
        with warnings.catch_warnings():  # NeMo Guardrails' own defaults name a field it deprecates
            warnings.simplefilter("ignore", DeprecationWarning)
            config: RailsConfig = nemo.RailsConfig.from_content(colang_content=colang, config=raw)
    except Exception as error:  # the Colang parser raises bare exceptions
        raise AskError(f"the Colang of {folder} does not parse: {error}") from error
    if config.import_paths:
        raise AskError(f"{folder} imports {config.import_paths[0]}; a guardrails config stands alone.")
    flows = {flow["id"]: flow["elements"] for flow in config.flows}
    for name, elements in flows.items():
        if name.startswith(_GATE):
            raise AskError(f"{folder} defines the flow '{name}': names beginning '{_GATE}' are reserved.")
        for element in elements:
            if element.get("key") == _PASSED:
                raise AskError(f"the flow '{name}' of {folder} sets ${_PASSED}, which only the gate sets.")
            action = element.get("action_name")
            if action is not None and action not in (ACTION, "utter"):
                raise AskError(f"the flow '{name}' of {folder} executes {action}; only {ACTION} is allowed.")
    for direction, part in raw["rails"].items():
        if missing := [name for name in part["flows"] if name not in flows]:
            raise AskError(f"{folder} runs '{missing[0]}' on {direction} but defines no such flow.")
        gate = _gate_source(direction, part["flows"])
        config.flows.extend(parse_colang_file("gates.co", gate, version="1.0")["flows"])
    return config


def _gate_source(direction: str, flows: Sequence[str]) -> str:
    """A flow that runs a direction's flows and says so at its end: the only sign that lets a text pass."""
    steps = "".join(f"  do {flow}\n" for flow in flows)
    return f'define subflow {_GATE} {direction}\n{steps}  ${_PASSED} = "{direction}"\n'


def _runtime(config: RailsConfig, what: RailSet) -> RuntimeV1_0:
    """NeMo Guardrails' Colang 1 runtime with this config's flows and exactly one action.

    LLMRails would also import `actions.py` from the current folder, a library of 98 flows which each check
    walks through, and a task manager for models. The flows below run in both alike (see the tests).
    """
    from nemoguardrails.actions.action_dispatcher import ActionDispatcher
    from nemoguardrails.colang.v1_0.runtime.runtime import RuntimeV1_0

    class OwnActionsOnly(RuntimeV1_0):  # type: ignore[misc]  # the package has no types
        def __init__(self) -> None:
            self.config = config
            self.verbose = False
            self.action_dispatcher = ActionDispatcher(load_all_actions=False)
            self.registered_action_params: dict[str, Any] = {}
            self._init_flow_configs()

    runtime = OwnActionsOnly()
    runtime.register_action(rails_action(what), ACTION)
    for flow in runtime.flow_configs.values():
        flow.is_subflow = True  # runs when the gate calls it, never by itself
    return runtime


def rails_action(what: RailSet) -> Any:
    """The NeMo Guardrails action that applies a rail set; a failure inside it is an outcome that blocks."""
    from nemoguardrails.actions.rail_outcome import RailOutcome

    async def apply_rails(direction: Direction, text: str) -> RailOutcome:
        try:
            if direction not in ("input", "output"):
                raise ValueError(f"direction is '{direction}', not input or output")
            hit = what.find(direction, text)
        except Exception as error:  # the dispatcher would log the user's text with it
            return RailOutcome.failure(reason=f"{type(error).__name__}: {error}")
        if hit is None:
            return RailOutcome.allow()
        return RailOutcome.block(reason=hit.rail, metadata={"found": hit.found, "message": hit.message})

    return apply_rails


def _found(hit: Hit | None) -> RailDecision:
    return RailDecision(True) if hit is None else RailDecision(False, hit.rail, hit.message, hit.found)


def _blocked(outcome: Any) -> RailDecision:
    if outcome.failed:
        return _failed(outcome.reason)
    return RailDecision(False, outcome.reason, outcome.metadata["message"], outcome.metadata["found"])


def _failed(why: str) -> RailDecision:
    log.error("a rail failed, the text was blocked: %s", why)
    return RailDecision(False, "error", _OUT_OF_ORDER, error=why)


@cache
def _threads() -> ThreadPoolExecutor:
    """The threads that read long texts: few, so that they leave the event loop its share."""
    return ThreadPoolExecutor(2, thread_name_prefix="rails")


def _at_once(work: Coroutine[Any, Any, T]) -> T:
    """What a coroutine that never waits returns, without an event loop; RuntimeError when it does wait."""
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    work.close()
    raise RuntimeError("a rail waited for something; rails decide at once.")


def _nemo() -> Any:
    import os

    from ...core.settings import NO_TELEMETRY

    for name, value in NO_TELEMETRY.items():
        os.environ.setdefault(name, value)
    try:
        import nemoguardrails
    except ImportError as error:
        raise NeedsError(
            f"rails need NeMo Guardrails, which is not installed. Install it: {install_hint('guard')}"
        ) from error
    logging.getLogger("nemoguardrails").setLevel(logging.WARNING)  # it logs each step, and users' texts
    return nemoguardrails
