"""Generation with ONNX Runtime GenAI, a group of prompts at a time: the only place where it is written.

Triton's stub runs this file as well, copied beside model.py into an interpreter without Opswright, so it
imports nothing but numpy and onnxruntime_genai.
"""

from __future__ import annotations

import json
import threading
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ADAPTER = "adapter.onnx_adapter"  # in an engine folder: adapters that the base's graph takes as inputs
_IDLE_BYTES = 64 << 20  # key and value caches of generators that wait to be used again
_CANCEL_EVERY = 8  # tokens between two looks at whether the caller has gone
_SEEDS = 1 << 31  # the library takes seeds below it


class WrongSchema(ValueError):
    """The JSON schema is none, or the library's grammar cannot express it; the caller must change it."""


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen; temperature 0 is greedy. json_schema: what the text must fit, when not empty."""

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    json_schema: str = ""

    def options(self) -> dict[str, Any]:
        """The search options of a generator."""
        if self.temperature <= 0:
            return {"do_sample": False}
        return {
            "do_sample": True,
            "temperature": self.temperature,
            "top_k": self.top_k,
            "top_p": self.top_p,
            "random_seed": self.seed % _SEEDS,
        }


class TextPiece(str):
    """A piece of an answer, told while it is made; `logprobs` are of the tokens that end in it."""

    __slots__ = ("logprobs",)
    logprobs: tuple[dict[str, Any], ...]

    def __new__(cls, text: str, logprobs: Sequence[dict[str, Any]] = ()) -> TextPiece:
        """A text as it is."""
        piece = super().__new__(cls, text)
        piece.logprobs = tuple(logprobs)
        return piece


@dataclass
class GenerationJob:
    """One prompt: `text`, given to the model as it is, or `messages` and `tools`, JSON for the chat template.

    top_logprobs: how many tokens beside the chosen one are told with their log-probabilities; None: none is
    told of any. They are in `logprobs` when the job is done, as OpenAI's `logprobs.content`, and in pieces.
    Nothing that it calls may hold the job: Triton unloads a model when all its requests are let go.
    `on_text` gets each new piece while it is made, `on_done` (text, reason, tokens in, tokens out) ends it,
    or `on_error` does. All three are called from the batcher's thread.
    """

    on_done: Callable[[str, str, int, int], None]
    on_error: Callable[[Exception], None]
    text: str = ""
    messages: str = ""
    tools: str = ""
    max_tokens: int = 64
    sampling: Sampling = field(default_factory=Sampling)
    stop: Sequence[str] = ()
    on_text: Callable[[TextPiece], None] | None = None
    is_cancelled: Callable[[], bool] = lambda: False
    top_logprobs: int | None = None
    tokens: Any = None  # int32 (prompt length,), set when the job is taken in
    logprobs: list[dict[str, Any]] = field(default_factory=list)


class _Sequence:
    """One job's row in a group: its tokens so far and the text that was already told."""

    def __init__(self, job: GenerationJob, tokenizer: Any, limit: int) -> None:
        self.job = job
        self.limit = min(job.max_tokens, limit)
        self.out: list[int] = []
        self.text = ""
        self.told = 0
        self._ends: list[int] = []  # of each token in the text, where pieces tell log-probabilities
        self._told_tokens = 0
        self.live = True
        self.is_complete = False  # whether `text` is the whole answer, cut before a stop string
        self._watch = job.on_text is not None or bool(job.stop)
        self._pieces = tokenizer.create_stream() if self._watch else None
        self._held = max((len(word) - 1 for word in job.stop), default=0)

    def take(self, token: int, is_end: bool) -> str | None:
        """Add a token; the finish reason when it was the last one."""
        if is_end:
            return "stop"
        self.out.append(token)
        if self._pieces is not None:
            self.text += self._pieces.decode(token)
            self._ends.append(len(self.text))
            if found := [at for word in self.job.stop if (at := self.text.find(word)) >= 0]:
                self.text = self.text[: min(found)]
                self.is_complete = True
                return "stop"
            self._tell(len(self.text) - self._held)
        if len(self.out) >= self.limit:
            return "length"
        if len(self.out) % _CANCEL_EVERY == 0 and self.job.is_cancelled():
            return "cancelled"
        return None

    def note(self, token: int, logits: Any, tokenizer: Any) -> None:
        """Keep the log-probabilities of a token and of the likeliest beside it; logits: (vocabulary,)."""
        import numpy

        exact = logits.astype(numpy.float64)
        logprobs = exact - exact.max()
        logprobs -= numpy.log(numpy.exp(logprobs).sum())
        likeliest = numpy.argsort(-logprobs)[: self.job.top_logprobs].tolist()
        chosen, *top = (_told(one, float(logprobs[one]), tokenizer) for one in (token, *likeliest))
        self.job.logprobs.append({**chosen, "top_logprobs": top})

    def finish(self, reason: str, tokenizer: Any) -> None:
        """Tell the rest, then the end."""
        self.live = False
        del self.job.logprobs[len(self.out) :]  # the end token's are no part of the text
        if not self.is_complete:
            self.text = self._whole(tokenizer)
        self._tell(len(self.text), is_end=True)
        self.job.on_done(self.text, reason, len(self.job.tokens), len(self.out))

    def _whole(self, tokenizer: Any) -> str:
        """The text of all tokens, which every piece that was told begins.

        At bytes that are no UTF-8, ONNX Runtime GenAI 0.18 ends a text that is decoded at once, and leaves
        them out of one that is decoded piece by piece: of those two the pieces lose less.
        """
        whole = str(tokenizer.decode(self.out)) if self.out else ""
        pieces = self.text
        if not self._watch and "\ufffd" in whole:
            stream = tokenizer.create_stream()
            pieces = "".join(stream.decode(token) for token in self.out)
        return whole if whole.startswith(pieces) else pieces

    def _tell(self, upto: int, *, is_end: bool = False) -> None:
        """Tell the text up to a place, with the log-probabilities of the tokens that end there or before."""
        if self.job.on_text is None or (upto <= self.told and not is_end):
            return
        first, last = self._told_tokens, len(self.out) if is_end else bisect_right(self._ends, upto)
        logprobs = self.job.logprobs[first:last]
        if upto > self.told or logprobs:
            self.job.on_text(TextPiece(self.text[self.told : upto], logprobs))
            self.told, self._told_tokens = upto, last


