"""How the shared store is reached: its address, its certificate, and what it keeps on disk."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from pydantic import ValidationError

from opswright.core.errors import AskError, BackendError
from opswright.core.settings.serving import StoreSettings
from opswright.serving.keys.durability import findings_of, store_findings
from opswright.serving.keys.redis_keys import SharedKeyStore, WatchedKeys
from opswright.serving.keys.redis_usage import RedisUsage
from opswright.serving.keys.store import Limits, new_hash_key, new_key

if TYPE_CHECKING:
    from tests.conftest import RedisServer

AOF = ("--appendonly", "yes", "--appendfsync", "always")


class Garbage:
    """A line to something that answers whatever it likes."""

    def __init__(self, reply: Any) -> None:
        self.reply = reply
        self.settings = StoreSettings(url="redis://nowhere")

    def run(self, script: Any, name: str, *arguments: Any) -> asyncio.Future[Any]:
        found = asyncio.get_running_loop().create_future()
        found.set_result(self.reply)
        return found

    async def probe(self, *command: Any) -> Any:
        return self.reply


GARBAGE = [["ok"], ["ok", "x", "y"], "ok", 7, None, ["budget"], ["odd", "1"]]


@pytest.mark.parametrize("reply", GARBAGE, ids=repr)
def test_a_store_that_answers_nonsense_lets_nobody_with_limits_in(reply: Any) -> None:
    limited = new_key(new_hash_key(), "ada", limits=Limits(budget_tokens=9, requests_per_minute=3)).key
    usage = RedisUsage(StoreSettings(url="redis://nowhere"), cast(Any, Garbage(reply)))
    with pytest.raises(BackendError, match="no step of it says"):
        asyncio.run(usage.reserve(limited, 1))


@pytest.mark.parametrize("reply", [["odd"], 7, {"key:a": 7}, {7: "a"}], ids=repr)
def test_keys_that_are_nonsense_let_nobody_in(reply: Any) -> None:
    async def look() -> WatchedKeys:
        keys = WatchedKeys(cast(Any, Garbage(reply)))
        await keys.start()
        await keys.stop()
        return keys

    with pytest.raises(AskError, match="damaged"):
        asyncio.run(look()).find("ops_" + "0" * 12 + "_" + "a" * 43)


@pytest.mark.parametrize(
    "url",
    [
        "redis://ada:secret@db:6379",
        "redis://:secret@db",
        "http://db",
        "redis://",
        "unix://",
        "redis://db?password=a",
    ],
)
def test_an_address_that_holds_a_password_or_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        StoreSettings(url=url)


def test_tls_is_verified_by_the_certificates_that_are_named(
    redis_server: Callable[..., RedisServer], tmp_path: Path, free_port: Callable[[], int]
) -> None:
    certificate, key = certified(tmp_path)
    port = free_port()
    tls = ("--tls-port", str(port), "--tls-cert-file", str(certificate), "--tls-key-file", str(key))
    redis_server(*tls, "--tls-ca-cert-file", str(certificate), "--tls-auth-clients", "no")
    url = f"rediss://localhost:{port}"
    trusted = SharedKeyStore(StoreSettings(url=url, ca_file=certificate, timeout_s=20))
    text = trusted.create("ada").key.name
    assert [one.name for one in trusted.keys().values()] == [text]
    with pytest.raises(BackendError, match=r"(?i)certificate"):
        SharedKeyStore(StoreSettings(url=url, timeout_s=20)).keys()


def certified(folder: Path) -> tuple[Path, Path]:
    """A certificate for localhost that nobody else signed, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    no_password = serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, form, no_password))
    assert ssl.create_default_context(cafile=str(paths[0]))
    return paths


@pytest.mark.parametrize(
    ("options", "level", "says"),
    [
        ((), "warn", "keeps nothing on disk"),
        (("--save", "60 1"), "warn", "keeps snapshots alone"),
        (AOF, "ok", "writes each change down"),
        (
            (*AOF, "--maxmemory-policy", "allkeys-lru"),
            "warn",
            "forgets keys and budgets when its memory is full",
        ),
    ],
)
def test_what_a_store_keeps_on_disk_is_said(
    redis_server: Callable[..., RedisServer], options: tuple[str, ...], level: str, says: str
) -> None:
    found = next(store_findings(StoreSettings(url=redis_server(*options).url, timeout_s=20)))
    assert found.level == level and says in found.message


def test_a_store_that_is_not_reached_and_one_that_tells_little_are_said() -> None:
    (found,) = store_findings(StoreSettings(url="redis://127.0.0.1:1", timeout_s=20))
    assert found.level == "warn" and "does not answer here" in found.message
    (found,) = findings_of({"redis_version": "7"}, snapshots=None)
    assert found.level == "warn" and "snapshots alone" in found.message
