"""An issuer's public keys by their ids: from a file, or from an address and kept for a while."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.errors import AskError, NeedsError
from ...core.files import PRIVATE, write_atomically
from .fetch import fetch_json
from .rules import KeySource

if TYPE_CHECKING:
    from jwt import PyJWK

# The algorithm is the key's, never the token's: a public key is no secret that HS256 could be made with.
_ALGORITHMS = {"RSA": "RS256", "EC": "ES256"}
_LEAST_RSA_BITS = 2048


@dataclass(frozen=True)
class PublicKey:
    """One key of an issuer, and the only algorithm it verifies."""

    key_id: str
    algorithm: str
    key: PyJWK


@dataclass(frozen=True)
class KeySet:
    """The keys of one source. folder: of the policy file; cache: where keys from an address are kept."""

    source: KeySource
    folder: Path
    cache: Path

    def key(self, key_id: str) -> PublicKey | None:
        """The key of that id; a set from an address is asked once more before an id counts as unknown."""
        if self.source.file is not None:
            return _keys(self._of_file()).get(key_id)
        kept = self._kept()
        if kept is not None and (found := _keys(kept).get(key_id)) is not None:
            return found
        return _keys(self._fetched()).get(key_id)

    def _of_file(self) -> Mapping[str, Any]:
        path = self.folder / (self.source.file or "")
        try:
            found = json.loads(path.read_bytes())
        except OSError as error:
            raise NeedsError(f"cannot read the key set {path}: {error.strerror}.") from error
        except (ValueError, RecursionError) as error:
            raise AskError(f"the key set {path} is not JSON.") from error
        if not isinstance(found, dict):
            raise AskError(f"the key set {path} is not a JSON object with 'keys'.")
        return found

    @property
    def _path(self) -> Path:
        name = hashlib.sha256((self.source.url or "").encode()).hexdigest()[:32]
        return self.cache / f"{name}.json"

    def _kept(self) -> Mapping[str, Any] | None:
        """What the address gave, unless that is too long ago or not from this address."""
        try:
            kept = json.loads(self._path.read_bytes())
            age_s = time.time() - float(kept["at"])
            is_fresh = 0 <= age_s <= self.source.max_age_hours * 3600 and kept["url"] == self.source.url
            return kept["keys"] if is_fresh and isinstance(kept["keys"], dict) else None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def _fetched(self) -> Mapping[str, Any]:
        url = self.source.url or ""
        keys = fetch_json(url, "the issuer's keys")
        kept = {"url": url, "at": time.time(), "keys": keys}
        write_atomically(self._path, json.dumps(kept).encode(), PRIVATE)
        return keys


def _keys(document: Mapping[str, Any]) -> dict[str, PublicKey]:
    """The keys that may verify, by id; an id that stands twice names none."""
    listed = document.get("keys")
    entries = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    found: dict[str, PublicKey] = {}
    for entry in entries:
        key_id = entry.get("kid")
        is_alone = sum(other.get("kid") == key_id for other in entries) == 1
        if isinstance(key_id, str) and key_id and is_alone and (key := _key(key_id, entry)) is not None:
            found[key_id] = key
    return found


def _key(key_id: str, entry: Mapping[str, Any]) -> PublicKey | None:
    """A key for signatures of the two algorithms that are taken; None for any other."""
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from jwt import PyJWK
    from jwt.exceptions import PyJWTError

    algorithm = _ALGORITHMS.get(str(entry.get("kty")))
    if algorithm is None or entry.get("use", "sig") != "sig" or entry.get("alg", algorithm) != algorithm:
        return None
    if algorithm == "ES256" and entry.get("crv") != "P-256":
        return None
    public = {name: value for name, value in entry.items() if name in ("kty", "n", "e", "crv", "x", "y")}
    try:
        key = PyJWK(public, algorithm=algorithm)
    except (PyJWTError, ValueError, TypeError, KeyError):
        return None
    if isinstance(key.key, RSAPublicKey) and key.key.key_size < _LEAST_RSA_BITS:
        return None
    return PublicKey(key_id, algorithm, key)
