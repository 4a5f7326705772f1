"""How a release is laid out on a cluster: images, sizes, scaling, who may ask. Secrets by name only."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from ...core.inputs import EndpointUrl
from ...core.store_address import store_address
from .quantities import as_number

_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_QUALIFIED = r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
_S3 = r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9._-]+)*"
SOURCE_PATTERN = rf"^(pvc:{_LABEL}(/[A-Za-z0-9][A-Za-z0-9._-]*)*|{_S3})$"
_STORE_PORT = 6379


def _quantity(text: str) -> str:
    as_number(text)
    return text


Name = Annotated[str, StringConstraints(pattern=rf"^{_LABEL}$")]
Image = Annotated[
    str,
    StringConstraints(
        pattern=r"^[a-z0-9][a-z0-9._-]*(:[0-9]{1,5})?(/[a-z0-9][a-z0-9._-]*)*"
        r"(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(@sha256:[0-9a-f]{64})?$",
        max_length=500,
    ),
]
Quantity = Annotated[str, AfterValidator(_quantity)]
LabelKey = Annotated[str, StringConstraints(pattern=_QUALIFIED)]
LabelValue = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$")]
ClusterVersion = Annotated[str, StringConstraints(pattern=r"^1\.(2[5-9]|3[0-7])$")]
ObjectAddress = Annotated[str, StringConstraints(pattern=rf"^{_S3}$", max_length=500)]
ReleaseSource = Annotated[str, StringConstraints(pattern=SOURCE_PATTERN)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class PodShape(_Part):
    """How many pods of one kind run, and what each gets. Memory is request and limit; CPU is a request."""

    replicas: int = Field(2, ge=1, le=1000, description="Pods, at least.")
    max_replicas: int = Field(4, ge=1, le=1000, description="Pods, at most, where they are scaled.")
    cpu: Quantity = Field("1", description="CPU each asks for, as 500m or 2.")
    memory: Quantity = Field("2Gi", description="Memory each gets, as 2Gi.")
    node_selector: dict[LabelKey, LabelValue] = Field(
        default_factory=dict, description="Labels that a node must have."
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.max_replicas < self.replicas:
            raise ValueError(f"max_replicas {self.max_replicas} is below replicas {self.replicas}")
        return self


class SecretNames(_Part):
    """Names of the cluster's Secrets; empty: `ops-ENDPOINT-triton` and so on. Never what is in them."""

    triton: Name | None = Field(None, description="Has `secret`: what Triton asks of who reaches it.")
    keys: Name | None = Field(None, description="Has `keys.json`: the API keys, hashed.")
    metrics: Name | None = Field(None, description="Has `key`: an API key of the scope metrics.")
    source: Name | None = Field(
        None, description="Has AWS_ACCESS_KEY_ID and the like; empty: by the node's own role."
    )
    store: Name | None = Field(
        None, description="Has `password` of the shared store, and `ca.crt` with private_ca."
    )
    traffic: Name | None = Field(
        None,
        description="Has AWS_ACCESS_KEY_ID and the like to write traffic; empty: by the node's own role.",
    )
    pull: tuple[Name, ...] = Field((), description="Of registries that images are pulled from.")


class ClusterStore(_Part):
    """A Redis or Valkey server that all gateway pods share: API keys and what each has used."""

    url: str = Field(
        max_length=300,
        description="redis://HOST:PORT or, with TLS, rediss://HOST:PORT, as pods reach it; password "
        "by a Secret.",
    )
    username: str = Field("", pattern=r"^[A-Za-z0-9._-]{0,200}$", description="User of its access list.")
    prefix: str = Field(
        "opswright",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        description="What its names begin with; releases of one prefix share keys.",
    )
    private_ca: bool = Field(False, description="Judge its certificate by `ca.crt` of that Secret.")
    namespace: Name | None = Field(
        None, description="Namespace that it runs in; empty: pods may reach its port wherever it is."
    )

    @field_validator("url")
    @classmethod
    def _is_address(cls, url: str) -> str:
        if url.startswith("unix:"):
            raise ValueError("expected redis://HOST:PORT or rediss://HOST:PORT: pods share no socket")
        return store_address(url)

    @model_validator(mode="after")
    def _has_tls(self) -> Self:
        if self.private_ca and not self.url.startswith("rediss:"):
            raise ValueError("private_ca is for a rediss:// address; this one has no TLS")
        return self

    @property
    def port(self) -> int:
        """Where it listens."""
        return urlsplit(self.url).port or _STORE_PORT


class ClusterTraffic(_Part):
    """Where the traffic logs and the feedback of all gateway pods come together."""

    ship_to: ObjectAddress = Field(description="s3://BUCKET/PREFIX; what is there is never removed by pods.")
    ship_every_s: float = Field(
        300, ge=1, le=86_400, description="Seconds of its log that a pod which dies may take with it."
    )
    port: int = Field(443, ge=1, le=65535, description="Port of the object store.")


class ClusterShape(_Part):
    """Images, sizes, scaling, and who may ask."""

    gateway_image: Image = Field(
        description="Image with the gateway, built from the Dockerfile of Opswright."
    )
    triton_image: Image | None = Field(
        None, description="Image with Triton; empty: NVIDIA's container, for bundles that it serves."
    )
    kubernetes: ClusterVersion = Field("1.33", description="Version of the cluster's API, 1.25 to 1.37.")
    store: ClusterStore | None = Field(
        None,
        description="What gateway pods share; empty: keys come from a Secret, and each pod counts alone.",
    )
    traffic: ClusterTraffic | None = Field(
        None, description="Where logs and feedback are kept; empty: in each pod, and gone with it."
    )
    gateway: PodShape = PodShape()
    triton: PodShape = PodShape()
    secrets: SecretNames = SecretNames()
    scaling: Literal["none", "hpa", "keda"] = Field(
        "hpa", description="What adds and removes pods of Triton by the time that requests wait."
    )
    queue_ms: float = Field(
        100,
        gt=0,
        le=600_000,
        description="Milliseconds that 90 % of requests may wait before pods are added.",
    )
    prometheus: EndpointUrl | None = Field(None, description="Address of the Prometheus that KEDA asks.")
    service_monitor: bool = Field(True, description="Have the Prometheus Operator scrape gateway and Triton.")
    monitoring_namespace: Name = Field("monitoring", description="Namespace that may scrape.")
    callers: tuple[Name, ...] = Field(
        (), description="Other namespaces whose pods may ask the gateway; its own always may."
    )
    kserve: bool = Field(False, description="Run Triton as a KServe InferenceService, not as a Deployment.")
    shared_memory_mb: int = Field(
        1024, ge=64, le=1_048_576, description="Shared memory of a Triton pod; it counts as memory."
    )
    start_minutes: int = Field(15, ge=1, le=600, description="Minutes that a pod may take to answer.")
    disk: Quantity = Field("20Gi", description="Local disk for a release's files, at most.")

    @model_validator(mode="after")
    def _scalable(self) -> Self:
        if self.scaling == "keda" and self.prometheus is None:
            raise ValueError("scaling by keda needs `prometheus`, the address that it asks")
        if self.kserve and self.scaling == "keda":
            raise ValueError("kserve scales by itself: set scaling to hpa or none")
        if as_number(self.triton.memory) <= self.shared_memory_mb * 2**20:
            raise ValueError(
                f"triton.memory {self.triton.memory} must hold more than shared_memory_mb "
                f"({self.shared_memory_mb})"
            )
        return self
