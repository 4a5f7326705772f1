"""The records that meet the page's filters, as a file to keep."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

from ....core.errors import OpswrightError
from ....record.audit import export
from ..console import Console

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

FILTERS = ("run", "actor", "skill", "phase", "since", "until")
_TYPES = {"jsonl": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}
_CHUNK_CHARACTERS = 1 << 18


def export_route(console: Console) -> Route:
    """GET /ledger/export/records.jsonl or .csv with the filters as its query."""
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import PlainTextResponse, StreamingResponse
    from starlette.routing import Route

    async def download(request: Request) -> Response:
        format = request.path_params["format"]
        filters = {name: value for name in FILTERS if (value := request.query_params.get(name))}
        if format not in _TYPES:
            return PlainTextResponse("there are: records.jsonl, records.csv", 404)
        try:  # written whole before the first byte is sent: a damaged ledger gives an error, never a part
            file = await run_in_threadpool(_write, console, format, filters)
        except OpswrightError as error:
            return PlainTextResponse(str(error), 409)
        name = "-".join(["ledger", *(value[:40] for value in filters.values() if value.isascii())])
        safe = "".join(letter if letter.isalnum() or letter in "-._" else "_" for letter in name)
        headers = {"Content-Disposition": f'attachment; filename="{safe}.{format}"'}
        return StreamingResponse(_chunks(file), media_type=_TYPES[format], headers=headers)

    return Route("/ledger/export/records.{format}", download, methods=["GET"])


def _write(console: Console, format: Any, filters: dict[str, str]) -> IO[str]:
    """The export in a file that has no name and goes with its last reader."""
    file = tempfile.TemporaryFile("w+", encoding="utf-8", newline="")  # noqa: SIM115
    try:
        export(console.workspace, file, format, **filters)
    except BaseException:
        file.close()
        raise
    file.seek(0)
    return file


def _chunks(file: IO[str]) -> Iterator[str]:
    with file:
        while chunk := file.read(_CHUNK_CHARACTERS):
            yield chunk
