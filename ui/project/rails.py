"""Rails for a domain: the general ones that leave the domain's own questions and answers alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.files import write_atomically
from ...data.profile import prompt_text
from ...data.sample import Sample
from ...serving.rails.patterns import PiiKind, has_pii
from ...serving.rails.text_forms import plain_form

_KINDS: tuple[PiiKind, ...] = ("email", "card", "iban", "us_ssn", "phone", "secret")
_MOST_PASS = 200
_ROOM = 2  # times the longest text of the data
_LEAST_CHARACTERS, _MOST_CHARACTERS = 500, 20_000
_FLOWS = """# The flows of these rails (NeMo Guardrails, Colang 1.0). What they look for is in config.yml.

define bot refuse to respond
  "I can't help with that here."

define subflow check user message
  $outcome = execute apply_rails(direction="input", text=$user_message)
  if $outcome.is_blocked
    bot refuse to respond
    stop

define subflow check bot message
  $outcome = execute apply_rails(direction="output", text=$bot_message)
  if $outcome.is_blocked
    bot refuse to respond
    stop
"""


@dataclass(frozen=True)
class DomainRails:
    """A guardrails config, what it must let pass and block, and what was left out of it, in words."""

    config: dict[str, Any]
    must_pass: tuple[str, ...]
    must_block: tuple[dict[str, Any], ...]
    left_out: tuple[str, ...]

    def write(self, folder: Path, mode: int) -> None:
        """Write config/, must_pass.jsonl and must_block.jsonl; mode: who may read the latter two."""
        import yaml

        (folder / "config").mkdir(parents=True)
        text = yaml.safe_dump(self.config, sort_keys=False, allow_unicode=True, width=110)
        (folder / "config" / "config.yml").write_text(text, encoding="utf-8")
        (folder / "config" / "rails.co").write_text(_FLOWS, encoding="utf-8")
        passing = ({"text": text, "direction": "input"} for text in self.must_pass)
        for name, rows in (("must_pass", passing), ("must_block", iter(self.must_block))):
            lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            write_atomically(folder / f"{name}.jsonl", lines.encode(), mode)


def personal_data(text: str) -> Iterator[str]:
    """The kinds of personal data and secrets that a text holds, by pattern."""
    plain = plain_form(text)
    return (kind for kind in _KINDS if has_pii(kind, plain))


def domain_rails(samples: Sequence[Sample], longest: int) -> DomainRails:
    """The general rails without what would block the samples themselves.

    A kind of personal data that a sample holds is let pass; injection patterns that match one are left out.
    longest: characters of the longest text of the data.
    """
    from ...serving.rails import SHIPPED, read_config
    from ...serving.rails.patterns import RailSet

    raw, _ = read_config(SHIPPED / "config")
    shipped = raw["custom_data"]["rails"]
    asked = [prompt_text(sample) for sample in samples]
    answered = [sample.answer or "" for sample in samples]
    left_out = []
    harmless = [text for text in asked if text.strip()]
    injection = dict(shipped["injection"])
    kept = [pattern for pattern in injection["patterns"] if not _matches(pattern, harmless, RailSet)]
    if len(kept) < len(injection["patterns"]):
        gone = len(injection["patterns"]) - len(kept)
        left_out.append(f"{gone} patterns of prompt injection, which match questions of the data")
    kinds = {side: _kinds_not_in(texts) for side, texts in (("questions", asked), ("answers", answered))}
    for side, found in kinds.items():
        if held := [kind for kind in _KINDS if kind not in found]:
            left_out.append(f"personal data that the {side} of the data hold: {', '.join(held)}")
    both = [kind for kind in kinds["questions"] if kind in kinds["answers"]]
    room = min(max(_ROOM * longest, _LEAST_CHARACTERS), _MOST_CHARACTERS)
    rails: dict[str, Any] = {
        "input": ["length", *(["injection"] if kept else []), *(["pii"] if both else [])],
        "output": ["length", *(["pii"] if both else [])],
        "length": {"max_characters": room, "message": f"Please send at most {room:,} characters."},
    }
    if kept:
        rails["injection"] = {**injection, "patterns": kept}
    if both:
        rails["pii"] = {"message": shipped["pii"]["message"], "kinds": both}
    config = {**raw, "custom_data": {"rails": rails}}
    passing = tuple(dict.fromkeys(text for text in harmless if len(text) <= room))[:_MOST_PASS]
    return DomainRails(config, passing, tuple(_attacks(RailSet, rails)), tuple(left_out))


def _kinds_not_in(texts: Iterable[str]) -> list[PiiKind]:
    held = {kind for text in texts for kind in personal_data(text)}
    return [kind for kind in _KINDS if kind not in held]


def _matches(pattern: str, texts: Sequence[str], rail_set: Any) -> bool:
    """Whether a pattern alone objects to one of the texts."""
    rails = {"input": ["length", "injection"], "output": ["length"], "injection": {"patterns": [pattern]}}
    alone = rail_set.read({**rails, "length": {"max_characters": _MOST_CHARACTERS}}, "a pattern")
    hits = (alone.find("input", text) for text in texts)
    return any(hit is not None and hit.rail == "injection" for hit in hits)


def _attacks(rail_set: Any, rails: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The shipped texts to block whose rail is still there and objects to them."""
    from ...serving.rails import SHIPPED

    what = rail_set.read(rails, "the rails")
    for line in (SHIPPED / "must_block.jsonl").read_text(encoding="utf-8").splitlines():
        case = json.loads(line)
        hit = what.find(case.get("direction", "input"), case["text"])
        if hit is not None and hit.rail == case.get("rail"):
            yield case
