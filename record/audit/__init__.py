"""The audit: whether the record is whole, whether what ran is what was approved, and where it is not so."""

from __future__ import annotations

from .listing import export, get_record, list_records
from .report import AuditReport, Checked
from .verify import anchor, verify

__all__ = ["AuditReport", "Checked", "anchor", "export", "get_record", "list_records", "verify"]
