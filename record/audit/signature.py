"""Signed heads: an Ed25519 signature over the ledger's head, which whoever lacks the key cannot make anew."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.errors import AskError, IntegrityError
from ...core.files import canonical_json
from ...core.workspace import Workspace
from ..ledger import Ledger

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

FORMAT = "opswright-head-1"


@dataclass(frozen=True)
class SignedHead:
    """A head that somebody signed, as far as it reads; `problem` says why the signature does not hold."""

    name: str
    workspace: str = ""
    seq: int = 0
    hash: str = ""
    time: str = ""
    problem: str = ""


def make_keys(private: Path) -> Path:
    """Write a new private key (readable by its owner alone) and beside it, as `.pub`, its public key.

    Gives the public key's path. AskError when either file is there: a key is never overwritten.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public = private.with_name(private.name + ".pub")
    for path in (private, public):
        if path.exists():
            raise AskError(f"{path} exists, and a key is never overwritten. Choose another file.")
    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    shown = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    private.parent.mkdir(parents=True, exist_ok=True)
    for path, data, mode in ((private, secret, 0o600), (public, shown, 0o644)):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
    return public


def sign_head(workspace: Workspace, key_file: Path) -> bytes:
    """The ledger's head, signed with a private key: canonical JSON and a newline."""
    from ..mirror.tracking import workspace_id

    key = _private_key(key_file)
    with workspace.lock("mirror"):
        own = workspace_id(workspace)
    ledger = Ledger.of(workspace)
    if faults := ledger.verify():
        raise IntegrityError(f"not signed: {faults[0].message}. See `opswright audit verify`.")
    seq, digest = ledger.head()
    statement = {
        "format": FORMAT,
        "workspace": own,
        "seq": seq,
        "hash": digest,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    signature = key.sign(canonical_json(statement)).hex()
    return canonical_json({"statement": statement, "signature": signature}) + b"\n"


def read_signed(path: Path, key_file: Path) -> SignedHead:
    """A signed head, its signature checked with a public key; AskError for a missing file or key."""
    from cryptography.exceptions import InvalidSignature

    key = _public_key(key_file)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise AskError(f"signature {path} cannot be read: {error.strerror}. Check the path.") from error
    name = f"signature {path.name}"
    try:
        document: dict[str, Any] = json.loads(data)
        statement = document["statement"]
        signed = SignedHead(
            name,
            str(statement["workspace"]),
            int(statement["seq"]),
            str(statement["hash"]),
            str(statement["time"]),
            "" if statement["format"] == FORMAT else f"{name} has format {statement['format']!r}",
        )
        key.verify(bytes.fromhex(document["signature"]), canonical_json(statement))
    except InvalidSignature:
        return SignedHead(name, problem=f"{name} was not made with key {key_file.name}, or was changed since")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, AskError) as error:
        return SignedHead(name, problem=f"{name} does not read: {error!r}")
    return signed


def _private_key(path: Path) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = _load(path, "private", lambda data: load_pem_private_key(data, password=None))
    if not isinstance(key, Ed25519PrivateKey):
        raise _wrong_key(path, "private")
    return key


def _public_key(path: Path) -> Ed25519PublicKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    key = _load(path, "public", load_pem_public_key)
    if not isinstance(key, Ed25519PublicKey):
        raise _wrong_key(path, "public")
    return key


def _load(path: Path, which: str, load: Any) -> object:
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        return load(path.read_bytes())
    except OSError as error:
        raise AskError(f"{which} key {path} cannot be read: {error.strerror}. Check the path.") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _wrong_key(path, which) from error


def _wrong_key(path: Path, which: str) -> AskError:
    return AskError(
        f"{path} does not hold an Ed25519 {which} key in PEM without a password. "
        "`opswright audit keygen FILE` makes a pair: FILE signs, FILE.pub verifies."
    )
