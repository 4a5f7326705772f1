"""The audit: whether the record is whole, whether what ran is what was approved, and where it is not so."""

from __future__ import annotations

from .authority import Authority, Policies
from .checks import CHECKS
from .listing import export, get_record, list_records
from .report import AuditFinding, AuditReport, Checked
from .signature import make_keys, sign_head
from .verify import anchor, verify

__all__ = [
    "CHECKS",
    "AuditFinding",
    "AuditReport",
    "Authority",
    "Checked",
    "Policies",
    "anchor",
    "export",
    "get_record",
    "list_records",
    "make_keys",
    "sign_head",
    "verify",
]
