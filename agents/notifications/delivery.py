"""One message to one webhook: signed by the Standard Webhooks convention, sent where the settings say.

Source: the Standard Webhooks specification, standardwebhooks.com: headers webhook-id, webhook-timestamp and
webhook-signature, the signature being v1 and HMAC-SHA256 over "id.timestamp.body" in base64.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import urllib.error
import urllib.request
from http.client import HTTPException

from ...core.errors import NeedsError
from ...core.files import canonical_json
from ...core.settings.notifications import WebhookSettings
from ..timed_http import open_in_time
from .events import Notification

_PREFIX = "whsec_"


_OF_THE_MESSAGE = (400, 413, 415, 422)  # statuses that say nothing against the next message


class DeliveryError(Exception):
    """A message was not taken: why, in words that hold neither the key nor what the other side wrote.

    of_message: whether the address refused this message, and may well take another.
    """

    def __init__(self, why: str, *, of_message: bool = False) -> None:
        super().__init__(why)
        self.of_message = of_message


def signature(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """The value of the header webhook-signature."""
    signed = b".".join((message_id.encode(), str(timestamp).encode(), body))
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def key_of(secret: str) -> bytes:
    """The bytes of a key: what follows whsec_ in base64, or the text itself; NeedsError for broken base64."""
    secret = secret.strip()
    if not secret.startswith(_PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError) as error:
        raise NeedsError("a webhook's secret begins with whsec_, and what follows is not base64.") from error


def deliver(webhook: WebhookSettings, message: Notification, at: int, timeout_s: float) -> None:
    """Send one message; DeliveryError unless the address replies with a status from 200 to 299.

    at: seconds since 1970, when this attempt is made. NeedsError when the secret is not there.
    """
    body = canonical_json(message.document())
    headers = {
        "content-type": "application/json",
        "user-agent": "opswright",
        "webhook-id": message.id,
        "webhook-timestamp": str(at),
        "webhook-signature": signature(key_of(webhook.secret.resolve()), message.id, at, body),
    }
    request = urllib.request.Request(webhook.url, body, headers, method="POST")
    try:
        with open_in_time(request, timeout_s, use_proxies=False) as reply:
            status = int(reply.status)
    except urllib.error.HTTPError as error:
        error.close()
        status = error.code
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise DeliveryError(f"no reply: {type(reason).__name__}") from None  # it may quote the reply
    if not 200 <= status < 300:
        raise DeliveryError(f"replied with status {status}", of_message=status in _OF_THE_MESSAGE)
