"""Every field of every skill can be said in plain language, in the ways people put a name and a value."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal

from pydantic import Field

from opswright.agents.planner.phrases.accounting import ClauseReading
from opswright.agents.planner.phrases.drafts import PlanDraft
from opswright.agents.planner.phrases.fields import FieldWords
from opswright.agents.planner.phrases.lexicon import lexicon_of
from opswright.agents.planner.phrases.slots import SlotFiller
from opswright.agents.planner.phrases.surroundings import Surroundings
from opswright.core.artifact_refs import CheckpointRef, DatasetRef
from opswright.core.contract import Effect, InputPath, Request, Result, Skill, StepContext, skill
from opswright.core.phrasing import Spoken
from opswright.core.registry import Registry

World = Callable[[str], Any]
WAYS = (
    "{name} {value}",
    "with {name} {value}",
    "{name}={value}",
    "{name} of {value}",
    "set {name} to {value}",
    "with a {name} of {value}",
)
BEHIND = ("{value} {name}", "with {value} {name}")  # of numbers: "200 steps"


class BrewRequest(Request):
    beans: InputPath
    grind: Literal["coarse", "fine"] = "coarse"
    boil_minutes: float = Field(4, description="Minutes the water boils.")
    cups: Annotated[int, Spoken(("cups", "mugs"))] = 2
    milk_share: float = Field(0.1, description="Share of a cup that is milk.")
    label: str = ""
    guests: tuple[str, ...] = ()
    stirs: tuple[int, ...] = ()
    decaffeinated: bool = False
    beside: DatasetRef | None = None


class BrewResult(Result):
    checkpoint: CheckpointRef


@skill(effect=Effect.WRITES, summary="Brew coffee.", phrases=["brew {beans}"])
def brew(request: BrewRequest, ctx: StepContext) -> BrewResult:
    raise NotImplementedError


def _said(one: FieldWords, world: Any) -> tuple[str, Any] | None:
    """A value of a field as it is said, and as a plan holds it; None for what only a command can give."""
    if one.plain_values and not one.takes_text:
        value: Any = one.plain_values[-1]
        return value, [value] if one.is_list else value
    if one.is_time:
        return "2026-01-02", "2026-01-02"
    if one.is_suite:
        return "tickets", "suites/tickets.yaml" if one.takes_path else "tickets"
    if one.is_endpoint:
        return "shop", "shop"
    if one.is_flag:
        return "true", True
    if one.takes_number:
        number = 0.25 if one.is_share and not one.takes_whole else 7
        return str(number), [number] if one.is_list else number
    if one.kinds:
        ref = next((ref for name, ref in world.artifacts.items() if ref.kind in one.kinds), None)
        return None if ref is None else (str(ref), [str(ref)] if one.is_list else str(ref))
    if one.takes_path:
        return "data/tickets.csv", "data/tickets.csv"
    if one.takes_text:
        return "azure", ["azure"] if one.is_list else "azure"
    return None


def _read(world: Any, registry: Registry, text: str) -> ClauseReading:
    lexicon = lexicon_of(registry)
    around = Surroundings(world.workspace)
    tokens = lexicon.read(text, around.names)
    match = lexicon.matches(tokens)[0]
    return SlotFiller(lexicon, around, PlanDraft(), []).read(match, tokens)


def _tried(world: Any, registry: Registry) -> Iterator[tuple[str, Skill[Any, Any], FieldWords, Any]]:
    lexicon = lexicon_of(registry)
    for one in registry:
        for field in lexicon.fields[one.name]:
            if (said := _said(field, world)) is None:
                continue
            name = field.name.replace("_", " ")
            ways = WAYS + (BEHIND if field.takes_number and not field.is_list else ())
            for way in ways:
                yield f"{one.name} {way.format(name=name, value=said[0])}", one, field, said[1]


def _wrong(world: Any, registry: Registry) -> tuple[list[str], int]:
    found, count = [], 0
    for text, skill_, field, value in _tried(world, registry):
        reading = _read(world, registry, text)
        count += 1
        if reading.step.skill is not skill_ or reading.step.arguments.get(field.name) != value:
            found.append(f"{text!r} -> {reading.step.arguments} {reading.unused} {reading.unknown}")
    return found, count


def test_every_field_of_every_skill_is_understood_in_every_way(world: World) -> None:
    rich = world("rich")
    wrong, count = _wrong(rich, rich.registry)
    assert count > 900 and len(wrong) <= count // 100, "\n".join(wrong)


def test_a_skill_of_another_trade_is_understood_as_well(world: World) -> None:
    wrong, count = _wrong(world("rich"), Registry((brew,)))
    assert count > 50 and not wrong, "\n".join(wrong)


def test_name_value_pairs_of_a_command_are_read_wherever_they_stand_in_a_sentence(world: World) -> None:
    rich, registry = world("rich"), Registry([brew])
    said = "with grind=fine, boil_minutes=5 guests=brewing,azure, label=fine stirs=1,2,3 cups=4"
    given = _read(rich, registry, f"brew data/tickets.csv {said}").step.arguments
    assert given["boil_minutes"] == 5 and given["stirs"] == [1, 2, 3] and given["cups"] == 4
    assert given["guests"] == ["brewing", "azure"] and given["grind"] == "fine"


def test_a_value_that_no_field_takes_is_asked_about(world: World) -> None:
    reading = _read(world("rich"), Registry([brew]), "brew data/tickets.csv grind=purple cups=4")
    assert reading.unused == ["purple"]


def test_numbers_of_a_list_need_no_commas(world: World) -> None:
    given = _read(world("rich"), Registry([brew]), "brew data/tickets.csv, stirs 1 5 20").step.arguments
    assert given["stirs"] == [1, 5, 20]
    shares = _read(world("rich"), Registry([brew]), "brew data/tickets.csv, milk share .25").step.arguments
    assert shares["milk_share"] == 0.25
