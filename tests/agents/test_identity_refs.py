"""What `ref` means in a token: a branch, unless the policy says that tags are meant."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from opswright.agents.identity.id_token import verify_token
from opswright.agents.identity.rules import IdentityRule
from opswright.core.errors import DeniedError

KEY = rsa.generate_private_key(65537, 2048)
GITLAB, GITHUB = "https://gitlab.com", "https://token.actions.githubusercontent.com"
PROJECT = {"project_path": "acme/models", "ref": "main"}


def taken(folder: Path, issuer: str, named: dict[str, Any], **said: Any) -> str:
    """The identity that a token of these claims is; DeniedError for none."""
    keys = [{**jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key(), as_dict=True), "kid": "one"}]
    (folder / "keys.json").write_text(json.dumps({"keys": keys}))
    identity = {"issuer": issuer, "audience": "opswright", "jwks": {"file": "keys.json"}, "claims": named}
    rule = IdentityRule.model_validate({**identity, "roles": ["releaser"]})
    now = int(time.time())
    claims = {"iss": issuer, "aud": "opswright", "sub": "s", "iat": now, "exp": now + 60, **said}
    token = jwt.encode(claims, KEY, "RS256", headers={"kid": "one"})
    return verify_token(token, {"release": rule}, folder=folder, cache=folder).identity


def gitlab(kind: str, ref: str = "main", **more: str) -> dict[str, str]:
    """What GitLab says of a pipeline of a branch or of a tag."""
    folder = "heads" if kind == "branch" else "tags"
    told = {"ref_type": kind, "ref_path": f"refs/{folder}/{ref}", "pipeline_source": "push"}
    return {"project_path": "acme/models", "ref": ref, **told, **more}


def test_a_tag_that_is_called_as_a_branch_is_not_that_branch(tmp_path: Path) -> None:
    assert taken(tmp_path, GITLAB, PROJECT, **gitlab("branch")) == "release"
    for named in (PROJECT, {**PROJECT, "ref_protected": "true"}):
        with pytest.raises(DeniedError, match="name `ref_type`"):
            taken(tmp_path, GITLAB, named, **gitlab("tag", ref_protected="true"))


@pytest.mark.parametrize("more", [{"ref_type": "tag"}, {"ref_path": "refs/tags/main"}])
def test_an_identity_that_means_tags_says_so(tmp_path: Path, more: dict[str, str]) -> None:
    assert taken(tmp_path, GITLAB, {**PROJECT, **more}, **gitlab("tag")) == "release"
    with pytest.raises(DeniedError, match=r"claim ref_\w+ is"):
        taken(tmp_path, GITLAB, {**PROJECT, **more}, **gitlab("branch"))


def test_a_ref_in_full_says_itself_what_it_is(tmp_path: Path) -> None:
    named = {"repository": "acme/models", "ref": "refs/tags/v1"}
    said = {**named, "ref_type": "tag", "event_name": "push"}
    assert taken(tmp_path, GITHUB, named, **said) == "release"


@pytest.mark.parametrize("ref", ["release/main", "main/", "Main", "main ", "refs/heads/main"])
def test_a_branch_with_slashes_is_no_other_branch(tmp_path: Path, ref: str) -> None:
    with pytest.raises(DeniedError, match="claim ref is"):
        taken(tmp_path, GITLAB, PROJECT, **gitlab("branch", ref))
