"""A report as JUnit XML, in the form that Jenkins, GitLab and GitHub's test reporters read."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from .report import CheckState, CiReport, ReportedCheck

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TAGS = {CheckState.FAILED: "failure", CheckState.ERROR: "error", CheckState.SKIPPED: "skipped"}


def junit(report: CiReport) -> bytes:
    """The XML document: one test suite, a test case for each step and for each row of a gate."""
    counts = {state: sum(check.state is state for check in report.checks) for state in CheckState}
    seconds = f"{sum(check.seconds for check in report.checks):.3f}"
    facts = {
        "tests": str(len(report.checks)),
        "failures": str(counts[CheckState.FAILED]),
        "errors": str(counts[CheckState.ERROR]),
        "time": seconds,
    }
    root = ElementTree.Element("testsuites", {"name": "opswright", **facts})
    skipped = str(counts[CheckState.SKIPPED])
    suite = ElementTree.SubElement(
        root, "testsuite", {"name": _text(report.title), **facts, "skipped": skipped}
    )
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in _properties(report).items():
        ElementTree.SubElement(properties, "property", {"name": name, "value": _text(value)})
    for check in report.checks:
        _case(suite, check)
    ElementTree.indent(root)
    written: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return written + b"\n"


def _properties(report: CiReport) -> dict[str, str]:
    known = {
        "outcome": report.ended.outcome,
        "exit_code": str(int(report.ended)),
        "run": report.run or "",
        "plan": report.plan.id if report.plan is not None else "",
    }
    return {name: value for name, value in known.items() if value}


def _case(suite: ElementTree.Element, check: ReportedCheck) -> None:
    facts = {"classname": _text(check.group), "name": _text(check.name), "time": f"{check.seconds:.3f}"}
    case = ElementTree.SubElement(suite, "testcase", facts)
    if check.state is CheckState.PASSED:
        if check.message:
            ElementTree.SubElement(case, "system-out").text = _text(check.message)
        return
    told = ElementTree.SubElement(case, _TAGS[check.state], {"message": _text(check.message)})
    if check.state is not CheckState.SKIPPED:
        told.set("type", str(check.state))
        told.text = _text(check.message)


def _text(text: str) -> str:
    """A text without the characters that XML 1.0 cannot hold."""
    return _NOT_XML.sub("\ufffd", text)
