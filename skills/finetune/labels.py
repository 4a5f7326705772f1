"""The label check: before any training, what a sample of rows would really teach is decoded and compared.

A wrong chat template masks the answer's first token, teaches the role header or leaves out the end token.
None of that shows in the loss, which falls just as well.
"""

from __future__ import annotations

import json
import re
import signal
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.errors import AskError
from .chat_rows import arguments_of, chat_rows, has_marks, tools_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_FIX = (
    "Give the tokenizer a chat template that wraps exactly the assistant's text and its end token in "
    "{% generation %} ... {% endgeneration %}, or start from a base that has one."
)
_ROWS = 64  # that are looked at
_ROW_S = 10  # for one row's rendering: a template is a program, and may not end
Part = str | Mapping[str, Any]


@dataclass(frozen=True)
class LabelCheck:
    """Rows whose supervised text was compared, and those of them that differ in a way the base makes.

    `altered` rows lose white space around the assistant's text, or are normalised (Unicode NFC), by the
    base's own chat template or tokenizer. ends: ids of the tokens that end an answer.
    """

    rows: int
    altered: int = 0
    ends: tuple[int, ...] = ()

    def in_words(self, name: str) -> list[str]:
        """What was found, a line each."""
        rows = f"{self.rows} rows of {name} checked"
        lines = [f"labels of {rows}: only what the assistant says and its end are learnt"]
        if self.altered:
            lines.append(
                f"{self.altered} of {rows} are altered by the base's own chat template or tokenizer: white "
                "space around the answer is cut, or its Unicode is normalised"
            )
        return lines


def check_labels(data: Path, tokenizer: PreTrainedTokenizerBase, last_turn_only: bool = False) -> LabelCheck:
    """Check, on rows spread over a file, that just what the assistant says and its end token are supervised.

    Raises AskError that shows the first row which differs, or on which the chat template fails.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise AskError(f"the base's tokenizer has no chat template. {_FIX}")
    chats = chat_rows(
        data,
        tokenizer,
        mask_generation_prompt=not has_marks(tokenizer.chat_template),
        last_turn_only=last_turn_only,
    )
    specials = special_tokens(tokenizer)
    numbers = spread(len(chats), _ROWS)
    altered, ends = 0, set()
    for number in numbers:
        with one_row(data, number):
            row, labels = chats.dataset[number], chats[number]["labels"]
            runs = list(_runs(labels))
            taught = [str(tokenizer.decode(run)) for run in runs]
            wanted = said(row["messages"], last_turn_only)
            problem = difference(wanted, taught, list(specials)) or _left_out(tokenizer, row)
        if problem:
            raise AskError(f"{data.name}, row {number + 1} has wrong labels: {problem} {_FIX}")
        altered += any(_is_altered(parts, run) for parts, run in zip(wanted, taught, strict=True))
        ends |= {next(label for label in reversed(run) if label in specials.values()) for run in runs}
    return LabelCheck(len(numbers), altered, tuple(sorted(ends)))


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """The special tokens of a tokenizer with their ids, those it has no name for (`<|end|>`) among them."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    found = {str(token): int(number) for number, token in added.items() if token.special}
    named = zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True)
    return found | {str(token): int(number) for token, number in named}


@contextmanager
def one_row(data: Path, number: int) -> Iterator[None]:
    """Say which row it was when a chat template raises or does not end; rows count from 0."""

    def over(*_: object) -> None:
        raise TimeoutError(f"the chat template did not end within {_ROW_S} s")

    before = signal.signal(signal.SIGPROF, over)
    signal.setitimer(signal.ITIMER_PROF, _ROW_S)  # CPU time: a busy machine is no endless template
    try:
        yield
    except AskError:
        raise
    except Exception as error:  # a template raises whatever it likes; AutoModel, ValueError
        why = f"{type(error).__name__}: {error}"
        raise AskError(
            f"{data.name}, row {number + 1} cannot be rendered by the base's chat template: {why[:600]}. "
            "Change the row, or give the tokenizer a chat template that takes such rows."
        ) from error
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def said(messages: Sequence[Mapping[str, Any]], last_turn_only: bool = False) -> list[tuple[Part, ...]]:
    """What the assistant says, turn by turn: its reasoning and text, and its tool calls."""
    turns = []
    for message in messages:
        if message["role"] == "assistant":
            texts = [message.get("reasoning_content"), _text(message.get("content"))]
            calls = message.get("tool_calls") or []
            parts = [text for text in texts if text and (text.strip() or not calls)]
            turns.append((*parts, *(call["function"] for call in calls)) or ("",))
    return turns[-1:] if last_turn_only else turns


