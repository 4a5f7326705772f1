"""Settings of notifications: which addresses are told what happens."""

from __future__ import annotations

from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from ..secrets import SecretName
from .part import SettingsPart

EventName = Literal["waiting", "approved", "denied", "expired", "verdict", "alarm", "budget"]
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class WebhookSettings(SettingsPart):
    """One address that is told."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9-]{0,63}$", description="How `notifications status` calls it."
    )
    url: str = Field(
        pattern=r"^https?://[^\s/@#]+(/[^\s#]*)?$",
        description="Where it is told: https, or http on this machine; without a password.",
    )
    secret: SecretName = Field(
        description="Where the key of the signatures is: secret:env:NAME or secret:file:PATH."
    )
    events: tuple[EventName, ...] = Field(
        ("waiting", "approved", "denied", "expired", "verdict", "alarm", "budget"),
        description="What it is told of.",
    )

    @model_validator(mode="after")
    def _crosses_no_network_readable(self) -> Self:
        parts = urlsplit(self.url)
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise ValueError("http only reaches addresses of this machine: give an https address")
        return self


class NotificationSettings(SettingsPart):
    """Who is told what happens, and how long that is tried."""

    webhooks: tuple[WebhookSettings, ...] = Field((), description="Addresses that are told.")
    timeout_s: float = Field(10, gt=0, le=120, description="Seconds an address may take to reply.")
    give_up_hours: float = Field(
        24, gt=0, le=24 * 30, description="Hours after which a notification that nobody took is given up."
    )

    @model_validator(mode="after")
    def _is_named_once(self) -> Self:
        names = [one.name for one in self.webhooks]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two webhooks are named '{sorted(twice)[0]}'")
        return self
