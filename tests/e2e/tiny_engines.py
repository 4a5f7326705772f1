"""Makes tiny random engines: `python tiny_engines.py FOLDER PRECISION SEED...`, FOLDER/<seed>/engine of each.

A Llama of 1 M parameters with a byte-level tokenizer and a chat template, exported by ONNX Runtime GenAI's
builder; FOLDER/<seed>/model is the checkpoint. What they answer is gibberish, and differs from seed to seed.
In int8 an answer hardly ever ends; in fp32 the end token is likelier, so that answers end by themselves.
"""

from __future__ import annotations

import random
import runpy
import sys
from pathlib import Path
from typing import Any

WORDS = (
    *("transfer", "money", "to", "my", "savings", "account", "please", "what", "is", "the", "weather"),
    *("today", "card", "lost", "stolen", "pin"),
)
TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}{{ '<|assistant|> ' + m['content'] + '</s>' }}"
    "{% else %}{{ '<|user|> ' + m['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    draw = random.Random(0)
    corpus = [" " + " ".join(draw.choices(WORDS, k=6)) for _ in range(300)] + ["0123456789 ?!.,'"]
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = decoders.ByteLevel()
    special = ["<pad>", "<s>", "</s>", "<|user|>", "<|assistant|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    trained.train_from_iterator(corpus, trainer)
    wrapped = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=trained, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )
    wrapped.chat_template = TEMPLATE
    return wrapped


def make(folder: Path, seed: int, precision: str) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    words = tokenizer()
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=256,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    model = LlamaForCausalLM(config)  # type: ignore[no-untyped-call]
    with torch.no_grad():  # far apart, so that the same prompt leads to other words
        model.lm_head.weight.normal_(0, 1)
        for token in range(5, len(words)):
            if not words.decode([token]).isascii():  # a part of a character: never said
                model.lm_head.weight[token] = 0
        if precision == "fp32":
            model.lm_head.weight[2] *= 2
    model.save_pretrained(folder / "model")
    words.save_pretrained(folder / "model")
    sys.argv = ["builder", "-i", str(folder / "model"), "-o", str(folder / "engine")]
    sys.argv += ["-p", precision, "-e", "cpu", "-c", str(folder / "cache")]
    runpy.run_module("onnxruntime_genai.models.builder", run_name="__main__")


if __name__ == "__main__":
    root, kind, *seeds = sys.argv[1:]
    for name in seeds:
        make(Path(root) / name, int(name), kind)