def _told(token: int, logprob: float, tokenizer: Any) -> dict[str, Any]:
    """A token as OpenAI's log-probabilities tell it; a part of a character has no bytes that are known."""
    text = str(tokenizer.decode([token]))
    known = list(text.encode()) if "\ufffd" not in text else None
    return {"token": text, "logprob": max(logprob, -9999.0), "bytes": known}


def _whose_fault(error: Exception, job: GenerationJob) -> Exception:
    """A grammar that grows too large while it is followed is the schema's fault, any other failure is not."""
    if job.sampling.json_schema and "Parser Error" in str(error):
        return WrongSchema(f"answers cannot be held to this JSON schema: {error}")
    return error


class _Generators:
    """Generators of one model, used again where that is safe: a new one costs 15 ms, a short answer one.

    Greedy ones only, of batches whose key and value caches are small; the library's own rewinding empties
    one. Any thread may ask.
    """

    def __init__(self, model: Any, config: dict[str, Any], adapters: Any = None) -> None:
        self._model, self._adapters = model, adapters
        decoder = config.get("decoder", {})
        names = ("num_hidden_layers", "num_key_value_heads", "head_size")
        sizes = [int(decoder.get(name, 0)) for name in names]
        self._token_bytes = 8 * sizes[0] * sizes[1] * sizes[2]  # keys and values in float32
        self._idle: list[tuple[tuple[int, int], Any]] = []  # (batch, length) and generator, oldest first
        self._can_rewind: bool | None = None
        self._guard = threading.Lock()

    def lease(
        self, tokens: Any, length: int, context: int, sampling: Sampling
    ) -> tuple[Any, Callable[[], None]]:
        """A generator that has read tokens (batch, prompt length), and what gives it back."""
        shape = (len(tokens), _roomy(length, context))
        may_keep = sampling.temperature <= 0 and not sampling.json_schema and self._is_small(shape)
        if not may_keep or not self._rewinds(tokens[:1], context):
            return self._new(tokens, length, sampling), lambda: None
        generator = self._take(shape)
        if generator is None:
            generator = self._new(tokens, shape[1], sampling)
        else:
            generator.rewind_to(0)
            generator.append_tokens(tokens)
        return generator, lambda: self._give_back(shape, generator)

    def _new(self, tokens: Any, length: int, sampling: Sampling) -> Any:
        import onnxruntime_genai as og

        params = og.GeneratorParams(self._model)
        params.set_search_options(max_length=length, batch_size=len(tokens), **sampling.options())
        if sampling.json_schema:
            params.set_guidance("json_schema", sampling.json_schema)
        try:
            generator = og.Generator(self._model, params)
        except Exception as error:  # the library's own errors have no common type
            if sampling.json_schema:
                raise WrongSchema(f"answers cannot be held to this JSON schema: {error}") from error
            raise
        if self._adapters is not None:
            generator.set_active_adapter(self._adapters, ADAPTER)
        generator.append_tokens(tokens)
        return generator

    def _is_small(self, shape: tuple[int, int]) -> bool:
        return 0 < self._token_bytes * shape[0] * shape[1] <= _IDLE_BYTES // 4

    def _rewinds(self, tokens: Any, context: int) -> bool:
        """Whether this kind of model says the same again after rewinding; tried once, on a first prompt."""
        if self._can_rewind is None:
            length = min(context, tokens.shape[1] + 4)
            shape = (1, _roomy(length, context))
            generator = self._new(tokens, shape[1], Sampling())
            try:
                first = _some_tokens(generator, length)
                generator.rewind_to(0)
                generator.append_tokens(tokens)
                self._can_rewind = _some_tokens(generator, length) == first
                if self._can_rewind:
                    self._give_back(shape, generator)
            except Exception:  # the library's own errors have no common type
                self._can_rewind = False
        return self._can_rewind

    def _take(self, shape: tuple[int, int]) -> Any:
        with self._guard:
            places = [place for place, (kind, _) in enumerate(self._idle) if kind == shape]
            return self._idle.pop(places[-1])[1] if places else None

    def _give_back(self, shape: tuple[int, int], generator: Any) -> None:
        with self._guard:
            self._idle.append((shape, generator))
            while sum(b * n for (b, n), _ in self._idle) * self._token_bytes > _IDLE_BYTES:
                self._idle.pop(0)


