"""The audit as every way in asks for it: against the installed skills and the policies that are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..core.registry import Registry
from ..core.workspace import Workspace

if TYPE_CHECKING:
    from ..record.audit import AuditReport, Authority


def audit_workspace(workspace: Workspace, registry: Registry, **how: Any) -> AuditReport:
    """What `record.audit.verify` finds, with the skills' own effects and each record's own policy."""
    from pydantic import ValidationError

    from ..agents.policy import Policy, PolicyRules, effects_of, kept_policy
    from ..record.audit import verify
    from ..record.ledger import Ledger

    def policy(digest: str) -> Authority | None:
        """The policy that a digest names; the built-in roles for records that name none."""
        if not digest:
            return Policy(PolicyRules(), effects_of(registry))
        document = Ledger.of(workspace).kept("policies", digest)
        try:
            return None if document is None else kept_policy(document, registry)
        except ValidationError:  # of a later version: it is noted as one that nothing was held against
            return None

    effects = {skill.name: str(skill.effect) for skill in registry}
    return verify(workspace, effects=effects, policies=policy, **how)
