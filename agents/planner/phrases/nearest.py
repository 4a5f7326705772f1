"""Which skills come nearest to words that were not understood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ....core.registry import Registry
from .text import words


def nearest_skills(text: str, registry: Registry) -> list[str]:
    """At most three skills whose name, summary or phrases share words with a text, nearest first."""
    names = {skill.name: skill.summary for skill in registry}
    return nearest(text, names, {skill.name: skill.phrases for skill in registry})


def nearest(text: str, names: Mapping[str, str], phrases: Mapping[str, Sequence[str]]) -> list[str]:
    """At most three names whose sentence or phrases share words with a text, nearest first."""
    asked = _stems(text)

    def score(name: str) -> float:
        about = _stems(" ".join((names[name], *phrases.get(name, ()))))
        return 3 * len(asked & _stems(name)) + len(asked & about)

    ranked = sorted(names, key=lambda name: (-score(name), name))
    return [name for name in ranked if score(name) > 0][:3]


_COMMON = words(
    """
    a an and are at be can do for from has have how i in into is it its me my no not of on or our please
    show that the there this to us was we what when where which with you
    """
)


def _stems(text: str) -> set[str]:
    """The words of a text without their endings, common ones left out."""
    words = "".join(c.lower() if c.isalnum() else " " for c in text).split()
    return {word[:5] for word in words if word not in _COMMON and len(word) > 1}
