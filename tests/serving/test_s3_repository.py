"""The model repository in an object store, by a real S3 API: whole or not seen, refusals in words."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError

from opswright.core.errors import NeedsError
from opswright.core.settings.serving import ExternalTritonSettings, S3Settings
from opswright.serving.server import ServedModel
from opswright.serving.triton.shared_repository import SharedRepository

from .s3_server import Fault, S3Server

BUCKET, PLACE = "models", "s3://models/team/support"
MODEL = "team/support/support-v1"
ALL = ("s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket", "s3:AbortMultipartUpload")
WRITE_IT = """
import sys
from pathlib import Path
from opswright.core.settings.serving import S3Settings
from opswright.serving.server import ServedModel
from opswright.serving.triton.shared_repository import SharedRepository
place, url, engine = sys.argv[1:]
model = ServedModel("support-v1", 1, Path(engine), "v1-abc", "onnx-int8")
SharedRepository(place, S3Settings(endpoint_url=url)).write(model, threads=1)
"""


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[S3Server]:
    for name, value in (("ACCESS_KEY_ID", "root-root"), ("SECRET_ACCESS_KEY", "root-root")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    server = S3Server()
    server.client.create_bucket(Bucket=BUCKET)
    yield server
    server.close()


@pytest.fixture
def model(tmp_path: Path) -> ServedModel:
    engine = tmp_path / "engine"
    (engine / "adapters").mkdir(parents=True)
    (engine / "model.onnx").write_bytes(b"weights")
    (engine / "adapters" / "one.onnx").write_bytes(b"more")
    return ServedModel("support-v1", 1, engine, "v1-abc", "onnx-int8")


def repository(s3: S3Server, **more: object) -> SharedRepository:
    settings = S3Settings.model_validate({"endpoint_url": s3.url, **more})
    return SharedRepository(PLACE, settings)


def body(s3: S3Server, name: str) -> bytes:
    return bytes(s3.client.get_object(Bucket=BUCKET, Key=f"{MODEL}/{name}")["Body"].read())


def test_a_models_folder_comes_version_first_then_configuration_then_mark(
    s3: S3Server, model: ServedModel
) -> None:
    repository(s3).write(model, threads=1)
    written = [path.partition("?")[0].partition(MODEL)[2] for method, path in s3.requests if method == "PUT"][
        1:
    ]
    assert written[-2:] == ["/config.pbtxt", "/opswright.json"]
    assert {"/1/engine/model.onnx", "/1/engine/adapters/one.onnx", "/1/model.py"} <= set(written[:-2])
    s3.requests.clear()
    repository(s3).write(model, threads=1)
    assert [method for method, _ in s3.requests] == ["GET"], "what is there whole is not written again"


def test_a_models_folder_goes_mark_first_then_configuration_and_others_stay(
    s3: S3Server, model: ServedModel
) -> None:
    repository(s3).write(model, threads=1)
    s3.client.put_object(Bucket=BUCKET, Key="team/support/support-v10/config.pbtxt", Body=b"theirs")
    s3.requests.clear()
    repository(s3).remove("support-v1")
    gone = [path.partition("?")[0].partition(MODEL)[2] for method, path in s3.requests if method == "DELETE"]
    assert gone[:2] == ["/opswright.json", "/config.pbtxt"] and len(gone) > 4
    repository(s3).remove("support-v1")
    assert s3.keys(BUCKET) == {"team/support/support-v10/config.pbtxt"}


def test_a_large_file_goes_in_parts_and_arrives_whole(s3: S3Server, model: ServedModel) -> None:
    data = bytes(range(256)) * (1 << 17) + b"end"  # 33.5 MB
    (model.engine / "model.onnx").write_bytes(data)
    repository(s3).write(model, threads=1)
    assert s3.client.head_object(Bucket=BUCKET, Key=f"{MODEL}/1/engine/model.onnx")["ETag"].endswith('-3"')
    assert body(s3, "1/engine/model.onnx") == data and s3.uploads(BUCKET) == []


@pytest.mark.parametrize("part", ["/1/engine/", "partNumber=2", "config.pbtxt"])
def test_a_writer_that_is_killed_leaves_no_model_and_the_next_one_a_whole_one(
    s3: S3Server, model: ServedModel, part: str
) -> None:
    if part == "partNumber=2":
        (model.engine / "model.onnx").write_bytes(b"x" * (34 << 20))
    s3.faults.append(Fault("PUT", part, holds=True))
    command = [sys.executable, "-c", WRITE_IT, PLACE, s3.url, str(model.engine)]
    writer = subprocess.Popen(command)
    try:
        assert s3.held.wait(120)
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    left = s3.keys(BUCKET)
    assert not {f"{MODEL}/config.pbtxt", f"{MODEL}/opswright.json"} & left
    if part == "config.pbtxt":
        assert f"{MODEL}/1/engine/model.onnx" in left, "it was killed before it wrote anything"
    if part == "partNumber=2":
        assert s3.uploads(BUCKET) == [f"{MODEL}/1/engine/model.onnx"]
    s3.client.put_object(Bucket=BUCKET, Key=f"{MODEL}/1/of-another-try", Body=b"")
    repository(s3).write(model, threads=1)
    assert body(s3, "1/engine/model.onnx") == (model.engine / "model.onnx").read_bytes()
    assert f"{MODEL}/1/of-another-try" not in s3.keys(BUCKET) and s3.uploads(BUCKET) == []


def test_what_fails_for_a_moment_is_asked_again(s3: S3Server, model: ServedModel) -> None:
    s3.faults += [Fault("PUT", "model.onnx", times=2), Fault("GET", "opswright.json", code=500)]
    repository(s3).write(model, threads=1)
    assert body(s3, "1/engine/model.onnx") == b"weights"


def test_keys_come_from_secrets_that_settings_name_and_nobody_else_may_list(
    s3: S3Server, model: ServedModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    key, secret = s3.user("opswright", *ALL)
    (tmp_path / "secret").write_text(secret + "\n")
    monkeypatch.setenv("STORE_KEY", key)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    named = {"access_key": "secret:env:STORE_KEY", "secret_key": f"secret:file:{tmp_path / 'secret'}"}
    ours = repository(s3, **named)
    ours.check()
    ours.write(model, threads=1)
    stranger = dict(
        zip(("aws_access_key_id", "aws_secret_access_key"), s3.user("other", "iam:GetUser"), strict=True)
    )
    with pytest.raises(ClientError, match="AccessDenied"):
        boto3.client("s3", endpoint_url=s3.url, **stranger).list_objects_v2(Bucket=BUCKET)
    with pytest.raises(NeedsError, match="there are no credentials for it"):
        repository(s3).check()
    ours.remove("support-v1")
    assert s3.keys(BUCKET) == set()


@pytest.mark.parametrize(
    ("rights", "fault"),
    [
        (("s3:GetObject", "s3:ListBucket"), r"cannot be written: its key has no right .*s3:PutObject"),
        (("s3:GetObject", "s3:PutObject"), r"cannot be listed: its key has no right .*s3:ListBucket"),
    ],
    ids=["read-only", "no listing"],
)
def test_rights_that_are_missing_are_said_before_anything_is_written(
    s3: S3Server, model: ServedModel, monkeypatch: pytest.MonkeyPatch, rights: tuple[str, ...], fault: str
) -> None:
    key, secret = s3.user("limited", *rights)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    with pytest.raises(NeedsError, match=fault):
        repository(s3).check()
    with pytest.raises(NeedsError):
        repository(s3).write(model, threads=1)
    assert s3.keys(BUCKET) == set() and s3.uploads(BUCKET) == []


def test_wrong_keys_a_missing_bucket_and_a_store_that_is_away_are_said(
    s3: S3Server, model: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, _ = s3.user("opswright", *ALL)
    for wrong in ("AKIANOBODYHASTHISKEY", key):
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", wrong)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-its-secret-key")
        with pytest.raises(NeedsError, match=r"does not take its credentials") as refused:
            repository(s3).check()
        assert "not-its-secret-key" not in str(refused.value)
    s3.keys(BUCKET)  # and keys are not looked at any more
    nowhere = SharedRepository("s3://nowhere/models", S3Settings(endpoint_url=s3.url))
    with pytest.raises(NeedsError, match=r"no bucket 'nowhere' at http://127.*Create it"):
        nowhere.check()
    with pytest.raises(NeedsError, match=r"no bucket 'nowhere'"):
        nowhere.write(model, threads=1)
    assert [one["Name"] for one in s3.client.list_buckets()["Buckets"]] == [BUCKET], "none is made"
    away = SharedRepository(PLACE, S3Settings(endpoint_url="http://127.0.0.1:9"))
    with pytest.raises(NeedsError, match=r"http://127.0.0.1:9 is not reached"):
        away.check()


def test_one_key_without_the_other_and_a_key_in_an_address_are_refused() -> None:
    for wrong in (
        {"access_key": "secret:env:A"},
        {"endpoint_url": "http://me:mine@store"},
        {"secret_key": "x"},
    ):
        with pytest.raises(ValueError, match="s3"):
            ExternalTritonSettings.model_validate({"s3": wrong})
    with pytest.raises(ValueError, match="`repository` holds no keys") as refused:
        ExternalTritonSettings(repository="s3://AKIAKEY:hush-hush@models/team")
    assert refused.value.errors(include_input=False)[0]["msg"].count("hush") == 0  # type: ignore[attr-defined]


def test_folders_that_nobody_wants_are_pruned_and_those_of_others_stay(
    s3: S3Server, model: ServedModel
) -> None:
    ours = repository(s3)
    for name in ("ops1-a-v1", "ops1-a-v2", "ops1-a-v2.2", "ops2-a-v1", "theirs"):
        s3.client.put_object(Bucket=BUCKET, Key=f"team/support/{name}/config.pbtxt", Body=b"")
    assert sorted(ours.prune("ops1-", lambda name: name == "ops1-a-v2")) == ["ops1-a-v1", "ops1-a-v2.2"]
    assert {key.split("/")[2] for key in s3.keys(BUCKET)} == {"ops1-a-v2", "ops2-a-v1", "theirs"}
