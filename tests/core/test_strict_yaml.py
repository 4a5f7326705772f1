"""YAML from outside, read one way only."""

from __future__ import annotations

from pathlib import Path

import pytest

from opswright.core.errors import AskError
from opswright.core.strict_yaml import parse_yaml, read_yaml


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3: 'a' is given twice"),
        ("a: &x [1]\nb: *x\n", "line 1: YAML anchors and aliases are not supported"),
        ("a: !!int abc\n", "line 1: 'abc' cannot be read as int"),
        ("a: !!int ''\n", "line 1: '' cannot be read as int"),
        ("a: !!timestamp abc\n", "line 1: 'abc' cannot be read as timestamp"),
        ("a: !!bool maybe\n", "line 1: 'maybe' cannot be read as bool"),
        (f"a: {'9' * 5000}\n", "cannot be read as int"),
        ("a: !!python/name:os.system\n", "cannot be read as"),
        ("a: !!binary aGk=\n", "line 1: 'aGk=' is bytes"),
        ("a: .inf\n", "line 1: '.inf' is not a finite number"),
        ("a:\n  - -.inf\n", "line 2: '-.inf' is not a finite number"),
        ("a: .nan\n", "line 1: '.nan' is not a finite number"),
        ("? [a]\n: b\n", "line 1: a name must be plain text"),
        ("[" * 101 + "]" * 101, "nested deeper than 100 levels"),
        ("a: [\n", "not valid YAML"),
        ("a: !!set {b, c}\n", "line 1: the tag 'set' is not supported"),
        ("a: !!python/object/apply:os.system [id]\n", "line 1: the tag 'python/object/apply"),
        ("a: !include [b]\n", "line 1: the tag '!include' is not supported"),
        ("a: \x01\n", "not valid YAML"),
    ],
)
def test_what_could_be_read_in_two_ways_or_crash_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(AskError) as caught:
        parse_yaml(text, "x.yaml")
    assert message in str(caught.value) and str(caught.value).startswith("x.yaml")


def test_plain_values_are_read_as_ever_and_dates_stay_text() -> None:
    found = parse_yaml("a: {b: [1, 2.5, yes, null, 2026-01-02, '7']}\n", "x.yaml")
    assert found.data == {"a": {"b": [1, 2.5, True, None, "2026-01-02", "7"]}}
    assert found.lines["a.b"] == 1 and parse_yaml("", "x.yaml").data is None


@pytest.mark.parametrize("text", ["010", "-010", "00", "0_7", "1:30", "12:30:00", "190:20:30.15"])
def test_what_only_yaml_takes_for_another_number_is_text(text: str) -> None:
    assert parse_yaml(f"a: {text}\nb: '{text}'\n", "x.yaml").data == {"a": text, "b": text}


def test_plain_numbers_are_numbers() -> None:
    found = parse_yaml("[0, -1, 10, 1_000, 0x1F, 0.5, 1.5e+3, 100]", "x.yaml").data
    assert found == [0, -1, 10, 1000, 31, 0.5, 1500.0, 100]


def test_a_file_that_is_missing_too_large_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AskError, match="no table at"):
        read_yaml(tmp_path / "x.yaml", "table")
    (tmp_path / "x.yaml").write_bytes(b"a: \xff\n")
    with pytest.raises(AskError, match="not UTF-8"):
        read_yaml(tmp_path / "x.yaml", "table")
    (tmp_path / "x.yaml").write_text("# " + "x" * (1 << 20))
    with pytest.raises(AskError, match="a table holds at most"):
        read_yaml(tmp_path / "x.yaml", "table")
