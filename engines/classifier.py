"""Classifiers: an encoder or a decoder with a head of labels, by transformers in this process.

What a classifier reads of a chat is said here once, for those that train it and those that ask it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import AskError, BackendError
from ..data.batches import by_length
from ..data.sample import text_of
from ..data.text import label_form
from .base import Chat, Continuation, GenerationOptions, GenerationResult, Progress, too_long
from .checkpoint import load_torch

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_MOST_ROWS = 128  # chats that are answered at a time
_BOUNDLESS = 1 << 30
_MOST_LENGTH = 1_000_000  # transformers writes a number beyond all bounds where a tokenizer has no limit


class ClassifierEngine:
    """A local folder of safetensors with a head of labels: the answer to a chat is the likeliest label.

    device: auto, cpu or cuda. Raises NeedsError without torch and transformers, BackendError when the folder
    does not load, is no classifier, or holds NaN or infinite weights.
    """

    def __init__(self, folder: Path, device: str = "auto", threads: int = 2) -> None:
        torch = load_torch()
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        torch.set_num_threads(threads)
        self.device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        self.labels = labels_of(folder)
        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model: Any = AutoModelForSequenceClassification.from_pretrained(
                folder, local_files_only=True, use_safetensors=True
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise BackendError(f"cannot load the classifier in {folder}: {error}") from error
        for name, weight in model.named_parameters():
            if not torch.isfinite(weight).all():
                raise BackendError(f"{name} of {folder} holds NaN or infinity: its training diverged.")
        self.model = model.to(self.device).eval()
        positions = getattr(model.config, "max_position_embeddings", None)
        self.context = min(int(positions or _BOUNDLESS), longest_text(self.tokenizer))

    @property
    def version(self) -> str:
        """The library and its version."""
        from importlib.metadata import version

        return f"transformers {version('transformers')} (classifier)"

    def generate(
        self, chats: Sequence[Chat], options: GenerationOptions, progress: Progress | None = None
    ) -> list[GenerationResult]:
        """The likeliest label of each chat, in their order; of the options none counts."""
        results = [GenerationResult(None)] * len(chats)
        for number, found in self._classified(chats, progress):
            if isinstance(found, GenerationResult):
                results[number] = found
            else:
                scores, tokens, waited_ms = found
                best = max(range(len(scores)), key=scores.__getitem__)
                results[number] = GenerationResult(
                    self.labels[best], tokens_in=tokens, tokens_out=1, latency_ms=waited_ms
                )
        return results

    def loglikelihood(
        self,
        chats: Sequence[Chat],
        continuations: Sequence[Sequence[str]],
        prefix: str | None = None,
        progress: Progress | None = None,
    ) -> list[list[Continuation]]:
        """How likely each continuation is as the label; one that is no label has no likelihood."""
        results: list[list[Continuation]] = [[]] * len(chats)
        for number, found in self._classified(chats, progress):
            if isinstance(found, GenerationResult):
                results[number] = [Continuation.failed(found.error)] * len(continuations[number])
            else:
                results[number] = [self._scored(text, *found) for text in continuations[number]]
        return results

    def close(self) -> None:
        """Nothing is held but the model itself."""

    @cached_property
    def _places(self) -> Mapping[str, int]:
        return {label_form(label): place for place, label in enumerate(self.labels)}

    def _scored(self, text: str, scores: list[float], tokens: int, waited_ms: float) -> Continuation:
        place = self._places.get(label_form(text))
        if place is None:
            return Continuation.failed(f"'{text[:80]}' is none of the classifier's {len(scores)} labels")
        return Continuation(scores[place], 1, scores[place] == max(scores), waited_ms)

    def _classified(
        self, chats: Sequence[Chat], progress: Progress | None
    ) -> Iterator[tuple[int, GenerationResult | tuple[list[float], int, float]]]:
        """Each chat's number with its labels' log-probabilities, tokens and wait, or why it is not taken."""
        texts = [text_read(chat) for chat in chats]
        rows = token_rows(self.tokenizer, texts) if texts else []
        fitting = []
        for number, row in enumerate(rows):
            if not texts[number].strip():
                yield number, GenerationResult.refused("there is no text to classify")
            elif len(row) > self.context:
                yield number, GenerationResult.refused(too_long(len(row), self.context + 1))
            else:
                fitting.append(number)
        done = len(chats) - len(fitting)
        for places in by_length([rows[number] for number in fitting], _MOST_ROWS):
            numbers = [fitting[place] for place in places]
            started = time.perf_counter()
            found = self._log_probabilities([rows[number] for number in numbers])
            waited_ms = (time.perf_counter() - started) * 1000
            for number, scores in zip(numbers, found, strict=True):
                yield number, (scores, len(rows[number]), waited_ms)
            done += len(numbers)
            if progress is not None:
                progress(done, len(chats))

    def _log_probabilities(self, rows: list[list[int]]) -> list[list[float]]:
        """Of each row, all of one length, the natural log of each label's probability."""
        import torch

        inputs = torch.tensor(rows, device=self.device)  # (rows, tokens)
        try:
            with torch.inference_mode():
                logits = self.model(input_ids=inputs, attention_mask=torch.ones_like(inputs)).logits
        except RuntimeError as error:  # torch's own, as of memory
            raise BackendError(f"the classifier failed: {error}") from error
        found: list[list[float]] = logits.float().log_softmax(-1).tolist()  # (rows, labels)
        return found


def labels_of(folder: Path) -> tuple[str, ...]:
    """The labels of a classifier's folder, in the order of its head; BackendError where it names none."""
    try:
        named = json.loads((folder / "config.json").read_text(encoding="utf-8"))["id2label"]
        return tuple(str(named[str(place)]) for place in range(len(named)))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BackendError(f"{folder / 'config.json'} names no labels (id2label): {error!r}.") from error


def head_of(model_type: str) -> str:
    """The class that puts a head of labels on models of a type; AskError where transformers has none."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES

    if model_type not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES:
        raise AskError(
            f"transformers has no classification head for models of type '{model_type}'. Take another base, "
            "or method 'sft'."
        )
    return str(MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES[model_type])


def text_read(chat: Chat) -> str:
    """What a classifier reads of a chat: all that is said, a paragraph a message, without the system's.

    A system message instructs, which a classifier cannot follow.
    """
    return "\n\n".join(text_of(message) for message in chat if message["role"] != "system")


def token_rows(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """The tokens of texts as a classifier reads them, not cut.

    A decoder reads its label off the last token, so one whose tokenizer ends a text with none of its special
    tokens gets the end token there.
    """
    encoded: Any = tokenizer(list(texts), truncation=False)
    rows: list[list[int]] = encoded["input_ids"]
    end, special = tokenizer.eos_token_id, set(tokenizer.all_special_ids)
    if not isinstance(end, int):
        return rows
    return [row if row and row[-1] in special else [*row, end] for row in rows]


def pad_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token that fills up a shorter row; not the end token, where there is another.

    Models look for a row's last token by it.
    """
    found = [tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.unk_token_id]
    known = [one for one in found if isinstance(one, int)]
    end = tokenizer.eos_token_id
    return next((one for one in known if one != end), end if isinstance(end, int) else 0)


def longest_text(tokenizer: PreTrainedTokenizerBase) -> int:
    """The most tokens that a tokenizer says its model reads."""
    most = tokenizer.model_max_length
    return int(most) if most and most < _MOST_LENGTH else _BOUNDLESS
