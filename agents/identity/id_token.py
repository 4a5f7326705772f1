"""An identity token is verified: signature, issuer, audience, time, and the claims that the policy asks for.

Of the token's header only `alg` and `kid` are read: addresses and keys that a token brings itself (`jku`,
`x5u`, `jwk`, `x5c`) are not. Source: RFC 8725, JSON Web Token best current practices.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.errors import AskError, DeniedError, NeedsError
from .key_set import KeySet
from .rules import PREFIX, IdentityRule

LEEWAY_S = 30
_MAX_LIFE_S = 24 * 3600  # a token that lives longer is a password
_MAX_CHARACTERS = 64_000
_SHOWN = 160  # characters of one claim in a record
_NEEDED = ("exp", "iat", "iss", "aud", "sub")

_SAY_THE_KIND = frozenset({"ref_type", "ref_path", "sub"})  # claims that tell a tag from a branch

# What may set off a pipeline whose token counts without the policy naming it: not what strangers can do.
_OWN_EVENTS: Mapping[str, frozenset[str]] = {
    "event_name": frozenset(
        {"push", "schedule", "workflow_dispatch", "repository_dispatch", "release", "merge_group"}
    ),
    "pipeline_source": frozenset({"push", "schedule", "web", "api", "trigger"}),
}


@dataclass(frozen=True)
class VerifiedToken:
    """A token that was taken: which identity of the policy it is, and what decided that."""

    identity: str
    roles: tuple[str, ...]
    issuer: str
    subject: str
    key_id: str
    claims: Mapping[str, str]

    @property
    def authenticated_by(self) -> str:
        """How its holder is known, as records have it; nothing of it opens anything."""
        facts = {"issuer": self.issuer, "subject": self.subject, "key": self.key_id, **self.claims}
        told = ", ".join(f"{name} {json.dumps(value[:_SHOWN])}" for name, value in facts.items())
        return f"{PREFIX}{self.identity}: {told}"


def verify_token(
    token: str, identities: Mapping[str, IdentityRule], *, folder: Path, cache: Path
) -> VerifiedToken:
    """The first identity of the policy that a token is; DeniedError says why it is none.

    folder: of the policy file; cache: where keys are kept. NeedsError when keys cannot be had.
    """
    try:
        import jwt
    except ImportError as error:
        raise NeedsError("PyJWT is not installed: python -m pip install 'opswright[ci]'") from error
    if not identities:
        raise AskError("an identity token is given, and the policy has no `identities` that would take one.")
    if len(token) > _MAX_CHARACTERS:
        raise DeniedError("the identity token is not taken: it is too long.")
    try:
        header = jwt.get_unverified_header(token)
        said = jwt.decode(token, options={"verify_signature": False})
    except (jwt.exceptions.PyJWTError, ValueError, TypeError, RecursionError):
        raise DeniedError("the identity token is not taken: it is not a signed JSON Web Token.") from None
    issued_by = {name: rule for name, rule in identities.items() if rule.issuer == said.get("iss")}
    if not issued_by:
        known = ", ".join(sorted({rule.issuer for rule in identities.values()}))
        found = str(said.get("iss"))[:_SHOWN]
        raise DeniedError(
            f"the identity token is not taken: its issuer is {found!r} (the policy has: {known})."
        )
    refused = []
    for name, rule in issued_by.items():
        claims = _verified(token, header, rule, KeySet(rule.jwks, folder, cache))
        why = claims if isinstance(claims, str) else _unmet(claims, rule)
        if isinstance(claims, dict) and not why:
            return _taken(name, rule, claims, str(header["kid"]))
        refused.append(f"{name}: {why}")
    raise DeniedError(f"the identity token is not taken ({'; '.join(refused)}).")


def _verified(
    token: str, header: Mapping[str, Any], rule: IdentityRule, keys: KeySet
) -> dict[str, Any] | str:
    """The claims of a token that is genuine, for us and of now; else why not."""
    import jwt

    key_id = header.get("kid")
    if not isinstance(key_id, str) or "crit" in header:
        return "its header has no key id, or asks for what is not known"
    key = keys.key(key_id)
    if key is None:
        return "its key is not one of the issuer's"
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key.key,
            algorithms=[key.algorithm],
            issuer=rule.issuer,
            audience=rule.audience,
            leeway=LEEWAY_S,
            options={"require": list(_NEEDED)},
        )
    except jwt.exceptions.ExpiredSignatureError:
        return "it has expired"
    except jwt.exceptions.InvalidAudienceError:
        return f"it was not made for audience {rule.audience!r}"
    except (jwt.exceptions.PyJWTError, ValueError, TypeError, OverflowError) as error:
        return f"it is not valid ({type(error).__name__})"
    if not all(isinstance(claims[name], int | float) for name in ("exp", "iat")):
        return "its times are not numbers"
    if claims["exp"] - claims["iat"] > _MAX_LIFE_S:
        return "it lives longer than a day"
    return claims


def _unmet(claims: Mapping[str, Any], rule: IdentityRule) -> str:
    """What a genuine token lacks to be this identity; empty: nothing."""
    for name in rule.claims:
        found, wanted = claims.get(name), rule.allowed(name)
        if not isinstance(found, str) or found not in wanted:
            shown = "absent" if found is None else repr(found)[:_SHOWN]
            return f"claim {name} is {shown}, needed is {' or '.join(map(repr, wanted))}"
    if _is_tag_called_as_a_branch(claims, rule):
        return (
            f"its ref {claims['ref']!r:.160} is a tag and no branch: an identity for tags has to "
            "name `ref_type`"
        )
    events = {name: claims[name] for name in _OWN_EVENTS if name in claims}
    if not events and str(claims["sub"]).endswith(":pull_request"):
        events["event_name"] = "pull_request"
    for name, event in events.items():
        is_own = isinstance(event, str) and event in _OWN_EVENTS[name]
        if name not in rule.claims and not is_own:
            return (
                f"it is of a {str(event)[:_SHOWN]!r} event, which strangers may set off: an identity that is "
                f"meant for those names `{name}` among its claims"
            )
    return ""


def _is_tag_called_as_a_branch(claims: Mapping[str, Any], rule: IdentityRule) -> bool:
    """Whether a short ref, as GitLab's, is a tag's, where the policy does not say which kind it means."""
    if "ref" not in rule.claims or _SAY_THE_KIND & rule.claims.keys():
        return False
    return not str(claims["ref"]).startswith("refs/") and claims.get("ref_type", "branch") != "branch"


def _taken(name: str, rule: IdentityRule, claims: Mapping[str, Any], key_id: str) -> VerifiedToken:
    decided = {claim: str(claims[claim]) for claim in rule.claims if claim != "sub"}
    return VerifiedToken(name, rule.roles, rule.issuer, str(claims["sub"]), key_id, decided)
