"""Hugging Face checkpoints, by transformers in this process; no code of the folder is run."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from ..core.errors import BackendError, NeedsError
from ..core.install import install_hint
from ..data.batches import by_length
from .base import (
    Chat,
    Continuation,
    GenerationOptions,
    GenerationResult,
    Progress,
    no_chat_template,
    too_long,
)
from .greedy import Decoded, GreedyDecoder, is_plainly_greedy
from .hf_folder import refuse_codes
from .likelihood import LikelihoodScorer, lead_tokens
from .ort_llm.prompts import Spellings, chat_fault, own_tokens
from .prompt_rows import PromptReader, can_pad
from .token_scores import SharedPromptScorer, TokenScorer, WholeTextScorer

_GENERATION = "generation_config.json"


class CheckpointEngine:
    """A local folder of safetensors with its tokenizer and chat template, and maybe adapters beside it.

    device: auto, cpu or cuda. precision: the weights' own, or float32. adapter: a folder in PEFT's form, put
    on the weights and not merged into them; its generation_config.json, if it has one, counts. tokenizer: the
    folder that has it, where the weights' has not. ends: more tokens that end an answer. most_rows: prompts
    answered at a time, at most. plain: a chat is one message, whose text the model continues as it stands,
    without a chat template. Raises NeedsError without torch and transformers, BackendError when a folder
    does not load, does not fit the other, or holds NaN or infinite weights.
    """

    def __init__(
        self,
        folder: Path,
        device: str = "auto",
        threads: int = 2,
        precision: Literal["auto", "float32"] = "auto",
        adapter: Path | None = None,
        tokenizer: Path | None = None,
        ends: Sequence[int] = (),
        most_rows: int = 128,
        plain: bool = False,
    ) -> None:
        refuse_codes(folder)
        torch = load_torch()
        from transformers import AutoModelForCausalLM, AutoTokenizer

        torch.set_num_threads(threads)
        self.device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(tokenizer or folder, local_files_only=True)
            model: Any = AutoModelForCausalLM.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, dtype=precision
            )
        except (OSError, ValueError) as error:
            raise BackendError(f"cannot load the checkpoint in {folder}: {error}") from error
        if not self.tokenizer.chat_template and not plain:
            raise no_chat_template(tokenizer or folder)
        if adapter is not None:
            model = with_adapter(model, adapter)
        for name, weight in model.named_parameters():
            if not torch.isfinite(weight).all():
                raise BackendError(f"{name} of {folder} holds NaN or infinity: its training diverged.")
        self.model = model.to(self.device).eval()
        self.context = int(getattr(model.config, "max_position_embeddings", None) or 1 << 30)
        own = model.generation_config.eos_token_id
        if own is None:
            own = self.tokenizer.eos_token_id
        self.ends = frozenset([*(own if isinstance(own, list) else [] if own is None else [own]), *ends])
        if ends:
            model.generation_config.eos_token_id = sorted(self.ends)
        self._most_rows, self._plain = most_rows, plain
        self._own_tokens = own_tokens(str(one) for one in self.tokenizer.added_tokens_decoder.values())

    @cached_property
    def _takes_padding(self) -> bool:
        return can_pad(self.model, self.device)

    @property
    def version(self) -> str:
        """The library and its version."""
        from importlib.metadata import version

        return f"transformers {version('transformers')}"

    def generate(
        self, chats: Sequence[Chat], options: GenerationOptions, progress: Progress | None = None
    ) -> list[GenerationResult]:
        """One result for each chat, in their order; see Engine."""
        encoded = self.encode(chats)
        results = [one if isinstance(one, GenerationResult) else GenerationResult(None) for one in encoded]
        tokens = {number: one for number, one in enumerate(encoded) if not isinstance(one, GenerationResult)}
        waiting = list(tokens)
        done = len(chats) - len(waiting)
        for made in self._decode(list(tokens.values()), options):
            number = waiting[made.number]
            results[number] = self._result(len(tokens[number]), made, options)
            done += 1
            if progress is not None:
                progress(done, len(chats))
        return results

    def loglikelihood(
        self,
        chats: Sequence[Chat],
        continuations: Sequence[Sequence[str]],
        prefix: str | None = None,
        progress: Progress | None = None,
    ) -> list[list[Continuation]]:
        """How likely each continuation is; see ScoringEngine."""
        results = [[Continuation.failed("not scored")] * len(some) for some in continuations]
        taken: dict[int, str] = {}  # the prompts of the chats that are taken, by their number
        for number, chat in enumerate(chats):
            prompt = self._prompt(chat)
            if isinstance(prompt, str):
                taken[number] = prompt
            else:
                results[number] = [Continuation.failed(prompt.error)] * len(results[number])
        scorer = LikelihoodScorer(self._token_scorer(), self.tokenizer, self.context, self._start)
        try:
            some = [continuations[n] for n in taken]
            found = scorer.score([chats[n] for n in taken], list(taken.values()), some, prefix, progress)
        except RuntimeError as error:  # torch's own, as of memory
            raise BackendError(f"the model failed while it scored: {error}") from error
        for number, scored in zip(taken, found, strict=True):
            results[number] = scored
        return results

    def close(self) -> None:
        """Nothing is held but the model itself."""

    def _prompt(self, chat: Chat, spellings: Spellings | None = None) -> str | GenerationResult:
        """The chat as its template renders it, up to where the assistant begins; marked by `spellings`."""
        if self._plain:
            texts = [message["content"] for message in chat]
            return texts[0] if len(texts) == 1 else GenerationResult.refused("plain text is one message")
        if (fault := chat_fault(chat)) is not None:
            return GenerationResult.refused(fault)
        messages = [spellings.marked_message(one) if spellings else dict(one) for one in chat]
        try:
            return str(
                self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
            )
        except Exception as error:  # a template raises what it likes
            return GenerationResult.refused(f"the chat template does not take these messages: {error}")

    @property
    def _start(self) -> int | None:
        """The token before plain text: the tokenizer's start token, else its end token."""
        if not self._plain:
            return None
        own = self.tokenizer.bos_token_id
        return int(self.tokenizer.eos_token_id if own is None else own)

    def encode(self, chats: Sequence[Chat]) -> list[list[int] | GenerationResult]:
        """The tokens of each chat's prompt, or why it is not taken."""
        prompts: list[list[str] | GenerationResult] = []
        for chat in chats:
            spellings = Spellings(self._own_tokens)
            prompt = self._prompt(chat, spellings)
            prompts.append(spellings.pieces(prompt) if isinstance(prompt, str) else prompt)
        texts = [piece for prompt in prompts if isinstance(prompt, list) for piece in prompt]
        plainly = {"add_special_tokens": False, "return_attention_mask": False}
        rows = iter(self.tokenizer(texts, **plainly)["input_ids"] if texts else ())
        lead = lead_tokens(self.tokenizer) if self._plain else []
        found: list[list[int] | GenerationResult] = []
        for one in prompts:
            if isinstance(one, GenerationResult):
                found.append(one)
                continue
            row = [token for _ in one for token in next(rows)]
            found.append(self._fitting(row if row[: len(lead)] == lead else [*lead, *row]))
        return found

    def _fitting(self, tokens: list[int]) -> list[int] | GenerationResult:
        """A prompt's tokens, when there are some and the context holds them and one more."""
        if not tokens:
            return GenerationResult.refused("the prompt is empty")
        if len(tokens) >= self.context:
            return GenerationResult.refused(too_long(len(tokens), self.context))
        return tokens

    def _decode(self, prompts: list[list[int]], options: GenerationOptions) -> Iterator[Decoded]:
        """What is made of each prompt, in any order.

        A sampled text depends on its seed alone, so it is made by itself; so are texts that transformers
        makes in ways of its own, and those of models that take no padding, in batches of one length.
        """
        if options.is_greedy and self._takes_padding and is_plainly_greedy(self.model):
            most = [min(options.max_tokens, self.context - len(prompt)) for prompt in prompts]
            yield from self._decoder(options).decode(prompts, most)
            return
        for numbers in by_length(prompts, self._most_rows if options.is_greedy else 1):
            started = time.perf_counter()
            error = None
            made: list[list[int]] = [[]] * len(numbers)
            try:
                made = self._sequences([prompts[number] for number in numbers], options)
            except Exception as failure:  # torch's own errors have no common type
                error = f"{type(failure).__name__}: {failure}"
            waited_ms = (time.perf_counter() - started) * 1000
            for number, tokens in zip(numbers, made, strict=True):
                yield Decoded(number, tokens, waited_ms, error)

    def _sequences(self, rows: list[list[int]], options: GenerationOptions) -> list[list[int]]:
        """The new tokens of each row."""
        import torch

        inputs = torch.tensor(rows, device=self.device)  # (rows, tokens)
        length = inputs.shape[1]
        pad = self.tokenizer.pad_token_id
        sampling: dict[str, Any] = {"do_sample": False}
        if not options.is_greedy:
            sampling = {
                "do_sample": True,
                "temperature": options.temperature,
                "top_k": options.top_k,
                "top_p": options.top_p,
            }
        if options.stop:
            sampling |= {"stop_strings": list(options.stop), "tokenizer": self.tokenizer}
        with torch.inference_mode(), _seeded(options):
            sequences = self.model.generate(
                inputs,
                attention_mask=torch.ones_like(inputs),
                max_new_tokens=min(options.max_tokens, self.context - length),
                pad_token_id=pad if pad is not None else self.tokenizer.eos_token_id,
                **sampling,
            )
        made: list[list[int]] = sequences[:, length:].tolist()
        return made

    def _token_scorer(self) -> TokenScorer:
        words = int(self.model.config.get_text_config().vocab_size)
        if self._takes_padding:
            return SharedPromptScorer(PromptReader(self.model, self.device), words)
        return WholeTextScorer(self.model, self.device, words)

    def _decoder(self, options: GenerationOptions) -> GreedyDecoder:
        def has_ended(tokens: list[int]) -> bool:
            if tokens[-1] in self.ends:
                return True
            return bool(options.stop) and any(word in self._text(tokens) for word in options.stop)

        reader = PromptReader(self.model, self.device)
        return GreedyDecoder(reader, has_ended, self._most_rows)

    def tokens_after(self, prompt: list[int], most: int) -> list[int]:
        """The greedy tokens after a prompt's, so many at most."""
        (made,) = self._decode([prompt], GenerationOptions(max_tokens=most))
        if made.error is not None:
            raise BackendError(f"the model failed while it answered: {made.error}")
        return made.tokens

    def result_of(self, tokens_in: int, tokens: list[int], options: GenerationOptions) -> GenerationResult:
        """What new tokens say that another model made of a prompt of so many tokens."""
        return self._result(tokens_in, Decoded(0, tokens, 0.0), options)

    def _result(self, tokens_in: int, made: Decoded, options: GenerationOptions) -> GenerationResult:
        """The text of new tokens, up to the end token or the first stop string."""
        if made.error is not None:
            return GenerationResult(None, "error", error=made.error)
        end = next((place for place, token in enumerate(made.tokens) if token in self.ends), None)
        tokens = made.tokens if end is None else made.tokens[:end]
        text = self._text(tokens)
        reason = "length" if end is None else "stop"
        if found := [at for word in options.stop if (at := text.find(word)) >= 0]:
            text, reason = text[: min(found)], "stop"
            tokens = tokens[: self._tokens_until(tokens, options.stop)]
        return GenerationResult(text, reason, tokens_in, len(tokens), made.waited_ms)

    def _tokens_until(self, tokens: list[int], stop: Sequence[str]) -> int:
        """How many tokens it took until a stop string stood in the text."""
        for count in range(1, len(tokens) + 1):
            text = self._text(tokens[:count])
            if any(word in text for word in stop):
                return count
        return len(tokens)

    def _text(self, tokens: list[int]) -> str:
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True))


