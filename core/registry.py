"""Which skills there are: the built-in ones, and what packages bring as entry point `opswright.skills`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .artifact_refs import ArtifactRef, add_ref_type
from .contract import Skill
from .entry_points import entry_points_of
from .errors import AskError, BackendError, did_you_mean

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "opswright.skills"
ARTIFACT_GROUP = "opswright.artifacts"


class Registry:
    """Skills by name, in the order they were given."""

    def __init__(self, skills: Iterable[Skill[Any, Any]] = ()) -> None:
        self._skills: dict[str, Skill[Any, Any]] = {}
        for skill in skills:
            self.add(skill)

    def add(self, skill: Skill[Any, Any]) -> None:
        """Take a skill in; AskError when its name is taken."""
        if skill.name in self._skills:
            raise AskError(f"two skills are named '{skill.name}'; rename or uninstall one of them.")
        self._skills[skill.name] = skill

    def get(self, name: str) -> Skill[Any, Any]:
        """The skill of that name; AskError with the nearest one otherwise."""
        try:
            return self._skills[name]
        except KeyError:
            raise AskError(
                f"unknown skill '{name}' (there are: {', '.join(sorted(self._skills))})."
                + did_you_mean(name, self._skills)
            ) from None

    def __iter__(self) -> Iterator[Skill[Any, Any]]:
        """Every skill."""
        return iter(self._skills.values())

    def __contains__(self, name: object) -> bool:
        """Whether there is a skill of that name."""
        return name in self._skills


def load_skill(target: str) -> Skill[Any, Any]:
    """The skill at `module:attribute`."""
    module, _, attribute = target.partition(":")
    found = getattr(import_module(module), attribute, None)
    if not isinstance(found, Skill):
        raise BackendError(f"{target} is not a skill. Declare it with @skill or remove its entry point.")
    return found


def discover(group: Iterable[EntryPoint] | None = None) -> list[Skill[Any, Any]]:
    """The skills that installed packages bring."""
    return [load_skill(point.value) for point in (entry_points_of(GROUP) if group is None else group)]


def load_artifact_kinds(group: Iterable[EntryPoint] | None = None) -> None:
    """Take in the kinds of artifact that installed packages bring; BackendError for what is none."""
    for point in entry_points_of(ARTIFACT_GROUP) if group is None else group:
        found = point.load()
        if not (isinstance(found, type) and issubclass(found, ArtifactRef)):
            raise BackendError(f"{point.value} is not an ArtifactRef. Mend or remove its entry point.")
        add_ref_type(found)
