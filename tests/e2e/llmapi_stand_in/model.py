"""Stand-in for NVIDIA's model.py of the llmapi model, which needs TensorRT-LLM and a GPU.

It has that model's tensors, its configuration through model.yaml, its replies (all of the text so far in each
piece, `None` as the finish reason until the end) and its errors. What it says is not a language model's: the
words of the prompt, one a token. Written for the tests; none of NVIDIA's code.
"""

import json
import os
import threading
import time
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from helpers import scalar


def settings(folder: str) -> dict[str, Any]:
    with open(os.path.join(folder, "model.yaml")) as file:
        return dict(json.load(file))


class TritonPythonModel:
    @classmethod
    def auto_complete_config(cls, config: Any) -> Any:
        told = settings(pb_utils.get_model_dir())["triton_config"]
        config.set_model_transaction_policy(dict(decoupled=bool(told["decoupled"])))
        config.set_max_batch_size(int(told["max_batch_size"]))
        return config

    def initialize(self, args: dict[str, str]) -> None:
        found = settings(pb_utils.get_model_dir())
        if not os.path.isfile(os.path.join(found["model"], "config.json")):
            raise pb_utils.TritonModelException(f"no model in {found['model']}")

    def execute(self, requests: list[Any]) -> None:
        for request in requests:
            threading.Thread(target=self.answer, args=(request, request.get_response_sender())).start()

    def answer(self, request: Any, sender: Any) -> None:
        final = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
        try:
            prompt = scalar(request, "text_input").decode()
            most = int(scalar(request, "sampling_param_max_tokens", 32))
            wants_reason = bool(scalar(request, "return_finish_reason", False))
            streaming = bool(scalar(request, "streaming", False))
            if "explode" in prompt:
                raise ValueError("the engine exploded")
            words = prompt.split(" ")
            said = [] if scalar(request, "sampling_param_exclude_input_from_output", False) else [prompt]
            said += [f" {word}" for word in words[1:]] or [" nothing"]
            reason = "stop" if len(said) <= most else "length"
            said = said[:most]
            for number in range(1, len(said) + 1):
                if sender.is_cancelled():
                    with open(os.path.join(pb_utils.get_model_dir(), "cancelled"), "a") as file:
                        file.write("one\n")
                    error = pb_utils.TritonError(
                        "Request cancelled by client", pb_utils.TritonError.CANCELLED
                    )
                    sender.send(pb_utils.InferenceResponse(error=error), flags=final)
                    return
                if "slowly" in prompt:
                    time.sleep(0.05)
                if streaming:
                    is_last = number == len(said)
                    reply = self.reply("".join(said[:number]), reason if is_last else None, wants_reason)
                    sender.send(reply, flags=final if is_last else 0)
            if not streaming:
                sender.send(self.reply("".join(said), reason, wants_reason), flags=final)
        except Exception as error:
            fault = pb_utils.TritonError(f"Error generating request: {error}")
            sender.send(pb_utils.InferenceResponse(error=fault), flags=final)

    def reply(self, text: str, reason: str | None, wants_reason: bool) -> Any:
        tensors = [pb_utils.Tensor("text_output", np.asarray([text.encode()], dtype=np.object_))]
        if wants_reason:
            tensors.append(pb_utils.Tensor("finish_reason", np.asarray([str(reason)], dtype=np.object_)))
        return pb_utils.InferenceResponse(output_tensors=tensors)
