"""The record: what happened, in a ledger that can be checked, and every view of it."""
