"""Published data sets in the layout in which their authors give them out."""

from __future__ import annotations

from pathlib import Path

from ...core.errors import AskError, did_you_mean

_EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def shipped_folder(name: str) -> Path:
    """The folder of a data set that is shipped with an example, whichever example that is."""
    return next(iter(sorted(_EXAMPLES.glob(f"*/raw/{name}"))), _EXAMPLES / name)


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
