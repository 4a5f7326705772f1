"""NVIDIA's llmapi model for Triton, as it is: which tensors it has, how it is asked, and what it answers.

Read in model.py and helpers.py (contract.yaml names the commits); never run against TensorRT-LLM itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from ...core.errors import AskError, BackendError, NeedsError
from ..base import Chat, GenerationOptions, PromptError, no_chat_template, too_long
from ..ort_llm.prompts import Spellings, chat_fault, own_tokens
from ..triton_text import RELEASE, ModelPlace, TextPrompt
from .contract import contract
from .layout import CHECKPOINT, REPOSITORY
from .triton_config import MODEL

CODE = ("model.py", "helpers.py")
_ENGINE = "engine"  # below the version's folder, where the bundle's own folder is put


class LlmapiModel:
    """A bundle's engine folder; AskError when it is none. Its tokenizer is read when it is first needed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._settings = folder / REPOSITORY / MODEL / "1" / "model.yaml"
        if not self._settings.is_file():
            raise AskError(f"{folder} holds no Triton model of TensorRT-LLM ({self._settings} is missing).")

    def config(self, place: ModelPlace) -> str:
        """The bundle's own, under the model's name, with every tensor that is asked for here."""
        from google.protobuf import text_format
        from tritonclient.grpc import model_config_pb2 as pb

        written = (self._folder / REPOSITORY / MODEL / "config.pbtxt").read_text(encoding="utf-8")
        config = text_format.Parse(written, pb.ModelConfig())
        config.name = place.name
        config.parameters[RELEASE].string_value = place.release
        has = {tensor.name for tensor in config.input}
        for tensor in contract().inputs:
            if tensor.name not in has:  # of a bundle from before it was used
                kind = pb.DataType.Value(tensor.type)
                config.input.add(name=tensor.name, data_type=kind, dims=[tensor.dims], optional=True)
        return str(text_format.MessageToString(config))

    def files(self, place: ModelPlace) -> Mapping[str, Path | bytes]:
        """NVIDIA's code as it is, and the settings with the checkpoint where the server sees it."""
        found: dict[str, Path | bytes] = {name: place.code / name for name in CODE}
        for name, path in found.items():
            if not (isinstance(path, Path) and path.is_file()):
                raise NeedsError(
                    f"no {name} in {place.code}. Copy NVIDIA's from the container that serves "
                    f"(/app/all_models/llmapi/{MODEL}/1) and name the folder in serving.external.llmapi_code."
                )
        settings = json.loads(self._settings.read_text(encoding="utf-8"))
        settings["model"] = f"{place.seen_at}/{_ENGINE}/{CHECKPOINT}"
        return found | {"model.yaml": (json.dumps(settings, indent=2, sort_keys=True) + "\n").encode()}

    def prompt(self, chat: Chat) -> TextPrompt:
        """A chat as its template renders it, when the server makes the same tokens of it as training did.

        The server puts the tokenizer's own tokens around every text, and reads those that a message spells.
        """
        if (fault := chat_fault(chat)) is not None:
            raise PromptError(fault)
        spellings = Spellings(self._own_tokens)
        messages = [spellings.marked_message(message) for message in chat]
        try:
            rendered = self._tokenizer.apply_chat_template(
                messages, add_generation_prompt=True, tokenize=False
            )
        except Exception as error:  # a template raises what it likes
            raise PromptError(f"the chat template does not take these messages: {error}") from error
        pieces = spellings.pieces(str(rendered))
        ours = [token for piece in pieces for token in self._encoded(piece, around=False)]
        whole = "".join(pieces)
        begin = self._tokenizer.bos_token or ""
        for text in dict.fromkeys((whole, whole.removeprefix(begin))):
            if self._encoded(text, around=True) == ours:
                return TextPrompt(text, self._fitting(len(ours)))
        if len(pieces) > 1:
            raise PromptError(
                "a message spells one of the model's control tokens, which this server would read as one"
            )
        raise PromptError("this server would read the prompt as other tokens than the model was trained on")

    def fields(self, prompt: TextPrompt, options: GenerationOptions, *, streaming: bool) -> dict[str, Any]:
        """What is asked; stop strings are not: the model takes them as bytes, so they are looked for here."""
        found: dict[str, Any] = {
            "text_input": prompt.text,
            "sampling_param_max_tokens": options.max_tokens,
            "sampling_param_exclude_input_from_output": True,
            "return_finish_reason": True,
            "streaming": streaming,
        }
        if not options.is_greedy:
            found |= {
                "sampling_param_temperature": options.temperature,
                "sampling_param_top_p": options.top_p,
                "sampling_param_seed": options.seed,
            }
            if options.top_k:
                found["sampling_param_top_k"] = options.top_k
        return found

    def text(self, outputs: Mapping[str, Any]) -> str:
        """Of its one sequence; BackendError for what is no answer."""
        found = _only(outputs.get("text_output"))
        if not isinstance(found, str):
            raise BackendError(f"Triton's model answered without a text: {str(dict(outputs))[:200]}")
        return found

    def finish_reason(self, outputs: Mapping[str, Any]) -> str:
        """`stop`, `length` or what it says; the model writes `None` until then."""
        found = _only(outputs.get("finish_reason"))
        return "" if found in (None, "", "None") else str(found)

    def count(self, text: str) -> int:
        """The tokens that its tokenizer makes of the text; the model may have made others for it."""
        return len(self._encoded(text, around=False))

    def _encoded(self, text: str, *, around: bool) -> list[int]:
        """The tokens of a text; around: with those that the tokenizer puts before and behind every text."""
        found: list[int] = self._tokenizer(text, add_special_tokens=around)["input_ids"]
        return found

    def _fitting(self, tokens: int) -> int:
        most = int(json.loads(self._settings.read_text(encoding="utf-8")).get("max_seq_len") or 1 << 30)
        if not tokens:
            raise PromptError("the prompt is empty")
        if tokens >= most:
            raise PromptError(too_long(tokens, most))
        return tokens

    @cached_property
    def _tokenizer(self) -> Any:
        try:
            from transformers import AutoTokenizer
        except ImportError as error:
            raise NeedsError(f"prompts for TensorRT-LLM are rendered by transformers: {error}.") from error
        folder = self._folder / CHECKPOINT
        try:
            found: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise BackendError(f"cannot read the tokenizer in {folder}: {error}") from error
        if not found.chat_template:
            raise no_chat_template(folder)
        return found

    @cached_property
    def _own_tokens(self) -> Any:
        return own_tokens(str(one) for one in self._tokenizer.added_tokens_decoder.values())


def _only(value: Any) -> Any:
    """The one element of a tensor: Triton writes one of a single element without brackets."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value
