"""The tools as a model is told of them: generated from the skills' request types, and short."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from ....core.contract import Skill
from ....core.plan import GATE_SKILL
from ....core.registry import Registry

PROPOSE, ASK, ANSWER, DECLINE = "propose_plan", "ask_person", "answer_person", "decline"
DESCRIBE = "describe_skills"
ENDS = (PROPOSE, ASK, ANSWER, DECLINE)
_KEPT = ("type", "enum", "const", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "pattern")
_LONGEST = 90  # characters of a description
_TEXT = {"type": "string"}
_TEXTS = {"type": "array", "items": _TEXT}

Schema = dict[str, Any]


def tool(name: str, description: str, properties: Mapping[str, Any], *required: str) -> Schema:
    """One tool in the protocol's form."""
    parameters = {
        "type": "object",
        "properties": dict(properties),
        "required": list(required),
        "additionalProperties": False,
    }
    return {
        "type": "function",
        "function": {"name": name, "description": description, "parameters": parameters},
    }


def plan_tools(registry: Registry) -> list[Schema]:
    """The tools that end planning, and the one that tells more of a skill."""
    skills = [skill for skill in registry if skill.name != GATE_SKILL]
    names = {"type": "string", "enum": [skill.name for skill in skills] + [GATE_SKILL]}
    steps = {"type": "array", "minItems": 1, "items": {"anyOf": [_step(skill) for skill in skills]}}
    return [
        tool(
            PROPOSE,
            "Propose a plan. It is checked, shown to the person, and runs only once they approve it.",
            {
                "steps": steps,
                "gates": {"type": "object", "description": "Gates by name; see describe_skills(['gate'])."},
                "budget": {
                    "type": "object",
                    "properties": {
                        name: {"type": "number"} for name in ("minutes", "gpu_hours", "usd", "tokens")
                    },
                    "additionalProperties": False,
                },
            },
            "steps",
        ),
        tool(
            ASK,
            "Ask the person one question; choices are answers they may give.",
            {
                "question": _TEXT,
                "choices": _TEXTS,
                "skill": {**names, "description": "The skill that would do it, if one is clear."},
                "field": {**_TEXT, "description": "Its argument that is open, if that is the question."},
            },
            "question",
        ),
        tool(
            ANSWER,
            "Answer a question from what the tools returned; nothing is proposed.",
            {
                "text": _TEXT,
                "records": {"type": "array", "items": {"type": "integer"}, "description": "Ledger records."},
            },
            "text",
        ),
        tool(
            DECLINE,
            "Propose nothing, and say why in a sentence.",
            {"why": _TEXT},
            "why",
        ),
        tool(
            DESCRIBE,
            "The full schema of skills' arguments, what they give, and an example.",
            {"skills": {"type": "array", "items": names}},
            "skills",
        ),
    ]


def described(skill: Skill[Any, Any]) -> Schema:
    """All that there is to know of a skill."""
    return {
        "name": skill.name,
        "summary": skill.summary,
        "effect": skill.effect.in_words,
        "example": skill.example,
        "arguments": skill.schema(),
        "gives": list(skill.result.model_fields),
    }


@lru_cache(maxsize=256)
def _step(skill: Skill[Any, Any]) -> Schema:
    """A step of a skill; made once, and read only."""
    schema = skill.schema()
    fields = {
        name: _short(one, schema.get("$defs", {})) for name, one in schema.get("properties", {}).items()
    }
    given = {"type": "object", "properties": fields, "additionalProperties": False}
    if needed := schema.get("required"):
        given["required"] = needed
    gives = ", ".join(skill.result.model_fields)
    return {
        "type": "object",
        "description": f"{skill.summary} It {skill.effect.in_words}. Gives: {gives[:120]}",
        "properties": {
            "id": _TEXT,
            "skill": {"const": skill.name},
            "with": given,
            "gate": _TEXT,
            "after": _TEXTS,
        },
        "required": ["id", "skill"],
        "additionalProperties": False,
    }


def _short(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Schema:
    """A field's schema by what can be said in a line: objects stay objects, alternatives their types."""
    found: Schema = {}
    if description := schema.get("description"):
        found["description"] = _first_words(str(description))
    inner = _resolved(schema, definitions)
    options = [_resolved(one, definitions) for one in inner.get("anyOf", ())]
    options = [one for one in options if one.get("type") != "null"]
    if len(options) == 1:
        inner = options[0]
    elif options:
        kinds = {str(one["type"]) for one in options if "type" in one}
        return {**found, **({"type": sorted(kinds)} if kinds else {})}
    found |= {name: inner[name] for name in _KEPT if name in inner and len(str(inner[name])) < 200}
    if inner.get("type") == "array":
        items = inner.get("items")
        found["items"] = _bare(_resolved(items, definitions)) if isinstance(items, Mapping) else {}
    return found


def _bare(schema: Mapping[str, Any]) -> Schema:
    return {name: schema[name] for name in ("type", "enum") if name in schema}


def _resolved(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    return definitions.get(name, schema) if name else schema


def _first_words(text: str) -> str:
    sentence = text.partition(". ")[0]
    return sentence if len(sentence) <= _LONGEST else f"{sentence[:_LONGEST].rpartition(' ')[0]}…"


def names_of(tools: Sequence[Schema]) -> list[str]:
    """The tools' names."""
    return [str(one["function"]["name"]) for one in tools]
