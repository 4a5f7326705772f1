"""A model's folder in an object store that speaks S3's API, through AWS's own client.

Keys appear one by one there, so their order says what is whole: the version's files, then the configuration,
without which Triton sees no model, then the mark. They go in the reverse order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

from ...core.errors import NeedsError
from ...core.install import install_hint

if TYPE_CHECKING:
    from ...core.settings.serving import S3Settings

_PART_BYTES = 16 << 20  # files of two or more go in parts, some at once
_AT_ONCE = 4
_ATTEMPTS = 5  # for each request, the waits between them growing to 20 s
_CONNECT_S, _READ_S = 10, 60
_SETTINGS = "OPSWRIGHT_SERVING__EXTERNAL"
_BAD_KEYS = {
    *("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken", "InvalidClientTokenId"),
    *("AuthFailure", "UnrecognizedClientException"),
}
_REFUSED = {"AccessDenied", "403", "AllAccessDisabled", "MethodNotAllowed"}
_ELSEWHERE = {
    "PermanentRedirect",
    "301",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
}


def is_s3(address: str) -> bool:
    """Whether an address is one of an object store by S3's API."""
    return address.startswith("s3://")


class S3Place:
    """A folder `s3://BUCKET/FOLDER/NAME`; NeedsError in words for whatever keeps it from being used."""

    def __init__(self, address: str, name: str, settings: S3Settings) -> None:
        parts = urlsplit(address)
        self._address = address
        self._bucket = parts.netloc
        self._settings = settings
        base = parts.path.strip("/")
        self._base = f"{base}/" if base else ""
        self._root = f"{self._base}{name}/"
        self._client = _client(address, settings)

    def check(self) -> None:
        """Look whether its bucket can be listed and written; what is begun for that is given up at once."""
        probe = {"Bucket": self._bucket, "Key": f"{self._root}probe"}
        with _InWords(self, "listed"):
            self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._root, MaxKeys=1)
        with _InWords(self, "written"):
            begun = self._client.create_multipart_upload(**probe)
            self._client.abort_multipart_upload(**probe, UploadId=begun["UploadId"])

    def read(self, name: str) -> bytes | None:
        """A file's bytes, None when there is none."""
        with _InWords(self, "read"):
            try:
                reply = self._client.get_object(Bucket=self._bucket, Key=self._root + name)
                return bytes(reply["Body"].read())
            except self._client.exceptions.NoSuchKey:
                return None

    def put(self, name: str, source: Path) -> None:
        """Upload a file; a large one in parts, which appears when its last part is there."""
        from boto3.s3.transfer import TransferConfig

        parts = TransferConfig(
            multipart_threshold=2 * _PART_BYTES, multipart_chunksize=_PART_BYTES, max_concurrency=_AT_ONCE
        )
        with _InWords(self, "written"):
            self._client.upload_file(str(source), self._bucket, self._root + name, Config=parts)

    def write(self, name: str, data: bytes) -> None:
        """Write a small file."""
        with _InWords(self, "written"):
            self._client.put_object(Bucket=self._bucket, Key=self._root + name, Body=data)

    def remove(self, first: Iterable[str] = ()) -> None:
        """Delete everything in it, some files before all others, and give up uploads that were cut off."""
        turn = {self._root + name: place for place, name in enumerate(first)}
        with _InWords(self, "emptied"):
            for key in sorted(self._keys(), key=lambda key: turn.get(key, len(turn))):
                self._client.delete_object(Bucket=self._bucket, Key=key)
            self._give_up_uploads()

    def siblings(self) -> list[str]:
        """The names of all folders beside it, and its own."""
        with _InWords(self, "listed"):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._base, Delimiter="/"
            )
            found = [one["Prefix"] for page in pages for one in page.get("CommonPrefixes", ())]
        return [prefix.removeprefix(self._base).rstrip("/") for prefix in found]

    def _keys(self) -> Iterator[str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._root)
        for page in pages:
            yield from (one["Key"] for one in page.get("Contents", ()))

    def _give_up_uploads(self) -> None:
        """Of a writer that was killed: their parts are paid for and seen by nobody."""
        from botocore.exceptions import ClientError

        try:
            pages = self._client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self._bucket, Prefix=self._root
            )
            begun = [(one["Key"], one["UploadId"]) for page in pages for one in page.get("Uploads", ())]
            for key, upload in begun:
                self._client.abort_multipart_upload(Bucket=self._bucket, Key=key, UploadId=upload)
        except ClientError:
            return  # a right that not every key has; a rule of the bucket may do it

    def refuse(self, error: BaseException, what: str) -> NoReturn:
        """Say what an error of the client means here, and what to do."""
        from botocore import exceptions

        cause: Any = error
        while not isinstance(cause, exceptions.ClientError) and cause.__context__ is not None:
            cause = cause.__context__
        where = self._settings.endpoint_url or "AWS"
        if isinstance(cause, exceptions.ClientError):
            text = self._refusal(
                str(cause.response.get("Error", {}).get("Code", "")), str(cause), what, where
            )
        elif isinstance(cause, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
            text = f"there are no credentials for it. {_CREDENTIALS}"
        elif isinstance(cause, exceptions.ConnectionError | exceptions.HTTPClientError | OSError):
            text = f"{where} is not reached ({cause}). Check {_SETTINGS}__S3__ENDPOINT_URL and the network."
        else:
            text = f"{type(cause).__name__}: {cause}."
        raise NeedsError(f"the model repository {self._address} cannot be {what}: {text}") from error

    def _refusal(self, code: str, said: str, what: str, where: str) -> str:
        if code in ("NoSuchBucket", "404"):
            return (
                f"there is no bucket '{self._bucket}' at {where}. Create it (none is made here), or correct "
                f"{_SETTINGS}__REPOSITORY."
            )
        if code in _BAD_KEYS:
            return f"{where} does not take its credentials ({code}). {_CREDENTIALS}"
        if code in _REFUSED:
            return (
                f"its key has no right to that ({code}). It needs s3:GetObject, s3:PutObject, "
                f"s3:DeleteObject and s3:AbortMultipartUpload below {self._base or '/'}, and s3:ListBucket."
            )
        if code in _ELSEWHERE:
            return f"the bucket is in another region ({code}). Set {_SETTINGS}__S3__REGION."
        return f"{where} says: {said}."


_CREDENTIALS = (
    f"Set {_SETTINGS}__S3__ACCESS_KEY and {_SETTINGS}__S3__SECRET_KEY to the names of secrets "
    "(secret:env:NAME), or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile of AWS."
)


class _InWords:
    """A context that tells the client's errors in words."""

    def __init__(self, place: S3Place, what: str) -> None:
        self._place, self._what = place, what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, NeedsError):
            self._place.refuse(error, self._what)


def _client(address: str, settings: S3Settings) -> Any:
    """A client of its own session, so that no other thread shares it."""
    try:
        from boto3.session import Session
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError as error:
        raise NeedsError(f"{address} needs boto3. Install: {install_hint('s3')}") from error
    keys = {
        "aws_access_key_id": settings.access_key.resolve().strip() if settings.access_key else None,
        "aws_secret_access_key": settings.secret_key.resolve().strip() if settings.secret_key else None,
    }
    config = Config(
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
        connect_timeout=_CONNECT_S,
        read_timeout=_READ_S,
        s3={"addressing_style": "path"} if settings.endpoint_url else {},  # bucket.HOST resolves on AWS alone
    )
    try:
        session = Session(region_name=settings.region or None, **keys)
        region = session.region_name or "us-east-1"
        return session.client(
            "s3", region_name=region, endpoint_url=settings.endpoint_url or None, config=config
        )
    except (BotoCoreError, ValueError) as error:
        raise NeedsError(f"the model repository {address} cannot be used: {error}.") from error
