"""Archives as Megatron's models were saved, made from small Llamas: `python megatron_archives.py FOLDER`.

For each kind of attention: the Hugging Face folder, its logits, greedy answers, and its archives: the right
one, one with rows in the wrong order, one with a tensor more, one with a tensor less, one split over ranks.
"""

from __future__ import annotations

import io
import json
import sys
import tarfile
from pathlib import Path
from typing import Any

import torch
import yaml
from tiny_bases import CHATML, make_base
from transformers import AutoModelForCausalLM, AutoTokenizer

PROMPTS = ["the sun", "one plus two", "a long road to", "what is it", "say it again", "no"]
CASES = {"mha": (4, False, "model."), "gqa": (2, False, "model.module."), "mqa": (1, True, "")}
TARGET = "nemo.collections.nlp.models.language_modeling.megatron_gpt_model.MegatronGPTModel"


def interleaved(q: Any, k: Any, v: Any, groups: int, head: int) -> Any:
    """For each group the rows of its queries, its key, its value."""
    rows, per = [], q.shape[0] // groups
    for g in range(groups):
        at = slice(g * head, (g + 1) * head)
        rows += [q[g * per : (g + 1) * per], k[at], v[at]]
    return torch.cat(rows)


def save(path: Path, config: dict[str, Any], state: dict[str, Any], name: str = "model_weights.ckpt") -> None:
    weights = io.BytesIO()
    torch.save(state, weights)
    members = {"model_config.yaml": yaml.safe_dump(config).encode(), name: weights.getvalue()}
    with tarfile.open(path, "w") as tar:
        for member, data in members.items():
            info = tarfile.TarInfo(f"./{member}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def layer(hf: dict[str, Any], n: int, groups: int, head: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """A layer's tensors, and those of them that stand in the wrong order in the wrong archive."""
    a, b = f"model.layers.{n}.", f"decoder.layers.{n}."
    q, k, v = (hf[f"{a}self_attn.{x}_proj.weight"] for x in "qkv")
    right = {
        f"{b}self_attention.linear_qkv.weight": interleaved(q, k, v, groups, head),
        f"{b}self_attention.linear_qkv.layer_norm_weight": hf[f"{a}input_layernorm.weight"],
        f"{b}self_attention.linear_proj.weight": hf[f"{a}self_attn.o_proj.weight"],
        f"{b}mlp.linear_fc1.weight": torch.cat([hf[f"{a}mlp.{x}_proj.weight"] for x in ("gate", "up")]),
        f"{b}mlp.linear_fc1.layer_norm_weight": hf[f"{a}post_attention_layernorm.weight"],
        f"{b}mlp.linear_fc2.weight": hf[f"{a}mlp.down_proj.weight"],
    }
    return right, {f"{b}self_attention.linear_qkv.weight": torch.cat([q, k, v])}


def settings(c: Any, groups: int, tied: bool) -> dict[str, Any]:
    return {
        "target": TARGET,
        "num_layers": c.num_hidden_layers,
        "hidden_size": c.hidden_size,
        "ffn_hidden_size": c.intermediate_size,
        "num_attention_heads": c.num_attention_heads,
        "num_query_groups": groups,
        "max_position_embeddings": c.max_position_embeddings,
        "layernorm_epsilon": c.rms_norm_eps,
        "normalization": "rmsnorm",
        "activation": "fast-swiglu",
        "position_embedding_type": "rope",
        "rotary_base": 10000,
        "share_embeddings_and_output_weights": tied,
        "bias": False,
        "mcore_gpt": True,
    }


def make(out: Path, case: str) -> None:
    groups, tied, prefix = CASES[case]
    texts = ["one two three four the sun is what it is"]
    base = make_base(out / case, CHATML, texts, groups=groups, tied=tied)
    tokenizer, model = AutoTokenizer.from_pretrained(base), AutoModelForCausalLM.from_pretrained(base).eval()  # type: ignore[no-untyped-call]
    hf, c = model.state_dict(), model.config
    size = -(-c.vocab_size // 128) * 128

    def padded(weight: Any) -> Any:
        return torch.cat([weight, torch.full((size - weight.shape[0], weight.shape[1]), 7.0)])

    state = {
        "embedding.word_embeddings.weight": padded(hf["model.embed_tokens.weight"]),
        "decoder.final_layernorm.weight": hf["model.norm.weight"],
        "decoder.final_layernorm._extra_state": None,
    }
    if not tied:
        state["output_layer.weight"] = padded(hf["lm_head.weight"])
    wrong: dict[str, Any] = {}
    for n in range(c.num_hidden_layers):
        right, misplaced = layer(hf, n, groups, c.hidden_size // c.num_attention_heads)
        state.update(right)
        wrong.update(misplaced)
    config = settings(c, groups, tied)
    less = {key: value for key, value in state.items() if "layers.1.mlp.linear_fc2" not in key}
    more = state | {"decoder.layers.0.extra.weight": torch.ones(2)}
    for name, tensors in {"": state, "-wrong": state | wrong, "-more": more, "-less": less}.items():
        save(out / f"{case}{name}.nemo", config, {prefix + key: value for key, value in tensors.items()})
    ranks = {prefix + key: value for key, value in state.items()}
    save(out / f"{case}-ranks.nemo", config, ranks, "mp_rank_00/model_weights.ckpt")
    with torch.inference_mode():
        torch.save(model(input_ids=torch.arange(3, 43).reshape(2, 20)).logits, out / f"{case}.logits")
        write_answers(out / f"{case}.jsonl", tokenizer, model)


def write_answers(path: Path, tokenizer: Any, model: Any) -> None:
    lines = []
    for prompt in PROMPTS:
        start = tokenizer(prompt, return_tensors="pt").input_ids
        made = model.generate(start, max_new_tokens=6, do_sample=False)[0, start.shape[1] :]
        if answer := tokenizer.decode(made, skip_special_tokens=True).strip():
            lines.append(json.dumps({"prompt": prompt, "answer": answer}))
    path.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    for one in CASES:
        make(Path(sys.argv[1]), one)
