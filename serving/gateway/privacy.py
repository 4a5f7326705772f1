"""How texts of users are written down: personal data masked, and no more of a text than is allowed."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.settings.serving import TrafficSettings
from ...data.personal import mask, masked_group

_EDGE = 640  # characters looked at beyond a cut, so that nothing is cut in two and missed: the longest e-mail


@dataclass(frozen=True)
class Privacy:
    """Whether personal data is masked, and how many characters of a text are written at most (None: all)."""

    masks: bool
    max_characters: int | None = None

    @classmethod
    def of(cls, settings: TrafficSettings) -> Privacy:
        """What the settings say."""
        return cls(settings.mask, settings.max_characters)

    def text(self, text: str) -> str:
        """A text as it is logged."""
        most = self.max_characters
        if not self.masks or most is None:
            return mask(text) if self.masks else text[:most]
        near = text[: most + _EDGE]
        masked = mask(near)
        if len(near) < len(text):  # its end may be half a number
            masked = masked[: max(0, len(masked) - _EDGE)]
        return masked[:most]

    def id(self, id: str) -> str:
        """A request's id, which callers may choose: one with personal data becomes a digest."""
        return masked_group(id) if self.masks else id


PLAIN = Privacy(masks=False)
