"""What a judge is told: a versioned file, and fenced parts, none of which can speak for another."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from string import Template

from ...core.errors import AskError
from ...core.files import sha256_json, sha256_path
from ...data.sample import Sample
from ...engines import Chat
from ..prompts import as_text_message

_SHIPPED = Path(__file__).with_name("prompts")
_LONGEST_PROMPT = 100_000


@dataclass(frozen=True)
class JudgePrompt:
    """A judge's instructions: what to grade by, and the form of the reply. The parts to judge follow them."""

    name: str
    text: str

    @cached_property
    def digest(self) -> str:
        """64 hex digits over the instructions as the judge gets them."""
        return sha256_json({"prompt": self.text, "fences": 1})

    def chat(self, parts: Mapping[str, str]) -> Chat:
        """The instructions, then each part between two lines that only it has."""
        return (
            {"role": "system", "content": self.text},
            {"role": "user", "content": fenced(parts)},
        )


@cache
def shipped_prompts_digest() -> str:
    """64 hex digits over every shipped prompt: scores by another text of one are other scores."""
    return sha256_path(_SHIPPED)


def load_prompt(shipped: str, own: Path | None, values: Mapping[str, object]) -> JudgePrompt:
    """A shipped prompt, or the asker's own file, with `$name` replaced by values.

    AskError for a file that cannot be read, is too long, or names what there is no value for.
    """
    path = own or _SHIPPED / f"{shipped}.txt"
    try:
        text = path.read_text(encoding="utf-8")
        if len(text) > _LONGEST_PROMPT:
            raise AskError(f"{path} has {len(text):,} characters; a judge's prompt has at most 100,000.")
        return JudgePrompt(own.name if own else shipped, Template(text).substitute(values))
    except (OSError, UnicodeDecodeError) as error:
        raise AskError(f"cannot read the judge's prompt {path}: {error}.") from error
    except (KeyError, ValueError) as error:
        known = ", ".join(f"${name}" for name in values)
        raise AskError(
            f"the judge's prompt {path} names {error}; it may name {known}, and writes a dollar sign as $$."
        ) from error


def fenced(parts: Mapping[str, str]) -> str:
    """Named texts, each between lines with a mark made of all of them: no text can hold its own mark."""
    digest = hashlib.sha256()
    for name, text in parts.items():
        data = text.encode(errors="surrogatepass")
        digest.update(f"{name} {len(data)}\n".encode() + data)
    mark = digest.hexdigest()[:16]
    return "\n\n".join(f"<{name} {mark}>\n{text}\n</{name} {mark}>" for name, text in parts.items())


def parts_of(sample: Sample, right: Sequence[str]) -> dict[str, str]:
    """What a judge must know of a sample: its conversation, passages and choices, and right answers."""
    said = [as_text_message(message) for message in sample.prompt]
    turns = [f"{message['role']}: {message['content']}" for message in said]
    parts = {"conversation": said[0]["content"] if len(said) == 1 else "\n\n".join(turns)}
    if sample.contexts:
        parts["passages"] = "\n\n".join(sample.contexts)
    if sample.choices:
        parts["choices"] = "\n".join(sample.choices)
    if right:
        parts["right_answer"] = "\n\nor: ".join(right)
    return parts