def _text(content: Any) -> str:
    """A message's content as AutoModel gives it to a template: the parts of text, joined by spaces."""
    if isinstance(content, list):
        return " ".join(part["text"] for part in content if isinstance(part, dict) and "text" in part)
    return "" if content is None else str(content)


def _left_out(tokenizer: PreTrainedTokenizerBase, row: Mapping[str, Any]) -> str:
    """The first tool of a row that its chat template does not show the model, in words."""
    tools: Any = tools_of(row)
    if not tools:
        return ""
    rendered = str(tokenizer.apply_chat_template(row["messages"][:1], tools=tools, tokenize=False))
    for tool in tools:
        name = str(tool.get("function", tool).get("name", ""))
        if name and name not in rendered:
            return f"the chat template leaves out the tool {name!r}, which the row offers."
    return ""


def _is_altered(parts: tuple[Part, ...], run: str) -> bool:
    return any(isinstance(part, str) and part not in run for part in parts)


def spread(rows: int, sample: int) -> list[int]:
    """At most `sample` row numbers, evenly over `rows`, the first and last among them."""
    if rows <= sample:
        return list(range(rows))
    return sorted({round(i * (rows - 1) / (sample - 1)) for i in range(sample)})


def _runs(labels: Sequence[int]) -> Iterator[list[int]]:
    """The unbroken runs of supervised labels."""
    run: list[int] = []
    for label in [*labels, -100]:
        if label != -100:
            run.append(label)
        elif run:
            yield run
            run = []


def difference(wanted: Sequence[str | tuple[Part, ...]], taught: Sequence[str], ends: Sequence[str]) -> str:
    """What is wrong with the texts that would be taught, or an empty string.

    wanted: what the assistant says, its text or the parts of a turn (texts, and calls with `name` and
    `arguments`); taught: the decoded supervised stretches; ends: tokens that may end one.
    White space around a text, and its Unicode normalisation, are the template's and the tokenizer's affair.
    """
    if len(wanted) != len(taught):
        return (
            f"it has {len(wanted)} assistant messages, {len(taught)} stretches are supervised ({taught!r})."
        )
    for turn, run in zip(wanted, taught, strict=True):
        parts = (turn,) if isinstance(turn, str) else turn
        end = next((token for token in ends if run.rstrip().endswith(token)), None)
        if end is None:
            return f"the supervised text {run!r} has no end token, so the model would not learn to stop."
        body = unicodedata.normalize("NFC", run.rstrip().removesuffix(end)).strip()
        if len(parts) == 1 and isinstance(parts[0], str):
            if body != unicodedata.normalize("NFC", parts[0]).strip():
                return f"the assistant says {parts[0]!r}, supervised is {run!r}."
        elif problem := _missing(parts, body):
            return f"{problem} Supervised is {run!r}."
    return ""


def _missing(parts: Sequence[Part], body: str) -> str:
    """The first part of a turn that the supervised text lacks, in words."""
    rest = body
    for part in parts:
        text = part if isinstance(part, str) else str(part["name"])
        text = unicodedata.normalize("NFC", text).strip()
        if text not in rest:
            what = "the assistant says" if isinstance(part, str) else "the assistant calls"
            return f"{what} {text!r}, which the chat template leaves out or puts elsewhere."
        if not isinstance(part, str) and (problem := _arguments_missing(part, body)):
            return problem
        rest = rest[rest.index(text) + len(text) :] if isinstance(part, str) else rest
    return ""


def _arguments_missing(function: Mapping[str, Any], body: str) -> str:
    arguments = arguments_of({"function": function})
    if not arguments or _holds_json(body, arguments):
        return ""
    if any(re.search(rf'\\+"{re.escape(str(key))}\\+"', body) for key in arguments):
        return "the chat template writes a tool call's arguments as JSON within a JSON text."
    missing = next((leaf for leaf in _leaves(arguments) if str(leaf) not in body), None)
    return "" if missing is None else f"the argument {missing!r} of a tool call is not in what is taught."


def _holds_json(text: str, wanted: Any) -> bool:
    """Whether a text holds the JSON of an object, also within another."""
    decoder, at = json.JSONDecoder(), text.find("{")
    while at >= 0:
        try:
            if decoder.raw_decode(text, at)[0] == wanted:
                return True
        except (json.JSONDecodeError, RecursionError):
            pass
        at = text.find("{", at + 1)
    return False


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from _leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner)
    elif value is not None and not isinstance(value, bool):
        yield value
