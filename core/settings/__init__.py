"""Settings: one tree that is the file (`opswright.toml`), the environment (`OPSWRIGHT_...`) and the flags."""

from __future__ import annotations

import os
import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from ..errors import AskError
from ..principal import os_user
from ..text import unseen_in
from .compute import ComputeSettings
from .identity import IdentitySettings
from .mcp import McpSettings, ProjectSkillSettings
from .memory import MemorySettings
from .notifications import NotificationSettings
from .part import SettingsPart
from .planner import PlannerSettings
from .prices import PriceSettings
from .serving import ServingSettings

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


class MlflowSettings(SettingsPart):
    """Where the view of the ledger is written."""

    tracking_uri: str | None = Field(
        None, description="MLflow tracking URI; empty: MLFLOW_TRACKING_URI, else SQLite in the workspace."
    )
    experiment: str = Field("opswright", min_length=1, description="MLflow experiment that holds the runs.")
    mirror: Literal["background", "off"] = Field(
        "background", description="Write MLflow from the ledger beside each run, or only on `audit sync`."
    )


class TrainSettings(SettingsPart):
    """How training workers run."""

    threads: int = Field(2, ge=1, le=256, description="CPU threads of a training worker.")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Device; auto takes a GPU where there is one."
    )


class EvaluationSettings(SettingsPart):
    """What evaluations need besides."""

    lm_eval: Path = Field(
        Path(".venv-lm-eval"), description="Folder of the virtual environment of lm-evaluation-harness."
    )


class BuildSettings(SettingsPart):
    """What builds of engines need besides."""

    modelopt: Path = Field(
        Path(".venv-modelopt"), description="Folder of the virtual environment of NVIDIA ModelOpt."
    )


class ConsoleSettings(SettingsPart):
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


def _readable(name: str) -> str:
    if unseen := unseen_in(name):
        raise ValueError(f"holds {unseen}, which shows nothing or moves text")
    return name


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
    actor: Annotated[str, AfterValidator(_readable)] = Field(
        default_factory=os_user, min_length=1, description="Who acts, as records name them."
    )
    role: str = Field("releaser", min_length=1, description="Role of the actor, one of the policy's.")
    policy: Path | None = Field(
        None, description="Policy file; empty: policy.yaml beside the workspace, else the built-in roles."
    )
    identity: IdentitySettings = IdentitySettings()
    mlflow: MlflowSettings = MlflowSettings()
    train: TrainSettings = TrainSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    build: BuildSettings = BuildSettings()
    compute: ComputeSettings = ComputeSettings()
    serving: ServingSettings = ServingSettings()
    console: ConsoleSettings = ConsoleSettings()
    mcp: McpSettings = McpSettings()
    project_skills: ProjectSkillSettings = ProjectSkillSettings()
    memory: MemorySettings = MemorySettings()
    planner: PlannerSettings = PlannerSettings()
    notifications: NotificationSettings = NotificationSettings()
    prices: PriceSettings = PriceSettings()

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
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise AskError(f"opswright.toml is not TOML: {error}.") from error
    except SettingsError as error:
        why = f"{error}. A variable of several fields is JSON."
        raise AskError(f"the settings cannot be read: {why}") from error
