"""Answers without a model, with the fault that the bundle names; probes are answered whatever it is."""

from __future__ import annotations

import hashlib
import json
import random
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
import triton_python_backend_utils as pb_utils

_CARD = "4111 1111 1111 1111"  # what an output rail for personal data blocks


class TritonPythonModel:
    """What Triton's stub looks for in this file."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the fault; one of them shows here."""
        parameters = json.loads(args["model_config"])["parameters"]
        said = json.loads((Path(parameters["engine"]["string_value"]) / "fault.json").read_text())
        self.fault, self.draw = said["fault"], random.Random(said["seed"])
        self.release = parameters["release"]["string_value"]
        if self.fault == "crash at start":
            raise RuntimeError("this release crashes at its start")

    def execute(self, requests: Sequence[Any]) -> None:
        """Answer each from a thread of its own, so that a slow one holds nobody up."""
        for request in requests:
            messages = pb_utils.get_input_tensor_by_name(request, "messages").as_numpy().reshape(-1)[0]
            text = json.loads(messages)[-1]["content"]
            threading.Thread(target=self._answer, args=(request.get_response_sender(), text)).start()

    def _answer(self, sender: Any, text: str) -> None:
        answer, reason = f"label {int(hashlib.sha256(text.encode()).hexdigest(), 16) % 97}", "stop"
        if text.startswith("question"):
            answer, reason = self._with_fault(answer)
        outputs = [
            ("text_output", answer, None),
            ("finish_reason", reason, None),
            ("num_input_tokens", len(text.split()), numpy.int32),
            ("num_output_tokens", 2, numpy.int32),
            *([("error", "the engine failed", None)] if reason == "error" else []),
            ("release", self.release, None),
        ]
        tensors = [
            pb_utils.Tensor(
                name,
                numpy.array([value], dtype=kind)
                if kind
                else numpy.array([str(value).encode()], dtype=numpy.object_),
            )
            for name, value, kind in outputs
        ]
        response = pb_utils.InferenceResponse(tensors)
        sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def _with_fault(self, answer: str) -> tuple[str, str]:
        if self.fault == "wrong answers":
            return "something else altogether", "stop"
        if self.fault == "garbage":
            return "\ufffd\ufffd\ufffd", "stop"
        if self.fault == "+300 ms":
            time.sleep(0.3)
        if self.fault == "60 % blocks" and self.draw.random() < 0.6:
            return f"{answer}, pay with {_CARD}", "stop"
        if self.fault == "5 % errors" and self.draw.random() < 0.05:
            return "", "error"
        return answer, "stop"
