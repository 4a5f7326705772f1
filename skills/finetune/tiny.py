"""The tiny base: a small Llama without weights yet, and a tokenizer made from the data."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ...core.errors import AskError
from .tiny_shape import TinyShape

POSITIONS = 256
# Where the tokenizer cuts text into words, as Llama 3's does: what stands before a word, a space or an
# underscore, belongs to it. With an underscore on its own, labels like book_flight took a token more for each
# word and were learned worse in the same training (docs/decisions/021-the-tiny-tokenizer.md).
# ONNX Runtime GenAI knows these parts, and not any regular expression.
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
SPECIAL = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
_ROLES = ["<|system|>", "<|user|>", "<|assistant|>"]
# The space before the content is inside the generation marks: a label then starts with the same token as any
# word in the middle of a text, and that token is supervised.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "{{ '<|assistant|>' }}{% generation %}{{ ' ' + message['content'] + '</s>' }}{% endgeneration %}"
    "{% else %}{{ '<|' + message['role'] + '|> ' + message['content'] }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def make_tiny_base(
    train: Path,
    folder: Path,
    positions: int = POSITIONS,
    shape: TinyShape | None = None,
    labels: int | None = None,
) -> None:
    """Write the tiny base, config and tokenizer without weights, for the rows of a chat JSONL file.

    positions: longest sequence in tokens. labels: how many a classifier's head will have. Raises AskError for
    a row that is not a chat.
    """
    from transformers import LlamaConfig

    shape = shape or TinyShape()
    tokenizer = _train_tokenizer(_texts(train), shape.vocabulary)
    tokenizer.model_max_length = positions
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.width,
        intermediate_size=shape.inner_width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=positions,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
        dtype="float32",
        architectures=["LlamaForCausalLM"],
    )
    if labels is not None:
        config.num_labels = labels
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    config.save_pretrained(folder)


def word_splitter() -> Any:
    """The pre-tokenizer: words with what stands before them, in the bytes of byte-level BPE."""
    from tokenizers import Regex, pre_tokenizers

    words = pre_tokenizers.Split(Regex(_WORDS), "isolated")
    return pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def _train_tokenizer(texts: Iterable[str], vocabulary: int) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = word_splitter()
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[*SPECIAL.values(), *_ROLES],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),  # any text can be written in these
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast: Any = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        additional_special_tokens=_ROLES,
        clean_up_tokenization_spaces=False,
        **SPECIAL,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def _texts(train: Path) -> Iterator[str]:
    with train.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                for message in json.loads(line)["messages"]:
                    yield f" {message['content']}"
            except (ValueError, KeyError, TypeError) as error:
                raise AskError(f"{train.name}, row {number} is not a chat line: {error!r}") from error
