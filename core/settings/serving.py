"""Settings of endpoints: the gateway, the engine server behind it, and what is written down of requests."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from ..secrets import SecretName
from ..store_address import store_address
from .part import SettingsPart


class TrafficSettings(SettingsPart):
    """What is written down of requests, and for how long."""

    mask: bool = Field(
        True, description="Mask addresses, card, account, social security and phone numbers before writing."
    )
    max_characters: int = Field(
        16_384, ge=1, le=1_000_000, description="Characters of a text that are written; the rest is left out."
    )
    keep_days: float = Field(
        90, gt=0, le=36_500, description="Days after which rows are removed, to the day."
    )
    max_mb: float = Field(
        1024, gt=0, description="Megabytes of an endpoint's log; beyond, the oldest rows are removed."
    )
    ship_to: str | None = Field(
        None,
        description="Where finished parts of the log are copied, as s3://BUCKET/PREFIX or a folder; empty: "
        "they stay here. Nothing is ever removed there.",
    )
    ship_every_s: float = Field(
        300, ge=1, le=86_400, description="Seconds after which a part of the log is finished, and copied."
    )

    @field_validator("ship_to")
    @classmethod
    def _holds_no_secret(cls, address: str | None) -> str | None:
        if address is not None:
            parts = urlsplit(address)
            if parts.username or parts.password or parts.query or not address.strip("/ "):
                raise ValueError("expected an address without a password, such as s3://BUCKET/PREFIX")
        return address


class StoreSettings(SettingsPart):
    """A Redis or Valkey server that several gateways share: API keys, and what each has used."""

    url: str | None = Field(
        None,
        description="redis://HOST:PORT/NUMBER, rediss:// (TLS) or unix:///PATH; empty: keys and counts are "
        "this workspace's own.",
    )
    username: str = Field("", max_length=200, description="User of its access list; empty: its default one.")
    password: SecretName | None = Field(
        None, description="Its password: secret:env:NAME or secret:file:PATH, never itself."
    )
    ca_file: Path | None = Field(
        None, description="Certificates by which its own is judged; empty: those of this machine."
    )
    prefix: str = Field(
        "opswright",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        description="What its names begin with; gateways of one prefix share keys.",
    )
    timeout_s: float = Field(0.5, gt=0, le=30, description="Seconds it may take to answer.")
    offline_s: float = Field(
        600,
        ge=0,
        le=86_400,
        description="Seconds without it in which keys without limits go on; those with limits wait for it.",
    )

    @field_validator("url")
    @classmethod
    def _is_address(cls, url: str | None) -> str | None:
        return None if url is None else store_address(url)


class S3Settings(SettingsPart):
    """An object store that speaks S3's API; what is empty is as AWS's client finds it."""

    endpoint_url: str = Field(
        "",
        pattern=r"^(https?://[^\s/@]+/?)?$",
        description="Its address, as http://minio.lan:9000; empty: AWS_ENDPOINT_URL, or AWS itself.",
    )
    region: str = Field("", description="Region of the bucket; empty: AWS_DEFAULT_REGION, or us-east-1.")
    access_key: SecretName | None = Field(
        None, description="Access key id: secret:env:NAME or secret:file:PATH; empty: AWS_ACCESS_KEY_ID, ..."
    )
    secret_key: SecretName | None = Field(
        None, description="Secret access key: secret:env:NAME or secret:file:PATH, never itself."
    )

    @model_validator(mode="after")
    def _has_both_keys(self) -> Self:
        if (self.access_key is None) != (self.secret_key is None):
            raise ValueError("`access_key` and `secret_key` belong together: set both, or neither")
        return self


class ExternalTritonSettings(SettingsPart):
    """Triton servers that somebody else runs, as in containers, and how they are told what to serve."""

    urls: tuple[str, ...] = Field(
        (), description="Their addresses, http://HOST:PORT, all of one repository; empty: one is run here."
    )
    repository: str = Field(
        "",
        description="Their model repository as this machine reaches it: a shared folder, or an address such "
        "as s3://BUCKET/FOLDER.",
    )
    seen_at: str = Field(
        "", description="Path of the repository on the servers; for bundles of TensorRT-LLM, else not needed."
    )
    llmapi_code: Path | None = Field(
        None,
        description="Folder with NVIDIA's model.py and helpers.py (llmapi); for bundles of TensorRT-LLM.",
    )
    header: str = Field(
        "opswright-secret",
        pattern=r"^[A-Za-z0-9-]+$",
        description="Header in which their restricted APIs look for a secret.",
    )
    secret: SecretName | None = Field(
        None, description="The secret: secret:env:NAME or secret:file:PATH, never itself."
    )
    s3: S3Settings = S3Settings()

    @field_validator("urls")
    @classmethod
    def _are_addresses(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        found = tuple(url.rstrip("/") for url in urls)
        for url in found:
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.path or parts.query:
                raise ValueError(f"expected http://HOST:PORT, not {url!r}")
            if parts.username or parts.password:
                raise ValueError("an address holds no password: name it by `secret`")
        if len(set(found)) != len(found):
            raise ValueError("an address stands there twice")
        return found

    @model_validator(mode="after")
    def _have_a_repository(self) -> Self:
        if self.urls and not self.repository:
            raise ValueError("`repository` is missing: the folder or address that these servers read")
        if "://" in self.repository and "@" in urlsplit(self.repository).netloc:
            raise ValueError("`repository` holds no keys: name them by `s3`, or set them in the environment")
        return self


class QueueSettings(SettingsPart):
    """How many requests an endpoint takes, and who waits."""

    at_once: int = Field(
        64, ge=1, le=10_000, description="Requests of an endpoint that its engine is asked at once."
    )
    waiting: int = Field(
        448, ge=0, le=100_000, description="Requests that may wait besides; the next one gets 503."
    )
    caller_share: float = Field(
        0.5, gt=0, le=1, description="Share of both that one key may have; its next request gets 429."
    )

    @property
    def caller_places(self) -> int:
        """Requests that one key may have here, by all workers; one at least."""
        return max(1, math.floor((self.at_once + self.waiting) * self.caller_share))


class TracingSettings(SettingsPart):
    """Where traces of requests go."""

    endpoint: str | None = Field(
        None,
        pattern=r"^https?://[^\s/]+(/\S*)?$",
        description="OTLP/HTTP address of a collector, such as http://127.0.0.1:4318; empty: no traces.",
    )
    sample: float = Field(
        1.0, ge=0, le=1, description="Share of requests that are traced; a caller's own decision goes before."
    )


class ServingSettings(SettingsPart):
    """Where endpoints listen, and on which server."""

    host: str = Field("127.0.0.1", description="Address of gateway and server.")
    gateway_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Port of the gateway; empty: 8700, or a free one where another program has that; 0 takes "
        "a free one.",
    )
    server: Literal["auto", "triton", "in-process"] = Field(
        "auto",
        description="Engine server; auto takes Triton where its wheel runs, else the in-process engine.",
    )
    instances: int | None = Field(
        None,
        ge=1,
        le=64,
        description="Copies of an engine on a server; empty: one for every four cores, as memory allows, on "
        "this machine, and one elsewhere.",
    )
    start_timeout_s: float = Field(120, gt=0, description="Seconds a server may take to become ready.")
    workers: int = Field(
        1,
        ge=1,
        le=64,
        description="Processes that answer requests behind the one socket; each is busy on one core at most.",
    )
    watchdog_s: float = Field(
        10,
        ge=2,
        le=3600,
        description="Seconds without a sign of life, those of waiting for a processor not counted, after "
        "which a worker is killed and started again.",
    )
    hold_s: float = Field(
        20, gt=0, description="Seconds a request waits for a release that is being healed or loaded."
    )
    headers_timeout_s: float = Field(
        10, gt=0, description="Seconds a connection may take to send a request's headers."
    )
    body_timeout_s: float = Field(30, gt=0, description="Seconds a request's body may take to come.")
    request_timeout_s: float = Field(
        120, gt=0, description="Seconds an answer may take; a caller may ask for fewer by x-request-timeout."
    )
    auth_token: SecretStr | None = Field(
        None, description="Bearer token the gateway asks for; needed to listen on any but a local address."
    )
    triton_home: Path | None = Field(
        None,
        description="Folder that Triton's server is installed in, for all workspaces; empty: one in the "
        "user's cache.",
    )
    preloaded_triton: str | None = Field(
        None,
        pattern=r"^https?://[^\s/@?#]+$",
        description="Address of a Triton that loads its one release itself, as pods of a cluster do.",
    )
    preloaded_triton_secret: SecretStr | None = Field(
        None, description="What that Triton asks of who reaches it."
    )
    log_mb: float = Field(
        10,
        gt=0,
        description="Megabytes a server's log may have; then it is put aside, three such at most.",
    )
    external: ExternalTritonSettings = ExternalTritonSettings()
    queue: QueueSettings = QueueSettings()
    tracing: TracingSettings = TracingSettings()
    traffic: TrafficSettings = TrafficSettings()
    store: StoreSettings = StoreSettings()

    @model_validator(mode="after")
    def _have_work(self) -> Self:
        if self.workers > self.queue.at_once:
            raise ValueError(
                f"{self.workers} workers share `queue.at_once`, so that must be {self.workers} at least, not "
                f"{self.queue.at_once}"
            )
        if self.workers > self.queue.caller_places:
            raise ValueError(
                f"{self.workers} workers share the places that `queue.caller_share` gives one key, which are "
                f"{self.queue.caller_places}: raise it or `queue.waiting`"
            )
        if self.workers > 1 and self.external.urls:
            raise ValueError("several workers need a Triton that Opswright runs: `external.urls` takes one")
        return self
