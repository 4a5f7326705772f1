"""Log-likelihoods of a real, small checkpoint, against whole sequences read one by one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from opswright.engines.checkpoint import CheckpointEngine

from .tiny_engines import tokenizer

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
CHATS = [
    ({"role": "user", "content": "transfer money"},),
    ({"role": "user", "content": "what is the weather today"},),
    ({"role": "system", "content": "my card"}, {"role": "user", "content": "card lost"}),
]
CHOICES = ["savings account", "the weather", "pin", "stolen card please"]


def save(folder: Path, template: str | None = None, **config: Any) -> Path:
    """A random Llama of 0.3 M parameters."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    words = tokenizer()
    if template is not None:
        words.chat_template = template
    torch.manual_seed(3)
    sizes: dict[str, Any] = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    model = LlamaForCausalLM(  # type: ignore[no-untyped-call]
        LlamaConfig(
            vocab_size=len(words), max_position_embeddings=64, eos_token_id=2, pad_token_id=0, **sizes
        )
    )
    with torch.no_grad():
        model.lm_head.weight.normal_(0, 1)
        for token in range(len(words)):
            if not words.decode([token]).strip().isalpha():  # a part of a character, a mark: never said
                model.lm_head.weight[token] = 0
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> CheckpointEngine:
    return CheckpointEngine(save(tmp_path_factory.mktemp("model")), "cpu", 1)


def one_by_one(engine: CheckpointEngine, chat: Any, text: str) -> float:
    """The log-probability of a text after a chat, the whole read at once."""
    import torch

    prompt = engine.tokenizer.apply_chat_template(
        [dict(m) for m in chat], add_generation_prompt=True, tokenize=False
    )
    context, whole = (
        engine.tokenizer(one, add_special_tokens=False)["input_ids"] for one in (prompt, f"{prompt} {text}")
    )
    with torch.inference_mode():
        logprobs = engine.model(torch.tensor([whole])).logits[0].float().log_softmax(-1)
    return float(sum(logprobs[at - 1, whole[at]] for at in range(len(context), len(whole))))


@pytest.mark.parametrize("takes_padding", [True, False])
def test_likelihoods_are_those_of_whole_sequences_with_the_templates_own_space(
    engine: CheckpointEngine, takes_padding: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert engine._takes_padding
    monkeypatch.setitem(engine.__dict__, "_takes_padding", takes_padding)
    told: list[tuple[int, int]] = []
    found = engine.loglikelihood(CHATS, [CHOICES] * 3, progress=lambda done, of: told.append((done, of)))
    for chat, scored in zip(CHATS, found, strict=True):
        for text, one in zip(CHOICES, scored, strict=True):
            assert one.error is None and one.tokens >= 1
            assert one.logprob == pytest.approx(one_by_one(engine, chat, text), abs=1e-3)
    assert told[-1] == (3, 3)
    assert [engine.loglikelihood([chat], [CHOICES])[0][0].logprob for chat in CHATS] == pytest.approx(
        [scored[0].logprob for scored in found], abs=1e-3
    )


def test_what_greedy_generation_begins_with_is_greedy(engine: CheckpointEngine) -> None:
    from opswright.engines import GenerationOptions

    said = [str(one.text) for one in engine.generate(CHATS, GenerationOptions(max_tokens=1))]
    found = engine.loglikelihood(CHATS, [[text, "pin pin"] for text in said], prefix="")
    assert [(one.tokens, one.is_greedy, other.is_greedy) for one, other in found] == [(1, True, False)] * 3


def test_a_penalty_in_the_generation_config_counts(engine: CheckpointEngine, tmp_path: Path) -> None:
    from transformers import GenerationConfig

    from opswright.engines import GenerationOptions

    folder, options = save(tmp_path), GenerationOptions(max_tokens=12)
    GenerationConfig(repetition_penalty=9.0, eos_token_id=2, pad_token_id=0).save_pretrained(folder)  # type: ignore[no-untyped-call]
    chats = [({"role": "user", "content": "pin pin pin pin"},), *CHATS]
    penalised = [one.text for one in CheckpointEngine(folder, "cpu", 1).generate(chats, options)]
    assert penalised != [one.text for one in engine.generate(chats, options)]


def test_a_cut_inside_a_token_is_refused_and_the_others_are_scored(
    engine: CheckpointEngine, tmp_path: Path
) -> None:
    open_end = "{% for m in messages %}{{ m['content'] }}{% endfor %}"  # the prompt ends inside a word
    cut = CheckpointEngine(save(tmp_path, open_end), "cpu", 1)
    found = cut.loglikelihood(
        [({"role": "user", "content": "my sav"},)], [["ings account", " money"]], prefix=""
    )
    assert "a token spans the end of the prompt" in str(found[0][0].error)
    assert found[0][1].error is None
    lost = cut.loglikelihood([({"role": "user", "content": ""},)], [["pin"]])
    assert lost[0][0].error is not None


def test_what_cannot_be_scored_says_why(engine: CheckpointEngine) -> None:
    chats = [CHATS[0], ({"role": "user", "content": "pin " * 70},), ({"role": "user", "content": "a\0b"},)]
    found = engine.loglikelihood(chats, [["", "pin", "lost " * 70], ["pin"], ["pin"]])
    assert "where an answer begins" in str(
        found[0][0].error
    )  # the first choice shows the prefix: it is empty
    assert "this engine takes" in str(found[1][0].error) and "NUL" in str(found[2][0].error)
    found = engine.loglikelihood([CHATS[0]], [["pin", "", "lost " * 70]], prefix=" ")
    assert found[0][0].error is None and "this engine takes" in str(found[0][2].error)


def test_loading_a_checkpoint_leaves_the_process_online(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later step of the same process may have to download a base."""
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    CheckpointEngine(save(tmp_path), "cpu", 1)
    assert "HF_HUB_OFFLINE" not in os.environ
