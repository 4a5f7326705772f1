"""`opswright suites`: a file of samples becomes a suite that is listed, shown and validated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from opswright.ui.cli import run


def out(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = run(["suites", *words])
    found = capsys.readouterr()
    return code, found.out + found.err


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    lines = [f"note {i},{'comet' if i % 2 else 'star'},{'radio' if i % 3 else 'optical'}" for i in range(30)]
    path.write_text("\n".join(["note,label,instrument", *lines]).replace("note,label", "text,label") + "\n")
    return path


def test_a_file_of_samples_becomes_a_suite_that_is_listed_shown_and_valid(
    rows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = out(capsys, "new", "sky", str(rows))
    assert code == 0 and "suites/sky.yaml was written" in said
    assert "sky.yaml" in out(capsys, "list")[1]
    code, said = out(capsys, "validate", "suites/sky.yaml")
    assert code == 0 and "exact_match          right answers score 1.000 on 30, 0 faults" in said
    code, said = out(capsys, "show", "suites/sky.yaml")
    assert code == 0 and "note 0" in said and "star" in said
    before = Path("suites/sky.yaml").read_bytes()
    code, said = out(capsys, "new", "sky", str(rows))
    assert code == 2 and "is there already" in said and Path("suites/sky.yaml").read_bytes() == before


def test_columns_of_any_name_and_rows_that_cannot_be_taken_are_said_by_the_asker(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = tmp_path / "odd.csv"
    rows.write_text("was,ist\ngut,ja\nschlecht,nein\nleer,\n")
    assert "cannot tell what the columns" in out(capsys, "new", "odd", str(rows))[1]
    named = ("new", "odd", str(rows), "--column", "user=was", "--column", "target=ist")
    assert "row 4: empty_label" in out(capsys, *named)[1].replace("\n", " ")
    assert out(capsys, *named, "--leave-out", "--task", "generate")[0] == 0
    code, said = out(capsys, "validate", "suites/odd.yaml")
    assert code == 0 and "token_f1             right answers score 1.000 on 2" in said
    assert "expected PART=COLUMN" in out(capsys, "new", "x", str(rows), "--column", "was")[1]
    assert (
        "Name one by --task" in out(capsys, *("new", "x", *named[2:]), "--leave-out", "--task", "prefer")[1]
    )


def test_every_shipped_suite_is_valid(capsys: pytest.CaptureFixture[str]) -> None:
    code, said = out(capsys, "list", "--json")
    listed: list[dict[str, Any]] = json.loads(said)
    assert code == 0 and {"clinc150", "banking77", "snips"} <= {one["suite"] for one in listed}
    for one in listed:
        code, said = out(capsys, "validate", one["suite"], "--json")
        scores = json.loads(said)["right_answers_score"]
        assert code == 0 and scores[one["metrics"][0]] == {
            "mean": 1.0, "n": one["items"], "faults": 0, "fault": None,
        }  # fmt: skip


def test_a_faulty_suite_does_not_hide_the_others_and_is_refused_with_its_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("suites").mkdir()
    Path("suites/bad.yaml").write_text("samples:\n- {text: a, targte: b}\n")
    code, said = out(capsys, "list")
    assert code == 0 and "FAULTY" in said and "clinc150" in said
    code, said = out(capsys, "validate", "suites/bad.yaml")
    assert code == 2 and "line 2: a sample has no field 'targte'" in said
    assert out(capsys, "show", "nonsense")[0] == 2
    assert out(capsys, "new", "../x", "rows.csv")[0] == 2


def test_code_in_a_suite_runs_only_where_the_folder_is_trusted(capsys: pytest.CaptureFixture[str]) -> None:
    Path("suites").mkdir()
    Path("suites/own.py").write_text(
        "from opswright.evals.scorers import scorer\n\n\n@scorer(binary=True)\ndef long(sample, answer):\n"
        "    return len(answer) > 3\n"
    )
    Path("suites/mine.yaml").write_text(
        "task: generate\nsamples: [{text: a, target: abcd}]\nscorers: [{name: long, file: own.py}]\n"
    )
    code, said = out(capsys, "validate", "suites/mine.yaml")
    assert code == 5 and "`trust=suites`" in said.replace("\n", " ")
    assert "long" in out(capsys, "show", "suites/mine.yaml")[1]
    code, said = out(capsys, "validate", "suites/mine.yaml", "--trust", "suites")
    assert code == 0 and "right answers score 1.000 on 1" in said


def test_a_text_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    Path("suites").mkdir()
    Path("suites/odd.yaml").write_text('samples: [{text: "a\\e[2Jb", target: x}]\n')
    assert "\x1b" not in out(capsys, "show", "suites/odd.yaml")[1]
