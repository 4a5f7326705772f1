"""Inputs anywhere in a request, and requests that cannot be declared."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field, SecretStr, ValidationError

from opswright.core.artifact_refs import CheckpointRef
from opswright.core.contract import Effect, InputPath, Request, Result, StepContext, skill
from opswright.core.explain import explain
from opswright.core.inputs import InputMarker, outside_paths
from opswright.core.secrets import Redactor, SecretName


class Part(BaseModel):
    file: InputPath
    output: Path = Path("out")


class Many(Request):
    one: InputPath
    maybe: InputPath | None = None
    several: tuple[InputPath, ...] = ()
    all_of_it: Annotated[list[Path] | None, InputMarker()] = None
    named: dict[str, InputPath] = Field(default_factory=dict)
    parts: tuple[Part, ...] = ()
    pair: tuple[int, InputPath] | None = None
    plain: Path = Path("plain")


def test_each_marked_path_is_found_with_its_place() -> None:
    request = Many(
        one=Path("a"),
        several=(Path("b"), Path("c")),
        all_of_it=[Path("d")],
        named={"x": Path("e")},
        parts=(Part(file=Path("f")),),
        pair=(3, Path("g")),
    )
    assert {place: str(path) for place, path in outside_paths(request)} == {
        ("one",): "a",
        ("several", 0): "b",
        ("several", 1): "c",
        ("all_of_it", 0): "d",
        ("named", "x"): "e",
        ("parts", 0, "file"): "f",
        ("pair", 1): "g",
    }


class SetRequest(Request):
    files: frozenset[InputPath] = frozenset()


class SecretRequest(Request):
    key: SecretStr


class DeepSecretRequest(Request):
    parts: tuple[dict[str, SecretStr | None], ...] = ()


class Nothing(Result):
    pass


@pytest.mark.parametrize(
    ("request_type", "message"),
    [
        (SetRequest, "may not be in a set"),
        (SecretRequest, "a request holds no secret"),
        (DeepSecretRequest, "a request holds no secret"),
    ],
)
def test_a_request_that_no_plan_could_record_is_refused_when_it_is_declared(
    request_type: Any, message: str
) -> None:
    def bad(request: Any, ctx: StepContext) -> Nothing:
        return Nothing()

    bad.__annotations__["request"] = request_type
    with pytest.raises(TypeError, match=message):
        skill(effect=Effect.READS, summary="Bad.")(bad)


@pytest.mark.parametrize("name", ["hunter2", "secret:", "secret:env:", "secret:env:A B", "secret:vault:x"])
def test_a_secrets_name_has_one_of_two_forms(name: str) -> None:
    with pytest.raises(ValueError, match="not the secret itself"):
        SecretName._check(name)


def test_a_secret_is_read_from_its_file_and_hidden_from_then_on(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("s3cr3t-value\n")
    redactor = Redactor()
    assert redactor.resolve(SecretName(f"secret:file:{tmp_path / 'key'}")) == "s3cr3t-value"
    assert redactor.plain({"a": ["x s3cr3t-value y"], "s3cr3t-value": 1}) == {
        "a": ["x [secret] y"],
        "[secret]": 1,
    }


@pytest.mark.parametrize("kind", ["bundle", "classifier"])
def test_an_artifact_of_a_kind_that_is_not_taken_does_not_pass_for_a_file(kind: str) -> None:
    class Given(BaseModel):
        base: CheckpointRef | InputPath

    checkpoint = f"checkpoint:{'a' * 64}"
    assert Given.model_validate({"base": checkpoint}).base == checkpoint
    assert Given.model_validate({"base": f"{kind}:notes"}).base == Path(f"{kind}:notes")
    with pytest.raises(ValidationError) as refused:
        Given.model_validate({"base": f"{kind}:{'b' * 64}"})
    said = explain(refused.value, Given)
    assert said == [f"argument 'base': a {kind} is not taken here (of artifacts it takes: checkpoint)"]
