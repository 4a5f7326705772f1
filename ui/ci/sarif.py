"""A report as SARIF 2.1.0, which code hosts show as annotations at the plan's file."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from ... import __version__
from .report import CiReport, ReportedFinding

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_RULES = {
    "command": "The command was wrong or could not be carried out.",
    "plan": "The plan would be refused before its first step.",
    "preflight": "What pre-flight found before anything ran.",
    "step": "A step that did not come to its end.",
    "gate": "A criterion of a gate that was not met, or could not be decided.",
    "run": "How the run ended.",
}


def sarif(report: CiReport, source: Path | None) -> dict[str, Any]:
    """The SARIF log. source: the plan's file, relative to the current folder where it lies below it."""
    rules = sorted({finding.rule for finding in report.findings})
    driver = {
        "name": "opswright",
        "version": __version__,
        "semanticVersion": __version__,
        "rules": [
            {"id": rule, "shortDescription": {"text": _RULES[rule.partition("/")[0]]}} for rule in rules
        ],
    }
    invocation = {
        "executionSuccessful": report.is_good,
        "exitCode": int(report.ended),
        "exitCodeDescription": report.ended.in_words,
    }
    run = {
        "tool": {"driver": driver},
        "invocations": [invocation],
        "results": [_result(finding, rules, source) for finding in report.findings],
        "columnKind": "utf16CodeUnits",
    }
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def _result(finding: ReportedFinding, rules: list[str], source: Path | None) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": finding.rule,
        "ruleIndex": rules.index(finding.rule),
        "level": finding.level,
        "message": {"text": finding.message or finding.rule},
    }
    if source is not None:
        place = {"artifactLocation": {"uri": _uri(source)}, "region": {"startLine": 1}}
        result["locations"] = [{"physicalLocation": place}]
    return result


def _uri(source: Path) -> str:
    """A relative reference below the current folder, else a file address."""
    whole, here = source.resolve(), Path.cwd()
    if whole.is_relative_to(here):
        return quote(os.fsencode(PurePosixPath(whole.relative_to(here))))
    return whole.as_uri()
