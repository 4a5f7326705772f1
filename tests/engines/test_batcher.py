"""The rows of a batch, with a tokenizer that decodes as ONNX Runtime GenAI does; what the file may import."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import opswright
from opswright.engines.ort_llm.generation import (
    GenerationJob,
    Sampling,
    TextPiece,
    _Generators,
    _Sequence,
)
from opswright.engines.ort_llm.prompts import chat_fault

PIECES = {1: "ab", 2: "cd", 3: "e", 4: None}  # 4: a byte that no character ends


class Stream:
    def decode(self, token: int) -> str:
        return PIECES[token] or ""


class Tokenizer:
    """Ends a whole text at bytes that are no character, and leaves them out of its pieces."""

    def create_stream(self) -> Stream:
        return Stream()

    def decode(self, tokens: list[int]) -> str:
        text = ""
        for token in tokens:
            piece = PIECES[token]
            if piece is None:
                return text + "\ufffd"
            text += piece
        return text


def answer(tokens: list[int], streamed: bool = False, **fields: Any) -> tuple[str, str, str]:
    """The text, the reason and what was told, of a row that makes these tokens."""
    told: list[str] = []
    ended: list[tuple[str, str]] = []
    job = GenerationJob(
        on_done=lambda text, reason, read, made: ended.append((text, reason)),
        on_error=lambda error: None,
        on_text=told.append if streamed else None,
        tokens=[0],
        **{"max_tokens": 99, **fields},
    )
    row = _Sequence(job, Tokenizer(), limit=99)
    for token in tokens:
        if (reason := row.take(token, is_end=False)) is not None:
            break
    else:
        reason = row.take(0, is_end=True) or ""
    row.finish(reason, Tokenizer())
    (done,) = ended
    return (*done, "".join(told))


def test_a_stream_tells_the_text_that_would_have_come_whole() -> None:
    for tokens in ([1, 2, 3], [1, 4], [1, 4, 2, 3], [4], []):
        whole, _, _ = answer(tokens)
        assert answer(tokens, streamed=True) == (whole, "stop", whole)


def test_nothing_is_lost_after_bytes_that_are_no_character() -> None:
    assert answer([1, 4, 2, 3])[0] == "abcde"
    assert answer([1, 4])[0] == "ab\ufffd"  # cut within a character


def test_of_several_stop_strings_the_one_that_comes_first_in_the_text_ends_it() -> None:
    assert answer([1, 2, 3], stop=("cd", "bc")) == ("a", "stop", "")
    assert answer([1, 2, 3], streamed=True, stop=("cd", "bc")) == ("a", "stop", "a")
    assert answer([1, 2, 3], stop=("never",))[:2] == ("abcde", "stop")


def test_as_many_tokens_as_were_allowed_is_a_cut() -> None:
    assert answer([1, 2, 3], max_tokens=2) == ("abcd", "length", "")


@pytest.mark.parametrize(
    ("chat", "fault"),
    [
        ([{"role": "user", "content": ""}], None),
        ([], "no messages"),
        ("text", "no role"),
        ({"role": "user"}, "no messages"),
        ([{"role": "user", "content": 1}], "no content"),
        ([{"role": "user", "content": "a\0"}], "NUL"),
        ([{"role": "user", "content": "\ud800"}], "surrogate"),
    ],
)
def test_what_is_no_chat_is_told_apart(chat: Any, fault: str | None) -> None:
    found = chat_fault(chat)
    assert (found is None) if fault is None else (found is not None and fault in found)


def _run_at_import(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node but those that only a type checker reads."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield node
            yield from _run_at_import(node)


def test_what_tritons_python_runs_imports_nothing_of_opswright() -> None:
    folder = Path(opswright.__file__).parent / "engines" / "ort_llm"
    known = {
        "numpy",
        "onnxruntime_genai",
        "triton_python_backend_utils",
        "batcher",
        "generation",
        "prompts",
        *sys.stdlib_module_names,
    }
    for path in folder.glob("*.py"):
        for node in _run_at_import(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path.name} imports relatively"
                names = [node.module or ""]
            assert {name.split(".")[0] for name in names} <= known, path.name


class Generator:
    """Counts up from its last token; keeps one number too many after rewinding when it is forgetful."""

    def __init__(self, is_forgetful: bool) -> None:
        self.is_forgetful, self.tokens, self.rewound = is_forgetful, [0], 0

    def append_tokens(self, tokens: Any) -> None:
        self.tokens = [*self.tokens, *tokens[0].tolist()]

    def rewind_to(self, length: int) -> None:
        self.tokens = self.tokens[-1:] if self.is_forgetful else [0][:0]
        self.rewound += 1

    def generate_next_token(self) -> None:
        self.tokens.append(len(self.tokens))

    def is_done(self) -> bool:
        return False

    def get_sequence(self, row: int) -> Any:
        import numpy

        return numpy.array(self.tokens)


class Shelf(_Generators):
    """The generators that are kept, with ones of a test."""

    def __init__(self, is_forgetful: bool = False, layers: int = 2) -> None:
        config = {"num_hidden_layers": layers, "num_key_value_heads": 2, "head_size": 8}
        super().__init__(None, {"decoder": config})
        self.is_forgetful = is_forgetful
        self.made: list[Generator] = []

    def _new(self, tokens: Any, length: int, sampling: Sampling) -> Generator:
        made = Generator(self.is_forgetful)
        made.tokens = tokens[0].tolist()
        self.made.append(made)
        return made


def ask_twice(shelf: Shelf, **sampling: float) -> tuple[Any, Any]:
    """The generators of two batches of one shape, the second asked for when the first is given back."""
    import numpy

    tokens = numpy.array([[1, 2, 3]])
    first, give_back = shelf.lease(tokens, 20, 256, Sampling(**sampling))  # type: ignore[arg-type]
    give_back()
    second, _ = shelf.lease(tokens, 24, 256, Sampling(**sampling))  # type: ignore[arg-type]
    return first, second


def test_a_generator_that_was_given_back_serves_the_next_batch_of_its_shape() -> None:
    shelf = Shelf()
    first, second = ask_twice(shelf)
    assert first is second and second.tokens == [1, 2, 3]
    assert second.rewound == 3 and len(shelf.made) == 1  # the trial of rewinding, then each batch
    third, _ = shelf.lease(second.get_sequence(0)[None, :], 24, 256, Sampling())  # the second is still out
    assert third is not second


def test_a_generator_is_used_once_where_its_seed_its_size_or_its_model_forbids_more() -> None:
    for shelf, sampling in ((Shelf(), {"temperature": 1.0}), (Shelf(layers=10**7), {}), (Shelf(True), {})):
        first, second = ask_twice(shelf, **sampling)
        assert first is not second and second.rewound == 0


def test_generators_that_wait_take_no_more_than_their_share_of_memory() -> None:
    import numpy

    shelf = Shelf(layers=400)
    leases = [shelf.lease(numpy.ones((1, 3), int), 250, 256, Sampling()) for _ in range(9)]
    for _, give_back in leases:
        give_back()
    assert len(leases) > len(shelf._idle) > 0


@pytest.mark.parametrize("stop", [(), ("cda",), ("e", "nothing like it")])
def test_pieces_tell_each_token_once_and_not_before_its_text(stop: tuple[str, ...]) -> None:
    told: list[TextPiece] = []
    job = GenerationJob(
        on_done=lambda text, reason, read, made: None,
        on_error=lambda error: None,
        on_text=told.append,
        tokens=[0],
        max_tokens=99,
        stop=stop,
        top_logprobs=0,
    )
    row, seen = _Sequence(job, Tokenizer(), limit=99), ""
    for token in (1, 2, 3, 4, 1, 2):
        job.logprobs.append({"token": token})
        if row.take(token, is_end=False) is not None:
            break
        seen += PIECES[token] or ""
        assert len("".join(told)) <= len(seen)
    row.finish("stop", Tokenizer())
    assert [one for piece in told for one in piece.logprobs] == job.logprobs
    assert "".join(told) == row.text
