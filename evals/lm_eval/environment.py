"""lm-evaluation-harness in an environment of its own: found, run on files, and its words told.

It never enters ours. Its process gets no secret of this one's environment, and no network.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ...core.errors import AskError, BackendError
from ...core.install import PACKAGE, environment_python
from . import worker

Run = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""What builds and scores: see `worker`."""

REQUIREMENTS = "requirements-lm-eval.txt"
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT")
_OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
_TIMEOUT_S = 3600
_SHOWN_LINES = 6


def interpreter() -> Path:
    """The Python that has lm-evaluation-harness; NeedsError, with what makes it, where there is none."""
    from ...core.settings import load_settings

    home, needed = load_settings().evaluation.lm_eval, PACKAGE / REQUIREMENTS
    return environment_python("lm-evaluation-harness", home, needed, "OPSWRIGHT_EVALUATION__LM_EVAL")


def run_worker(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the worker finds.

    Raises AskError for a task that is refused, BackendError for one that does not load or score.
    """
    python = interpreter()
    with tempfile.TemporaryDirectory(prefix="opswright-lm-eval-") as folder:
        given, found = Path(folder, "asked.json"), Path(folder, "found.json")
        given.write_text(json.dumps(asked), encoding="ascii")
        command = [str(python), "-I", "-X", "utf8", str(Path(worker.__file__)), str(given), str(found)]
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                env=_environment(folder),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_TIMEOUT_S,
            )
        except subprocess.TimeoutExpired as error:
            raise BackendError(f"task '{asked['task']}' took more than {_TIMEOUT_S} s.") from error
        if done.returncode != 0 or not found.is_file():
            said = "\n".join(done.stderr.strip().splitlines()[-_SHOWN_LINES:])
            raise BackendError(
                f"lm-evaluation-harness failed on task '{asked['task']}' (exit {done.returncode}):\n{said}"
            )
        try:
            result: Mapping[str, Any] = json.loads(found.read_text(encoding="ascii"))
        except ValueError as error:
            raise BackendError(f"what was found of task '{asked['task']}' is no JSON: {error}") from error
    if "refused" in result:
        raise AskError(f"{result['refused']}.")
    return result


def _environment(folder: str) -> dict[str, str]:
    from ...core.settings import NO_TELEMETRY

    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {**kept, **NO_TELEMETRY, **_OFFLINE, "HF_HOME": folder, "OMP_NUM_THREADS": "1"}
