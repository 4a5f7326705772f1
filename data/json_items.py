"""JSON as rows are read from it: an array item by item, and objects that name each field once."""

from __future__ import annotations

import codecs
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from ..core.errors import AskError

_PIECE_BYTES = 1 << 18


class JsonDecoder:
    """JSON whose objects name each field once; `twice` is the first name that the last text had twice."""

    def __init__(self) -> None:
        self.twice: str | None = None
        self._json = json.JSONDecoder(object_pairs_hook=self._object)

    def decode(self, text: str) -> Any:
        """What a whole text says."""
        self.twice = None
        return self._json.decode(text)

    def raw_decode(self, text: str) -> tuple[Any, int]:
        """What a text says at its beginning, and where that ends."""
        self.twice = None
        return self._json.raw_decode(text)

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        fields = dict(pairs)
        if len(fields) < len(pairs) and self.twice is None:
            names = Counter(name for name, _ in pairs)
            self.twice = next(name for name, times in names.items() if times > 1)
        return fields


class JsonItem(NamedTuple):
    """An item of an array, the characters that it took, and a name that one of its objects had twice."""

    value: Any
    chars: int
    twice: str | None


class JsonArray:
    """The items of a file that is one JSON array, a piece of the file in memory at a time.

    most: about so many characters are read in search of an item's end. AskError, with the row, for what is
    no such file.
    """

    def __init__(self, path: Path, file: IO[bytes], most: int) -> None:
        self._path, self._file, self._most = path, file, most
        self._characters = codecs.getincrementaldecoder("utf-8-sig")()
        self._json = JsonDecoder()
        self._text = ""
        self._number = 0

    def __iter__(self) -> Iterator[JsonItem]:
        self._take("[")
        mark = self._take("]") if self._next() == "]" else ","
        while mark == ",":
            yield self._item()
            mark = self._take(",]")
        if self._next():
            raise AskError(
                f"{self._path} goes on after its JSON array. If each line is an object, give layout=jsonl."
            )

    def _item(self) -> JsonItem:
        """The next item, which is taken."""
        while True:
            self._text = self._text.lstrip()
            try:
                value, end = self._json.raw_decode(self._text)
            except (ValueError, RecursionError) as error:
                if len(self._text) > self._most or not self._more():
                    why = f"more than {self._most} bytes in one row, or {error}"
                    raise AskError(f"{self._path} is not JSON after row {self._number}: {why}.") from error
            else:
                self._text, self._number = self._text[end:], self._number + 1
                return JsonItem(value, end, self._json.twice)

    def _take(self, wanted: str) -> str:
        """The next character, which must be one of these."""
        mark = self._next()
        if not mark or mark not in wanted:
            found = f"'{self._text[:20]}'" if mark else "the end"
            raise AskError(
                f"{self._path} is not JSON: after row {self._number} expected {wanted}, found {found}."
            )
        self._text = self._text[1:]
        return mark

    def _next(self) -> str:
        """The next character that is no white space, left where it is; empty at the end."""
        self._text = self._text.lstrip()
        while not self._text and self._more():
            self._text = self._text.lstrip()
        return self._text[:1]

    def _more(self) -> bool:
        """Another piece of the file behind the text; False when there is none."""
        piece = self._file.read(_PIECE_BYTES)
        try:
            self._text += self._characters.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            raise AskError(f"{self._path} is not UTF-8 after row {self._number} ({error.reason}).") from error
        return bool(piece)
