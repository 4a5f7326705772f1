from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from opswright.core.errors import AskError
from opswright.data.published import clinc150
from opswright.evals.suites import Suite, load_suite


def test_clinc150_has_its_4500_items_150_labels_and_10_domains() -> None:
    suite = load_suite("clinc150")
    assert (len(suite.items), len(suite.labels), len(suite.slices())) == (4500, 150, 10)
    assert {"transfer", "book_flight"} <= set(suite.labels)
    assert len({item.id for item in suite.items}) == 4500


def test_banking77_has_its_3080_items_and_no_domains() -> None:
    suite = load_suite("banking77")
    assert (len(suite.items), len(suite.labels), suite.slices()) == (3080, 77, {})


def test_the_digest_changes_with_a_single_item_and_not_with_the_run(suite: Suite) -> None:
    same = Suite("toy", tuple(replace(item) for item in suite.items))
    other = Suite("toy", (replace(suite.items[0], targets=("other",)), *suite.items[1:]))
    assert suite.digest == same.digest != other.digest
    assert Suite("toy", suite.items, task="generate").digest != suite.digest


def test_an_unknown_suite_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(AskError, match="Did you mean 'clinc150'"):
        load_suite("clinc")


def test_a_slice_of_an_unknown_domain_is_refused_with_the_nearest_one(suite: Suite) -> None:
    with pytest.raises(AskError, match=r"slice 'x'.*'bankin'.*Did you mean 'banking'"):
        suite.slices({"x": ("bankin",)})


def test_a_slice_the_asker_names_wins_over_the_suites_own(suite: Suite) -> None:
    assert suite.slices({"money": ("home",)})["money"] == {"domain": {"home"}}
    with pytest.raises(AskError, match="at least one value"):
        suite.slices({"empty": ()})


def test_an_unknown_split_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(AskError, match=r"has: train, val, test.*Did you mean 'test'"):
        clinc150.read_rows(clinc150.FOLDER, "tset")


def test_a_damaged_clinc150_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "domains.json").write_text("{}")
    (tmp_path / "data_full.json").write_text("not json")
    with pytest.raises(AskError, match=r"data_full.json is not JSON"):
        clinc150.read_rows(tmp_path, "train")
    (tmp_path / "data_full.json").write_text(json.dumps({"train": [["only a text"]]}))
    with pytest.raises(AskError, match="not in the CLINC150 layout"):
        clinc150.read_rows(tmp_path, "train")
