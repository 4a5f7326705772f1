"""Makes tiny random engines: `python tiny_engines.py FOLDER SEED...`, one FOLDER/<seed>/engine for each seed.

A Llama of 1 M parameters with a byte-level tokenizer and a chat template, exported to int8 by ONNX Runtime
GenAI's own builder. What they answer is gibberish, and differs from seed to seed.
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
    trained.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=400, special_tokens=special))
    wrapped = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=trained, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )
    wrapped.chat_template = TEMPLATE
    return wrapped


def make(folder: Path, seed: int) -> None:
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
    model.save_pretrained(folder / "model")
    words.save_pretrained(folder / "model")
    sys.argv = ["builder", "-i", str(folder / "model"), "-o", str(folder / "engine")]
    sys.argv += ["-p", "int8", "-e", "cpu", "-c", str(folder / "cache")]
    runpy.run_module("onnxruntime_genai.models.builder", run_name="__main__")


if __name__ == "__main__":
    root, *seeds = sys.argv[1:]
    for name in seeds:
        make(Path(root) / name, int(name))
