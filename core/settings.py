"""Settings: one tree that is the file (`opswright.toml`), the environment (`OPSWRIGHT_...`) and the flags."""

from __future__ import annotations

import getpass
import os
from enum import StrEnum
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from .errors import AskError
from .secrets import SecretName

# Off for every dependency, before any of them is imported.
NO_TELEMETRY = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAGAS_DO_NOT_TRACK": "true",
    "NEMO_GUARDRAILS_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "LANGSMITH_TRACING": "false",
    "ONE_LOGGER_DISABLED": "1",
}


# OpenMP threads that spin while they wait lose a factor of ten as soon as another process wants a core:
# measured on 2 cores, 50 ms a training step alone, 2,028 ms beside a busy neighbour, 133 to 156 with this.
PATIENT_THREADS = {"GOMP_SPINCOUNT": "1000"}


class Role(StrEnum):
    """The built-in roles: viewers read, operators also make artifacts, releasers also change endpoints."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    RELEASER = "releaser"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MlflowSettings(_Part):
    """Where the view of the ledger is written."""

    tracking_uri: str | None = Field(
        None, description="MLflow tracking URI; empty: MLFLOW_TRACKING_URI, else SQLite in the workspace."
    )
    experiment: str = Field("opswright", min_length=1, description="MLflow experiment that holds the runs.")
    mirror: Literal["background", "off"] = Field(
        "background", description="Write MLflow from the ledger beside each run, or only on `audit sync`."
    )


class TrainSettings(_Part):
    """How training workers run."""

    threads: int = Field(2, ge=1, le=256, description="CPU threads of a training worker.")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Device; auto takes a GPU where there is one."
    )


class EvaluationSettings(_Part):
    """What evaluations need besides."""

    lm_eval: Path = Field(
        Path(".venv-lm-eval"), description="Folder of the virtual environment of lm-evaluation-harness."
    )


class BuildSettings(_Part):
    """What builds of engines need besides."""

    modelopt: Path = Field(
        Path(".venv-modelopt"), description="Folder of the virtual environment of NVIDIA ModelOpt."
    )


class SlurmSettings(_Part):
    """How jobs are put to a Slurm cluster; what is empty, the cluster decides."""

    partition: str | None = Field(None, min_length=1, description="Partition that jobs go to.")
    account: str | None = Field(None, min_length=1, description="Account that jobs are charged to.")
    walltime_minutes: int | None = Field(None, ge=1, description="Minutes a job may run.")
    memory_gb: float | None = Field(None, gt=0, description="Memory of a job in GB.")
    options: tuple[str, ...] = Field(
        (), description="More options of sbatch, each as one word: --qos=high, --constraint=a100."
    )
    shared_folder: Path | None = Field(
        None, description="Folder that every node sees, for jobs of a workspace that they do not see."
    )
    timeout_s: float = Field(30, gt=0, description="Seconds the controller may take to reply.")
    lost_after_s: float = Field(
        120, ge=0, description="Seconds after which a job the controller no longer knows counts as lost."
    )


class ClusterSettings(_Part):
    """Which Kubernetes cluster, and which namespace of it."""

    kubeconfig: Path | None = Field(
        None,
        description="File of clusters and credentials; empty: KUBECONFIG, ~/.kube/config, or the service "
        "account of the pod this runs in.",
    )
    context: str | None = Field(
        None, min_length=1, description="Context of that file; empty: the one that is current there."
    )
    namespace: str | None = Field(
        None, min_length=1, description="Namespace; empty: the context's, else default."
    )
    version: str | None = Field(
        None,
        pattern=r"^1\.\d+$",
        description="Version of Kubernetes that manifests are checked for, as 1.34; empty: the cluster's.",
    )
    timeout_s: float = Field(20, gt=0, description="Seconds the cluster's API may take to reply.")


class KubernetesSettings(ClusterSettings):
    """How jobs are put to a Kubernetes cluster."""

    kind: Literal["Job", "TrainJob"] = Field(
        "Job", description="What runs a job: a Job, or a TrainJob of Kubeflow Trainer."
    )
    runtime: str = Field(
        "torch-distributed", min_length=1, description="ClusterTrainingRuntime that TrainJobs refer to."
    )
    image: str | None = Field(
        None, min_length=1, description="Container image with bash and this version of Opswright."
    )
    python: str = Field("python", min_length=1, description="Python of the image.")
    claim: str | None = Field(
        None, min_length=1, description="PersistentVolumeClaim that pods and this machine share."
    )
    claim_folder: str = Field("", description="Folder of the claim that is mounted; empty: all of it.")
    shared_folder: Path | None = Field(None, description="Where that folder of the claim is on this machine.")
    mount_path: Path | None = Field(
        None, description="Where pods see it; empty: under the same path as this machine."
    )
    service_account: str | None = Field(None, min_length=1, description="Service account of the pods.")
    image_pull_secrets: tuple[str, ...] = Field((), description="Secrets by which the image is pulled.")
    secrets: dict[str, str] = Field(
        {}, description="Environment variables from Secrets of the namespace: NAME = 'secret/key'."
    )
    node_selector: dict[str, str] = Field({}, description="Labels of the nodes that pods may run on.")
    tolerations: tuple[dict[str, str | int], ...] = Field(
        (), description="Taints that pods tolerate, each as in a manifest: key, operator, value, effect."
    )
    priority_class: str | None = Field(None, min_length=1, description="Priority class of the pods.")
    queue: str | None = Field(None, min_length=1, description="Local queue of Kueue that admits the jobs.")
    gpu_resource: str = Field("nvidia.com/gpu", min_length=1, description="Name of a GPU as a resource.")
    memory_gb: float | None = Field(None, gt=0, description="Memory of a job in GB.")
    walltime_minutes: int | None = Field(
        None, ge=1, description="Minutes a job may take from its start, with the time its pod waits."
    )
    user: int | None = Field(
        None, ge=0, description="User id of the pods; empty: of whoever runs Opswright, whose files they are."
    )
    restart_evicted: bool = Field(
        True, description="Start a job again whose pod was evicted, preempted or lost with its node."
    )
    keep_hours: float = Field(
        48, ge=0, description="Hours after which Kubernetes removes a job that ended; its files stay."
    )
    give_up_minutes: float = Field(
        10, ge=0, description="Minutes after which a pod that cannot start (image, secret) counts as failed."
    )
    lost_after_s: float = Field(
        30, ge=0, description="Seconds after which a job that the cluster no longer has counts as lost."
    )


class RaySettings(_Part):
    """On which Ray cluster rows are judged and compared."""

    address: str | None = Field(
        None,
        min_length=1,
        description="host:port of the head of a cluster; empty: one of this machine, started for the step.",
    )
    python: Path | None = Field(
        None, description="Python with what requirements-ray.txt names; empty: .venv-ray/bin/python."
    )
    shared_folder: Path | None = Field(
        None, description="Folder that every node sees; empty: the workspace, which then they must see."
    )
    cpus: int = Field(2, ge=1, le=1024, description="CPUs of a cluster of this machine.")
    rows_a_part: int = Field(
        10_000, ge=1, description="Rows that a worker gets at once; what is done is kept by parts."
    )


class ComputeSettings(_Part):
    """Where long work runs."""

    backend: str = Field(
        "local",
        min_length=1,
        description="Compute backend: local, slurm, kubernetes, or an installed one.",
    )
    curate: Literal["local", "ray"] = Field(
        "local", description="Where rows are judged and compared: this machine, or a Ray cluster."
    )
    slurm: SlurmSettings = SlurmSettings()
    kubernetes: KubernetesSettings = KubernetesSettings()
    ray: RaySettings = RaySettings()

    def limit_minutes(self, backend: str) -> int | None:
        """Minutes that a job of a backend may run; None where nothing limits it."""
        clusters: dict[str, SlurmSettings | KubernetesSettings] = {
            "slurm": self.slurm,
            "kubernetes": self.kubernetes,
        }
        return clusters[backend].walltime_minutes if backend in clusters else None

    @property
    def shared_folders(self) -> tuple[Path, ...]:
        """The folders in which jobs may run besides the workspace."""
        folders = (self.slurm.shared_folder, self.kubernetes.shared_folder)
        return tuple(folder for folder in folders if folder is not None)


class TrafficSettings(_Part):
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


class ExternalTritonSettings(_Part):
    """Triton servers that somebody else runs, as in containers, and how they are told what to serve."""

    urls: tuple[str, ...] = Field(
        (), description="Their addresses, http://HOST:PORT, all of one repository; empty: one is run here."
    )
    repository: str = Field(
        "",
        description="Their model repository as this machine reaches it: a shared folder, or an address such "
        "as s3://BUCKET/FOLDER.",
    )
    header: str = Field(
        "opswright-secret",
        pattern=r"^[A-Za-z0-9-]+$",
        description="Header in which their restricted APIs look for a secret.",
    )
    secret: SecretName | None = Field(
        None, description="The secret: secret:env:NAME or secret:file:PATH, never itself."
    )

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
        return self


class QueueSettings(_Part):
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


class TracingSettings(_Part):
    """Where traces of requests go."""

    endpoint: str | None = Field(
        None,
        pattern=r"^https?://[^\s/]+(/\S*)?$",
        description="OTLP/HTTP address of a collector, such as http://127.0.0.1:4318; empty: no traces.",
    )
    sample: float = Field(
        1.0, ge=0, le=1, description="Share of requests that are traced; a caller's own decision goes before."
    )


class ServingSettings(_Part):
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


class ConsoleSettings(_Part):
    """Where the console listens, and who may use it."""

    host: str = Field("127.0.0.1", min_length=1, description="Address the console listens on.")
    port: int = Field(7860, ge=1, le=65535, description="Port the console listens on.")
    users: Path | None = Field(
        None, description="File of users and hashed passwords; needed to listen on any but a local address."
    )
    allowed_hosts: tuple[str, ...] = Field(
        (), description="Names under which browsers reach the console besides its address, as behind a proxy."
    )
    max_upload_mb: float = Field(64, gt=0, le=4096, description="Megabytes one upload may have.")


class Settings(BaseSettings):
    """Everything that can be set, each with its default."""

    model_config = SettingsConfigDict(
        env_prefix="OPSWRIGHT_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        toml_file="opswright.toml",
    )

    home: Path = Field(Path(".opswright"), description="The workspace: the folder that holds all state.")
    actor: str = Field(
        default_factory=getpass.getuser, min_length=1, description="Who acts, as records name them."
    )
    role: str = Field("releaser", min_length=1, description="Role of the actor, one of the policy's.")
    policy: Path | None = Field(
        None, description="Policy file; empty: policy.yaml beside the workspace, else the built-in roles."
    )
    mlflow: MlflowSettings = MlflowSettings()
    train: TrainSettings = TrainSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    build: BuildSettings = BuildSettings()
    compute: ComputeSettings = ComputeSettings()
    serving: ServingSettings = ServingSettings()
    console: ConsoleSettings = ConsoleSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags win over the environment, the environment over the file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    def tracking_uri(self) -> str:
        """The MLflow tracking URI in force."""
        named = self.mlflow.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
        return named or f"sqlite:///{(self.home / 'mlflow.db').resolve()}"


def load_settings(**flags: object) -> Settings:
    """The settings from flags, environment and file, with telemetry switched off for every dependency."""
    for name, value in (*NO_TELEMETRY.items(), *PATIENT_THREADS.items()):
        os.environ.setdefault(name, value)
    try:
        return Settings(**{k: v for k, v in flags.items() if v is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        lines = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise AskError(
            f"a setting is wrong ({lines}). See opswright.toml and the OPSWRIGHT_ variables."
        ) from error
