"""Why consent to a run's plan counts no more: what changed since it was given, or since the plan was made.

Only people are told by this; each step that acts reads its inputs itself, and remembers nothing of them.
"""

from __future__ import annotations

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from ..core.errors import AskError, OpswrightError
from ..core.files import files_below
from ..core.input_digest import files_named, sha256_input
from ..core.plan import Plan
from ..core.suite_source import YAML_ENDINGS
from ..core.workspace import Workspace
from ..record.run_state import RunState
from .record import load_plan
from .run_settings import changed_settings, places

_KEPT = 512  # digests of inputs that are remembered, by what the file system says of their files
_SETTLED_NS = 2_000_000_000  # a file that was written this lately may be again without looking different

Stamp = tuple[tuple[str, int, int, int, int], ...]


def void_reasons(workspace: Workspace, state: RunState) -> list[str]:
    """Sentences for what is not as it was when consent to a run's plan was given; none once it is over.

    Looked at are the inputs of steps that are not done, the settings that decide what a run does, and the
    recorded plan with its gates. Without consent yet, they are held against what the plan was made from.
    """
    if state.is_over and not state.may_be_judged_again:
        return []
    try:
        plan = load_plan(workspace, state.plan or "")
    except OpswrightError as error:
        return [*_changed_gates(workspace, state), f"its plan is not the recorded one: {error}"]
    return [*dict.fromkeys(_changed_inputs(plan, state)), *changed_settings(workspace, state)]


def _changed_inputs(plan: Plan, state: RunState) -> Iterator[str]:
    folder, done = Path(str(state.proposal.get("folder", "."))), state.results
    for step in plan.steps:
        if step.id in done:
            continue
        for name in step.inputs:
            digest, changed_at = _digests.of(folder / name)
            if digest is None:
                yield f"{name} is gone {_since(state, None)}"
            elif digest != plan.inputs[name]:
                yield f"{name} changed {_since(state, changed_at)}"


def _changed_gates(workspace: Workspace, state: RunState) -> Iterator[str]:
    """What the gates of an altered plan were when it was proposed, which the ledger holds, and are now."""
    before = state.proposal.get("gates")
    try:
        now = json.loads((workspace.plans / f"{state.plan}.json").read_bytes())["plan"]["gates"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    old, new = dict(places(before)), dict(places(now))
    for name in {**old, **new}:
        if old.get(name) != new.get(name):
            yield f"gate {name} was {old.get(name)!r} and is {new.get(name)!r} now"


def _since(state: RunState, changed_at: datetime | None) -> str:
    """Since when, by the newest consent that stands; what changed before it was given says so."""
    if not state.approvals:
        return "since the plan was made"
    newest = max(state.approvals, key=lambda one: one.time)
    if changed_at is not None and changed_at < newest.time:
        return f"since the plan was made, and before {newest.principal.name} approved"
    return f"since {newest.principal.name} approved"


class _Digests:
    """Digests of inputs, read again only when the file system says that a file is another one."""

    def __init__(self) -> None:
        self._found: OrderedDict[tuple[Path, Stamp], str] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, path: Path) -> tuple[str | None, datetime | None]:
        """The digest of an input, None when it is not there, and when one of its files changed last."""
        stamp = _stamp(path)
        newest = max((max(changed, written) for *_, changed, written in stamp), default=0)
        at = datetime.fromtimestamp(newest / 1e9, UTC) if newest else None
        with self._lock:
            if (known := self._found.get((path, stamp))) is not None:
                self._found.move_to_end((path, stamp))
                return known, at
        try:
            digest = sha256_input(path)
        except (AskError, OSError):
            return None, None
        if stamp and time.time_ns() - newest > _SETTLED_NS:
            with self._lock:
                self._found[path, stamp] = digest
                while len(self._found) > _KEPT:
                    self._found.popitem(last=False)
        return digest, at


def _stamp(path: Path) -> Stamp:
    """Of each file behind an input: its name, inode and size, and when it and its entry changed, in ns."""
    try:
        return tuple(_stat(one) for one in _files_of(path))
    except (OpswrightError, OSError):
        return ()


def _files_of(path: Path) -> Iterator[Path]:
    named = [path.parent / name for name in files_named(path)] if path.suffix in YAML_ENDINGS else []
    for one in (path, *sorted(set(named))):
        yield from files_below(one).values() if one.is_dir() else (one,)


def _stat(path: Path) -> tuple[str, int, int, int, int]:
    found = path.stat()
    return str(path), found.st_ino, found.st_size, found.st_ctime_ns, found.st_mtime_ns


_digests = _Digests()


def void_in_words(reasons: Sequence[str]) -> str:
    """The state of consent that counts no more, in one line; empty while nothing changed."""
    return f"void: {'; '.join(reasons)}" if reasons else ""