def _roomy(length: int, context: int) -> int:
    """A length that many others share: the next power of two, at most the context."""
    return min(context, max(64, 1 << (length - 1).bit_length()))


def _some_tokens(generator: Any, length: int) -> list[int]:
    """All tokens of a generator's first row after it made what fits into a length."""
    while not generator.is_done() and len(generator.get_sequence(0)) < length:
        generator.generate_next_token()
    tokens: list[int] = generator.get_sequence(0).tolist()
    return tokens


class OrtModel:
    """An engine folder, loaded: its model, its tokenizer and how long a sequence may be."""

    def __init__(self, folder: Path, threads: int = 1) -> None:
        import onnxruntime_genai as og

        og.disable_telemetry_events()
        config = og.Config(str(folder))
        # Threads that spin while they wait take twice as long when another process wants their core.
        session = {
            "intra_op_num_threads": threads,
            "log_severity_level": 3,
            "session.intra_op.allow_spinning": "0",
        }
        config.overlay(json.dumps({"model": {"decoder": {"session_options": session}}}))
        self.model = og.Model(config)
        self.tokenizer = og.Tokenizer(self.model)
        self.ends = frozenset(self.tokenizer.eos_token_ids.tolist())
        settings = json.loads((folder / "genai_config.json").read_text())["model"]
        self.context = int(settings["context_length"])
        adapters = og.Adapters(self.model) if (folder / ADAPTER).is_file() else None
        if adapters is not None:
            adapters.load(str((folder / ADAPTER).resolve()), ADAPTER)
        self.generators = _Generators(self.model, settings, adapters)

    def start(self, jobs: list[GenerationJob]) -> Group:
        """Begin to generate encoded jobs of one prompt length and one sampling."""
        return Group(self, jobs)


class Group:
    """Jobs with prompts of one length and one sampling, generated together."""

    def __init__(self, engine: OrtModel, jobs: list[GenerationJob]) -> None:
        import numpy

        length = len(jobs[0].tokens)
        limit = engine.context - length
        self.rows = [_Sequence(job, engine.tokenizer, limit) for job in jobs]
        self._ends, self._tokenizer = engine.ends, engine.tokenizer
        self._generator, self._give_back = engine.generators.lease(
            numpy.stack([job.tokens for job in jobs]),  # (batch, length)
            length + max(row.limit for row in self.rows),
            engine.context,
            jobs[0].sampling,
        )

    def step(self) -> bool:
        """Make one token for every row; whether any row is still going. A failure ends them all."""
        try:
            self._advance()
        except Exception as error:  # the engine's own errors have no common type
            for row in self.rows:
                if row.live:
                    row.live = False
                    row.job.on_error(_whose_fault(error, row.job))
            return False
        if any(row.live for row in self.rows):
            return True
        self._give_back()
        return False

    def _advance(self) -> None:
        told = any(row.live and row.job.top_logprobs is not None for row in self.rows)
        logits = self._generator.get_logits() if told else None  # (batch, 1, vocabulary)
        self._generator.generate_next_token()
        for number, (row, token) in enumerate(
            zip(self.rows, self._generator.get_next_tokens().tolist(), strict=True)
        ):
            if logits is not None and row.live and row.job.top_logprobs is not None:
                row.note(token, logits[number, -1], self._tokenizer)
            if row.live and (reason := row.take(token, token in self._ends)) is not None:
                row.finish(reason, self._tokenizer)
        if self._generator.is_done():
            for row in self.rows:
                if row.live:
                    row.finish("length", self._tokenizer)
