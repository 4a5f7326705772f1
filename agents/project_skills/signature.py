"""Signatures of project skills: OpenSSF model signing, with a key of one's own, kept beside the folder."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from ...core.errors import IntegrityError, NeedsError
from ...core.files import files_below
from ...core.install import install_hint


def signature_beside(folder: Path) -> Path | None:
    """NAME.sig beside folder NAME: inside, it would be one of the files that it signs."""
    path = folder.with_name(f"{folder.name}.sig")
    return path if path.exists() else None


def verify_signature(folder: Path, signature: Path, public_key: Path) -> str:
    """The first digits of the key's SHA-256 when the signature is of exactly this folder.

    Raises IntegrityError for a file that was changed, added or taken away, or another key's signature.
    """
    try:
        from model_signing import verifying
    except ImportError as error:
        raise NeedsError(f"signatures need model-signing: {install_hint('skills')}") from error
    refuse_unsigned_places(folder)
    try:
        key = public_key.read_bytes()
    except OSError as error:
        raise NeedsError(f"cannot read the public key {public_key}: {error.strerror}.") from error
    try:
        config: Any = verifying.Config()  # type: ignore[no-untyped-call]
        config.use_elliptic_key_verifier(public_key=public_key).verify(folder, signature)
    except Exception as error:  # the library raises ValueError, KeyError and errors of its parsers alike
        raise IntegrityError(
            f"the signature {signature} is not one of {folder.name} as it is now: {error}. Do not run it; "
            "ask whoever signed it."
        ) from error
    refuse_left_out(folder, signature)
    return hashlib.sha256(key).hexdigest()[:12]


def refuse_left_out(folder: Path, signature: Path) -> None:
    """IntegrityError for a file that a verified signature does not name: it may tell what it leaves out."""
    try:
        envelope = json.loads(signature.read_bytes())["dsseEnvelope"]
        statement = json.loads(base64.b64decode(envelope["payload"]))
        signed = {one["name"] for one in statement["predicate"]["resources"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"the signature {signature} does not say which files it is of.") from error
    for name in files_below(folder):
        if name not in signed:
            raise IntegrityError(
                f"{folder / name} is not among the files that {signature} is of: whoever signed it left it "
                "out. Ask them to sign the whole folder."
            )


def refuse_unsigned_places(folder: Path) -> None:
    """IntegrityError for files that signatures of others leave out: whatever is there was never signed."""
    for path in folder.rglob(".git*"):
        raise IntegrityError(f"{path} is no part of a signature: a signed skill has no git files in it.")
