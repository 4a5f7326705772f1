"""Published data sets in the layout in which their authors give them out."""

from __future__ import annotations

from pathlib import Path

from ...core.errors import AskError, did_you_mean

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
RAW = EXAMPLES / "support_router" / "raw"


def as_text(value: object) -> str:
    """The value, byte for byte; TypeError unless it is a string."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a string")
    return value


def check_split(split: str, splits: tuple[str, ...], source: Path) -> None:
    """AskError unless the source has that split."""
    if split not in splits:
        raise AskError(
            f"split '{split}' is not in {source} (it has: {', '.join(splits)}).{did_you_mean(split, splits)}"
        )
