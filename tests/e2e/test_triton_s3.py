"""A real Triton that reads its models from an object store by S3's API: what is written there is served."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from opswright.core.settings import load_settings
from opswright.core.settings.serving import ServingSettings
from opswright.core.workspace import Workspace
from opswright.serving.rollout.checks import platform_findings
from opswright.serving.server import InferenceServer, ServedModel, ready

from .server_scene import chat, play

pytestmark = pytest.mark.e2e


@pytest.fixture
def s3(load_script: Callable[[Path, str], ModuleType]) -> Iterator[Any]:
    path = Path(__file__).parents[1] / "serving" / "s3_server.py"
    server = load_script(path, "s3_server_of_tests").S3Server()
    server.client.create_bucket(Bucket="models")
    yield server
    server.close()


def test_a_release_is_loaded_from_s3_asked_and_taken_out_again(
    start_triton: Callable[..., Any],
    engines: tuple[Path, Path],
    tmp_path: Path,
    s3: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "root-root",
        "AWS_SECRET_ACCESS_KEY": "root-root",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "THEIR_SECRET": "a-secret-of-theirs",
    }.items():
        monkeypatch.setenv(name, value)
    s3.client.put_object(Bucket="models", Key="team/theirs/note", Body=b"of somebody else")
    triton = start_triton(f"s3://{s3.url}/models/team")
    serving = ServingSettings.model_validate(
        {
            "external": {
                "urls": [triton.url],
                "repository": "s3://models/team",
                "secret": "secret:env:THEIR_SECRET",
                "s3": {"endpoint_url": s3.url},
            },
            "gateway_port": 0,
        }
    )
    workspace = Workspace(load_settings(home=tmp_path / "workspace", serving=serving))
    assert [one.message for one in platform_findings(workspace) if one.level == "stop"] == []

    async def scene(server: InferenceServer) -> None:
        one = ServedModel("support-v1", 1, engines[0], "v1-abc", "onnx-int8")
        two = ServedModel("support-v2", 2, engines[1], "v2-abc", "onnx-int8")
        await server.load(one)
        await server.load(two)
        assert await ready(server, one, 120) and await ready(server, two, 120)
        ask = chat("transfer money", max_tokens=8)
        answers = [await server.infer(name, ask) for name in ("support-v1", "support-v2")]
        assert [answer.release for answer in answers] == ["v1-abc", "v2-abc"]
        assert answers[0].text != answers[1].text
        await server.unload("support-v1")
        assert not any("support-v1" in key for key in s3.keys("models"))

    play(workspace, scene)
    assert s3.keys("models") == {"team/theirs/note"} and triton.is_live() and triton.models() == set()
