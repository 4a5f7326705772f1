"""References to artifacts: a string, `<kind>:<sha256>`, with a class for each kind.

So a plan which hands a checkpoint to a step that wants a dataset is refused when it is made.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any, ClassVar, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from .errors import AskError, did_you_mean

_PENDING = "0" * 64


class PendingArtifact(AskError):
    """The reference stands for an artifact that an earlier step of the plan has yet to make."""


class ArtifactRef(str):
    """A reference to an artifact of one kind: `kind:` and 64 hex digits."""

    kind: ClassVar[str] = "artifact"
    spoken: ClassVar[tuple[str, ...]] = ()  # what people call one, besides the kind itself

    @classmethod
    def of(cls, digest: str) -> Self:
        """The reference of this kind to a digest."""
        return cls(f"{cls.kind}:{digest}")

    @property
    def digest(self) -> str:
        """The 64 hex digits."""
        return self.partition(":")[2]

    @classmethod
    def pending(cls) -> Self:
        """The stand-in for an artifact that an earlier step will make; opening it raises PendingArtifact."""
        return cls.of(_PENDING)

    @property
    def is_pending(self) -> bool:
        """Whether this is a stand-in."""
        return self.digest == _PENDING

    @property
    def short(self) -> str:
        """The form people read: the kind and 12 digits."""
        return f"{self.kind}:{self.digest[:12]}"

    @classmethod
    def _check(cls, value: str) -> Self:
        kind, _, digest = value.partition(":")
        if kind != cls.kind or len(digest) != 64 or set(digest) - set("0123456789abcdef"):
            raise ValueError(f"expected a reference like {cls.kind}:<64 hex digits>, found '{value[:80]}'")
        return cls(value)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(
            cls._check, core_schema.str_schema(), serialization=core_schema.to_string_ser_schema()
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {
            "type": "string",
            "pattern": f"^{cls.kind}:[0-9a-f]{{64}}$",
            "description": f"Reference to a {cls.kind}.",
        }


class DatasetRef(ArtifactRef):
    """Chat-format rows, split for training, with a record of every row left out."""

    kind = "dataset"
    spoken = ("data set", "training set", "training data", "data", "rows")


class CheckpointRef(ArtifactRef):
    """A model as a Hugging Face folder: config, tokenizer, safetensors."""

    kind = "checkpoint"
    spoken = ("model", "weights")


class AdapterRef(ArtifactRef):
    """Low-rank adapters in PEFT's form, and which base they belong to."""

    kind = "adapter"
    spoken = ("model", "lora adapter", "adapters")


class ClassifierRef(ArtifactRef):
    """A model that answers with one of its labels, as a Hugging Face folder with a classification head."""

    kind = "classifier"
    spoken = ("model",)


class NemoArchiveRef(ArtifactRef):
    """A model as a `.nemo` file, with a reader for it."""

    kind = "nemo-archive"
    spoken = ("archive", "nemo")


class BundleRef(ArtifactRef):
    """A deployable engine: weights for one target, its config, the serving config, a manifest."""

    kind = "bundle"
    spoken = ("engine", "build")


class ManifestsRef(ArtifactRef):
    """A release as objects of a Kubernetes cluster: YAML files, checked; no secret is in them."""

    kind = "manifests"
    spoken = ("manifest",)


class GuardrailRef(ArtifactRef):
    """A NeMo Guardrails config that passed its must-block and must-pass sets."""

    kind = "guardrails"
    spoken = ("guardrail", "rails", "guard rails")


class EvalReportRef(ArtifactRef):
    """One model on one suite: metrics, slices, baselines and every item."""

    kind = "eval-report"
    spoken = ("report", "evaluation", "eval", "results", "score")


class BenchmarkReportRef(ArtifactRef):
    """One endpoint under load: latencies, rates and errors at each concurrency, and every request."""

    kind = "benchmark-report"


class LearningCurveRef(ArtifactRef):
    """Scores of trainings on growing shares of a dataset, the law through them, a page and a picture."""

    kind = "learning-curve"
    spoken = ("curve",)


class DriftReportRef(ArtifactRef):
    """One window of traffic against reference data: tests, verdict, plots."""

    kind = "drift-report"
    spoken = ("report", "drift alarm", "alarm", "drift")


REF_TYPES: dict[str, type[ArtifactRef]] = {
    ref.kind: ref
    for ref in (
        DatasetRef,
        CheckpointRef,
        AdapterRef,
        ClassifierRef,
        NemoArchiveRef,
        BundleRef,
        GuardrailRef,
        EvalReportRef,
        BenchmarkReportRef,
        LearningCurveRef,
        ManifestsRef,
        DriftReportRef,
    )
}


def add_ref_type(ref_type: type[ArtifactRef]) -> None:
    """Take in a kind of artifact that a package brings; AskError when the kind is taken or has no name."""
    kind = ref_type.kind
    if not re.fullmatch(r"[a-z][a-z-]*", kind) or REF_TYPES.get(kind, ref_type) is not ref_type:
        raise AskError(
            f"invalid artifact kind '{kind}' of {ref_type.__module__}: expected lower-case words and hyphens "
            f"that no other kind has (there are: {', '.join(REF_TYPES)})."
        )
    REF_TYPES[kind] = ref_type


def is_reference(value: object) -> bool:
    """Whether a value is a reference to an artifact of a known kind, whole."""
    with suppress(AskError):
        return isinstance(value, str) and bool(parse_ref(value))
    return False


def parse_ref(text: str) -> ArtifactRef:
    """The typed reference a full `kind:digest` string means; AskError for anything else."""
    kind = text.partition(":")[0]
    if kind not in REF_TYPES:
        raise AskError(
            f"invalid reference '{text[:80]}': expected kind:digest, with a kind of {', '.join(REF_TYPES)}."
            + did_you_mean(kind, REF_TYPES)
        )
    try:
        return REF_TYPES[kind]._check(text)
    except ValueError as error:
        raise AskError(str(error)) from error