def with_adapter(model: Any, folder: Path) -> Any:
    """A model with the low-rank adapters of a folder on it, unmerged; their file must be safetensors.

    Raises NeedsError without peft, BackendError for adapters that are damaged, not of PEFT's LoRA kind, or
    not for this model: PEFT itself would leave out, with a warning, what finds no place.
    """
    try:
        from peft import PeftConfig, PeftModel
        from safetensors import safe_open
    except ImportError as error:
        raise NeedsError(f"adapters need peft. {install_hint('train')}") from error
    weights = folder / "adapter_model.safetensors"
    if not weights.is_file():
        raise BackendError(f"{folder} has no adapter_model.safetensors; pickles are not loaded.")
    try:
        config = PeftConfig.from_pretrained(str(folder))
        with safe_open(str(weights), "np") as file:
            given = set(file.keys())
        config.inference_mode = True
        adapted = PeftModel.from_pretrained(model, str(folder), config=config)
    except Exception as error:  # of PEFT, safetensors or torch, by what is wrong
        raise BackendError(f"the adapters in {folder} do not fit the base: {error}") from error
    if str(config.peft_type).rpartition(".")[2] != "LORA":
        raise BackendError(f"{folder} holds {config.peft_type}, expected low-rank adapters (LORA).")
    from peft import get_peft_model_state_dict

    places = get_peft_model_state_dict(adapted, save_embedding_layers=False)  # "auto" would ask the hub
    if missing := {name for name in set(places) ^ given if ".lora_" in name}:
        raise BackendError(
            f"the adapters in {folder} are not for this base: {len(missing)} of their tensors and the base's "
            f"places for them do not match, as {min(missing)}."
        )
    inner: Any = adapted.get_base_model()  # with the adapters in its layers
    if (folder / _GENERATION).is_file():
        from transformers import GenerationConfig

        inner.generation_config = GenerationConfig.from_pretrained(str(folder))
    return inner


def load_torch() -> Any:
    """Torch with quiet libraries; NeedsError where it or transformers is not installed."""
    # A spinning thread pool is up to 40 times slower when another process wants its core.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    for name in ("torchao", "torch.utils._pytree"):  # warnings about GPU kernels, at import
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        import torch
        from transformers.utils import logging as transformers_logging
    except ImportError as error:
        raise NeedsError(
            f"torch and transformers run a checkpoint ({error}). Install: {install_hint('train')}"
        ) from error
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    return torch


@contextmanager
def _seeded(options: GenerationOptions) -> Iterator[None]:
    """Draw from the options' seed, and leave the process's own random state as it was."""
    import torch

    if options.is_greedy:
        yield
        return
    with torch.random.fork_rng():
        torch.manual_seed(options.seed)
        yield
