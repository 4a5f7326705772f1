"""Dense Llama-like models of older NeMo (Megatron core) as Hugging Face names them: config and every tensor.

Names and the order of rows: `linear_qkv` holds, for each group of queries that share a key, the rows of the
queries, then of the key, then of the value; `linear_fc1` holds the gate, then the up projection. A wrong
order has the same shapes and loads, so shapes prove nothing: golden answers do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...core.errors import AskError

if TYPE_CHECKING:
    import torch

TARGETS = (
    "nemo.collections.nlp.models.language_modeling.megatron_gpt_model.MegatronGPTModel",
    "nemo.collections.nlp.models.language_modeling.megatron_gpt_sft_model.MegatronGPTSFTModel",
)
_PREFIXES = ("model.module.", "model.", "module.", "")
_LAYER = re.compile(r"decoder\.layers\.(\d+)\.(.+)")
_NOT_WEIGHTS = re.compile(r"(.*\._extra_state\d*|.*rotary_pos_emb\.inv_freq)")
_PLAIN = {
    "self_attention.linear_proj.weight": "self_attn.o_proj.weight",
    "self_attention.linear_qkv.layer_norm_weight": "input_layernorm.weight",
    "input_layernorm.weight": "input_layernorm.weight",
    "mlp.linear_fc1.layer_norm_weight": "post_attention_layernorm.weight",
    "pre_mlp_layernorm.weight": "post_attention_layernorm.weight",
    "mlp.linear_fc2.weight": "mlp.down_proj.weight",
}


@dataclass(frozen=True)
class LlamaShape:
    """The sizes of a dense Llama-like model."""

    layers: int
    hidden: int
    feed_forward: int
    heads: int
    groups: int
    head: int
    positions: int
    epsilon: float
    rope_theta: float
    tied: bool

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> LlamaShape:
        """The sizes that a NeMo config gives; AskError for a model that is not dense and Llama-like."""
        _refuse(config)
        heads = _count(config, "num_attention_heads")
        hidden = _count(config, "hidden_size")
        groups = config.get("num_query_groups") or heads
        head = config.get("kv_channels") or hidden // heads
        positions = config.get("max_position_embeddings") or config.get("encoder_seq_length")
        for name, value in (
            ("num_query_groups", groups),
            ("kv_channels", head),
            ("max_position_embeddings", positions),
        ):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise AskError(f"the archive's config has {name} {value!r}: expected a number above 0.")
        if heads % groups:
            raise AskError(f"the archive's config has {heads} heads in {groups} groups, which do not divide.")
        return cls(
            layers=_count(config, "num_layers"),
            hidden=hidden,
            feed_forward=_count(config, "ffn_hidden_size"),
            heads=heads,
            groups=groups,
            head=head,
            positions=int(positions or 0),
            epsilon=float(config.get("layernorm_epsilon", 1e-5)),
            rope_theta=float(config.get("rotary_base") or 10_000),
            tied=bool(config.get("share_embeddings_and_output_weights", True)),
        )

    def llama_config(self, vocabulary: int, dtype: str) -> dict[str, Any]:
        """The arguments of transformers' LlamaConfig."""
        return {
            "vocab_size": vocabulary,
            "hidden_size": self.hidden,
            "intermediate_size": self.feed_forward,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.groups,
            "head_dim": self.head,
            "max_position_embeddings": self.positions,
            "rms_norm_eps": self.epsilon,
            "rope_parameters": {"rope_type": "default", "rope_theta": self.rope_theta},
            "tie_word_embeddings": self.tied,
            "architectures": ["LlamaForCausalLM"],
            "dtype": dtype,
        }


def _count(config: Mapping[str, Any], name: str) -> int:
    value = config.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise AskError(f"the archive's config has {name} {value!r}: expected a number above 0.")
    return value


def _refuse(config: Mapping[str, Any]) -> None:
    """AskError, naming the setting, for a model that is more than dense Llama layers."""
    for name in ("tensor_model_parallel_size", "pipeline_model_parallel_size", "context_parallel_size"):
        if config.get(name) not in (None, 1):
            raise AskError(
                f"the archive's weights are split ({name} {config[name]}). Merge them with NeMo first; "
                "only 1 is read."
            )
    wanted: dict[str, tuple[Any, ...]] = {
        "normalization": ("rmsnorm", "RMSNorm"),
        "activation": ("fast-swiglu", "swiglu"),
        "position_embedding_type": ("rope",),
        "bias": (False,),
        "rotary_percentage": (None, 1, 1.0),
        "seq_len_interpolation_factor": (None, 1, 1.0),
        "scale_positional_embedding": (None, False),
        "num_moe_experts": (None, 0, 1),
        "apply_rope_scaling": (None, False),
        "window_size": (None,),
        "mcore_gpt": (None, True),
        "add_qkv_bias": (None, False),
        "qk_layernorm": (None, False),
        "layernorm_zero_centered_gamma": (None, False),
        "apply_layernorm_1p": (None, False),
        "rotary_interleaved": (None, False),
    }
    for name, values in wanted.items():
        if (found := config.get(name)) not in values:
            raise AskError(
                f"the archive is no dense Llama-like model: {name} is {found!r}, read are "
                f"{', '.join(map(repr, values))}."
            )


