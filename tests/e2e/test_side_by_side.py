"""Prompts that are answered together give what each gives alone, on small real models of several families."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from opswright.engines.greedy import GreedyDecoder
from opswright.engines.prompt_rows import PromptReader, can_pad
from opswright.engines.token_scores import SharedPromptScorer, WholeTextScorer

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
WORDS = 50
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": WORDS}

LONGROPE = {  # the longest text of a pass decides which factors all of them have
    "intermediate_size": 64,
    "max_position_embeddings": 256,
    "original_max_position_embeddings": 32,
    "rope_scaling": {"type": "longrope", "short_factor": [1.0] * 4, "long_factor": [8.0] * 4},
}


def model_of(family: str, **config: Any) -> Any:
    """A random model whose positions count: its weights are far from nought."""
    import torch
    import transformers

    torch.manual_seed(1)
    made = getattr(transformers, f"{family}Config")(**{**SIZES, **config}, eos_token_id=2, pad_token_id=0)
    model = transformers.AutoModelForCausalLM.from_config(made).eval()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.normal_(0, 0.4)
    return model


@pytest.fixture(scope="module")
def llama() -> Any:
    return model_of("Llama", intermediate_size=64)


def prompts_of_many_lengths(count: int = 16, shared: int = 0) -> list[list[int]]:
    draw = random.Random(4)
    first = [draw.randrange(3, WORDS) for _ in range(shared)]
    return [first + [draw.randrange(3, WORDS) for _ in range(draw.randint(1, 17))] for _ in range(count)]


def alone(model: Any, prompt: list[int], most: int) -> list[int]:
    """What transformers makes of one prompt."""
    import torch

    inputs = torch.tensor([prompt])
    made = model.generate(
        inputs, attention_mask=torch.ones_like(inputs), max_new_tokens=most, do_sample=False
    )
    tokens: list[int] = made[0, len(prompt) :].tolist()
    return tokens


def together(reader: Any, prompts: Sequence[list[int]], most: Sequence[int], rows: int = 8) -> dict[int, Any]:
    decoder = GreedyDecoder(reader, lambda tokens: tokens[-1] == 2, rows)
    return {one.number: one for one in decoder.decode(prompts, most)}


@pytest.mark.parametrize(
    ("family", "config", "takes_padding"),
    [
        ("Llama", {"intermediate_size": 64}, True),
        ("Qwen2", {"intermediate_size": 64, "num_key_value_heads": 2}, True),
        ("GPT2", {}, True),
        ("Mistral", {"intermediate_size": 64, "sliding_window": 4, "num_key_value_heads": 2}, False),
        ("Gemma2", {"intermediate_size": 64, "head_dim": 8, "num_key_value_heads": 2}, False),
        ("Bloom", {}, False),
        ("Falcon", {"alibi": True}, False),
        ("Mamba", {}, False),
        ("Phi3", LONGROPE, False),
    ],
)
def test_a_model_takes_padding_where_its_numbers_stay_as_they_are(
    family: str, config: dict[str, Any], takes_padding: bool
) -> None:
    assert can_pad(model_of(family, **config), "cpu") is takes_padding


def test_a_model_that_counts_padding_as_text_is_found_out() -> None:
    model = model_of("Llama", intermediate_size=64)
    forward = model.forward

    def deaf(input_ids: Any, position_ids: Any = None, logits_to_keep: int = 0, **named: Any) -> Any:
        return forward(input_ids, logits_to_keep=logits_to_keep, **named | {"attention_mask": None})

    assert can_pad(model, "cpu")
    model.forward = deaf
    assert not can_pad(model, "cpu")


@pytest.mark.parametrize("shared", [0, 30])
def test_greedy_tokens_are_those_of_each_prompt_alone(llama: Any, shared: int) -> None:
    prompts = prompts_of_many_lengths(shared=shared)
    most = [5 + number % 9 for number in range(len(prompts))]
    found = together(PromptReader(llama, "cpu"), prompts, most)
    assert sorted(found) == list(range(len(prompts)))
    for number, prompt in enumerate(prompts):
        assert found[number].error is None
        assert found[number].tokens == alone(llama, prompt, most[number])


def test_what_prompts_share_is_read_once(llama: Any) -> None:
    prompts, read = prompts_of_many_lengths(shared=30), []
    forward = llama.forward

    def noted(*given: Any, **named: Any) -> Any:
        read.append(given[0].numel())
        return forward(*given, **named)

    try:
        llama.forward = noted
        reader = PromptReader(llama, "cpu")
        reader.share(prompts)
        reader.read(prompts)
    finally:
        llama.forward = forward
    assert read[0] == 30 and read[1] <= 16 * 17


def test_one_prompt_that_is_the_beginning_of_the_others_is_still_read(llama: Any) -> None:
    prompts = [[7] * 20, *([7] * 20 + [number] for number in range(3, 40))]
    found = together(PromptReader(llama, "cpu"), prompts, [4] * len(prompts), rows=64)
    assert found[0].tokens == alone(llama, prompts[0], 4)


class Failing(PromptReader):
    """Fails while it reads a certain prompt."""

    def read(self, prompts: Sequence[list[int]]) -> Any:
        if any(prompt[-1] == 49 for prompt in prompts):
            raise RuntimeError("out of memory")
        return super().read(prompts)


def test_a_pass_that_fails_is_the_failure_of_its_prompts_alone(llama: Any) -> None:
    prompts = [[5, 6, 7], [5, 6], [9, 8, 7, 6, 49], [4]]
    found = together(Failing(llama, "cpu"), prompts, [3] * 4, rows=1)
    assert found[2].error == "RuntimeError: out of memory"
    assert [found[number].tokens for number in (0, 1, 3)] == [
        alone(llama, prompts[number], 3) for number in (0, 1, 3)
    ]


@pytest.mark.parametrize("shared", [0, 30])
def test_scores_of_texts_in_one_row_are_those_of_each_text_alone(llama: Any, shared: int) -> None:
    draw = random.Random(5)
    prompts = prompts_of_many_lengths(shared=shared)
    texts = [
        [
            [draw.randrange(3, WORDS) for _ in range(draw.choice((1, 2, 5, 70)))]
            for _ in range(draw.randint(0, 9))
        ]
        for _ in prompts
    ]
    quick = {
        one.number: one.scores
        for one in SharedPromptScorer(PromptReader(llama, "cpu"), WORDS).score(prompts, texts)
    }
    plain = {one.number: one.scores for one in WholeTextScorer(llama, "cpu", WORDS).score(prompts, texts)}
    assert quick.keys() == plain.keys() == set(range(len(prompts)))
    for number, some in enumerate(texts):
        assert len(quick[number]) == len(plain[number]) == len(some)
        for one, other in zip(quick[number], plain[number], strict=True):
            assert one.logprob == pytest.approx(other.logprob, abs=1e-3)
            assert one.is_greedy == other.is_greedy


def test_a_greedy_text_is_told_apart_from_one_that_is_nearly_so(llama: Any) -> None:
    prompt = [5, 6, 7]
    said = alone(llama, prompt, 4)
    other = [*said[:3], (said[3] + 1) % WORDS]
    scorer = SharedPromptScorer(PromptReader(llama, "cpu"), WORDS)
    (found,) = scorer.score([prompt], [[said, other, said[:1]]])
    assert [one.is_greedy for one in found.scores] == [True, False, True]


@pytest.mark.parametrize(("family", "config"), [("Llama", {"intermediate_size": 64}), ("GPT2", {})])
def test_the_last_feed_forward_reads_the_last_token_of_a_prompt_alone(
    family: str, config: dict[str, Any]
) -> None:
    model, read = model_of(family, **config), []
    parts = [module for name, module in model.named_modules() if name.endswith(".mlp")]
    reader = PromptReader(model, "cpu")
    for part in parts:
        part.register_forward_hook(lambda _, given, made: read.append(made.shape[1]))
    _, logits = reader.read([[5, 6, 7], [8, 9]])
    assert read == [3, 1]
    assert logits.argmax(-1).tolist() == [alone(model, prompt, 1)[0] for prompt in ([5, 6, 7], [8, 9])]
    read.clear()
    alone(model, [5, 6, 7], 1)
    assert read == [3, 3]  # elsewhere the model is as it was
