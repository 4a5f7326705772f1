"""Triton's Python backend entry: tensors in, the batcher, tensors out.

Decoupled: a request gets one response, or with `streaming` one for each piece of text. Tensor names are those
of NVIDIA's llmapi model; `messages`, `tools`,
`json_schema`, `top_logprobs`, `logprobs`, `release` and `error` are added. Runs in a venv without torch.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy
import triton_python_backend_utils as pb_utils
from batcher import Batcher  # the files beside this one, as Triton's stub finds them
from generation import (
    GenerationJob,
    OrtModel,
    Sampling,
    TextPiece,
    WrongSchema,
)
from prompts import PromptEncoder, WrongPrompt


class TritonPythonModel:
    """What Triton's stub looks for in this file."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the engine that the model's parameters name."""
        parameters = json.loads(args["model_config"])["parameters"]
        given = {name: entry["string_value"] for name, entry in parameters.items()}
        self.release = _strings(given["release"])
        folder = Path(args["model_repository"], args["model_version"], given["engine"])  # or an absolute path
        model = OrtModel(folder, int(given["threads"]))
        encoder = PromptEncoder(folder, model.tokenizer, model.context)
        self.batcher = Batcher(model, encoder.encode)

    def execute(self, requests: Sequence[Any]) -> None:
        """Hand the requests to the batcher, which answers them from its own thread."""
        for request in requests:
            self._submit(request)

    def finalize(self) -> None:
        """Answer what was taken, then stop."""
        self.batcher.close()

    def _submit(self, request: Any) -> None:
        sender = request.get_response_sender()
        streaming = bool(_value(request, "streaming", False))
        told = int(_value(request, "top_logprobs", -1))
        logprobs: list[dict[str, Any]] = []
        job = GenerationJob(
            text=_text(request, "text_input"),
            messages=_text(request, "messages"),
            tools=_text(request, "tools"),
            max_tokens=int(_value(request, "sampling_param_max_tokens", 64)),
            sampling=_sampling(request),
            stop=json.loads(_text(request, "sampling_param_stop") or "[]"),
            top_logprobs=told if told >= 0 else None,
            on_text=partial(self._send_piece, sender) if streaming else None,
            logprobs=logprobs,
            on_done=partial(self._send_end, sender, streaming, logprobs if told >= 0 else None),
            on_error=partial(_send_error, sender),
            is_cancelled=sender.is_cancelled,
        )
        self.batcher.submit(job)

    def _send_piece(self, sender: Any, piece: TextPiece) -> None:
        outputs = [pb_utils.Tensor("text_output", _strings(piece))]
        if piece.logprobs:
            outputs.append(pb_utils.Tensor("logprobs", _strings(json.dumps(piece.logprobs))))
        sender.send(pb_utils.InferenceResponse(outputs))

    def _send_end(
        self,
        sender: Any,
        streaming: bool,
        logprobs: list[dict[str, Any]] | None,
        text: str,
        reason: str,
        read: int,
        made: int,
    ) -> None:
        outputs = [
            pb_utils.Tensor("text_output", _strings("" if streaming else text)),
            pb_utils.Tensor("finish_reason", _strings(reason)),
            pb_utils.Tensor("num_input_tokens", numpy.array([read], dtype=numpy.int32)),
            pb_utils.Tensor("num_output_tokens", numpy.array([made], dtype=numpy.int32)),
            pb_utils.Tensor("release", self.release),
        ]
        if logprobs is not None and not streaming:  # pieces have told theirs
            outputs.append(pb_utils.Tensor("logprobs", _strings(json.dumps(logprobs))))
        sender.send(pb_utils.InferenceResponse(outputs), flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)


def _sampling(request: Any) -> Sampling:
    return Sampling(
        temperature=float(_value(request, "sampling_param_temperature", 0.0)),
        top_k=int(_value(request, "sampling_param_top_k", 0)),
        top_p=float(_value(request, "sampling_param_top_p", 1.0)),
        seed=int(_value(request, "sampling_param_seed", 0)),
        json_schema=_text(request, "json_schema"),
    )


def _send_error(sender: Any, error: Exception) -> None:
    """A failure as an ordinary reply, which says whose fault it is; Triton's own errors are only text."""
    outputs = [
        pb_utils.Tensor("text_output", _strings("")),
        pb_utils.Tensor(
            "finish_reason",
            _strings("wrong prompt" if isinstance(error, (WrongPrompt, WrongSchema)) else "error"),
        ),
        pb_utils.Tensor("error", _strings(str(error))),
    ]
    sender.send(pb_utils.InferenceResponse(outputs), flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)


def _strings(text: str) -> Any:
    return numpy.array([text.encode()], dtype=numpy.object_)


def _value(request: Any, name: str, default: Any) -> Any:
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return default if tensor is None else tensor.as_numpy().reshape(-1)[0]


def _text(request: Any, name: str) -> str:
    value = _value(request, name, b"")
    return value.decode() if isinstance(value, bytes) else str(value)