def to_llama(
    state: Mapping[str, torch.Tensor], shape: LlamaShape, vocabulary: int
) -> dict[str, torch.Tensor]:
    """Every tensor under its Hugging Face name.

    vocabulary: rows of the embedding that the tokenizer knows; what NeMo padded beyond is cut off. Raises
    AskError for a tensor that is left over or missing, or whose shape is not the config's.
    """
    prefix = next(p for p in _PREFIXES if p == "" or f"{p}embedding.word_embeddings.weight" in state)
    found: dict[str, torch.Tensor] = {}
    left = []
    for key, value in state.items():
        if _NOT_WEIGHTS.fullmatch(key):
            continue
        pairs = (
            list(_named(key.removeprefix(prefix), value, shape, vocabulary)) if key.startswith(prefix) else []
        )
        if not pairs:
            left.append(key)
        for name, tensor in pairs:
            if name in found:
                raise AskError(f"the archive has {name} twice; the second is '{key}'.")
            found[name] = tensor
    if left:
        raise AskError(
            f"{len(left)} tensors of the archive have no place in a Llama: {', '.join(sorted(left)[:5])}. "
            "Nothing is left out, so it is not imported."
        )
    wanted = dict(_shapes(shape, vocabulary))
    if missing := sorted(wanted.keys() - found.keys()):
        raise AskError(f"the archive lacks {len(missing)} tensors of its model: {', '.join(missing[:5])}.")
    for name, tensor in found.items():
        if name not in wanted:
            raise AskError(f"the archive has {name}, which its config has no place for.")
        if tuple(tensor.shape) != wanted[name]:
            raise AskError(
                f"{name} has shape {tuple(tensor.shape)}, expected {wanted[name]} by the archive's config."
            )
    return found


def _named(
    key: str, value: torch.Tensor, shape: LlamaShape, vocabulary: int
) -> Iterator[tuple[str, torch.Tensor]]:
    if key in ("embedding.word_embeddings.weight", "output_layer.weight"):
        if value.ndim != 2 or value.shape[0] < vocabulary:
            raise AskError(
                f"'{key}' has shape {tuple(value.shape)}, fewer rows than the tokenizer's {vocabulary} "
                "tokens. Is it this model's tokenizer?"
            )
        yield "model.embed_tokens.weight" if "embed" in key else "lm_head.weight", value[:vocabulary]
    elif key == "decoder.final_layernorm.weight":
        yield "model.norm.weight", value
    elif match := _LAYER.fullmatch(key):
        before, inner = f"model.layers.{int(match[1])}.", match[2]
        if inner in _PLAIN:
            yield before + _PLAIN[inner], value
        elif inner == "self_attention.linear_qkv.weight":
            for name, part in zip("qkv", split_qkv(value, shape), strict=True):
                yield f"{before}self_attn.{name}_proj.weight", part
        elif inner == "mlp.linear_fc1.weight":
            if value.shape[0] != 2 * shape.feed_forward:
                raise AskError(f"'{key}' has {value.shape[0]} rows, expected {2 * shape.feed_forward}.")
            yield f"{before}mlp.gate_proj.weight", value[: shape.feed_forward]
            yield f"{before}mlp.up_proj.weight", value[shape.feed_forward :]


def split_qkv(weight: torch.Tensor, shape: LlamaShape) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Queries (heads x head, hidden), keys and values (groups x head, hidden) of a `linear_qkv`."""
    per_group = shape.heads // shape.groups
    rows = shape.groups * (per_group + 2) * shape.head
    if tuple(weight.shape) != (rows, shape.hidden):
        raise AskError(f"linear_qkv has shape {tuple(weight.shape)}, expected {(rows, shape.hidden)}.")
    grouped = weight.reshape(shape.groups, per_group + 2, shape.head, shape.hidden)
    parts = (grouped[:, :per_group], grouped[:, per_group], grouped[:, per_group + 1])
    query, key, value = (part.reshape(-1, shape.hidden).contiguous() for part in parts)
    return query, key, value


def _shapes(shape: LlamaShape, vocabulary: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "model.embed_tokens.weight", (vocabulary, shape.hidden)
    yield "model.norm.weight", (shape.hidden,)
    if not shape.tied:
        yield "lm_head.weight", (vocabulary, shape.hidden)
    queries, keys = shape.heads * shape.head, shape.groups * shape.head
    for layer in range(shape.layers):
        before = f"model.layers.{layer}."
        yield f"{before}self_attn.q_proj.weight", (queries, shape.hidden)
        yield f"{before}self_attn.k_proj.weight", (keys, shape.hidden)
        yield f"{before}self_attn.v_proj.weight", (keys, shape.hidden)
        yield f"{before}self_attn.o_proj.weight", (shape.hidden, queries)
        yield f"{before}mlp.gate_proj.weight", (shape.feed_forward, shape.hidden)
        yield f"{before}mlp.up_proj.weight", (shape.feed_forward, shape.hidden)
        yield f"{before}mlp.down_proj.weight", (shape.hidden, shape.feed_forward)
        yield f"{before}input_layernorm.weight", (shape.hidden,)
        yield f"{before}post_attention_layernorm.weight", (shape.hidden,)
