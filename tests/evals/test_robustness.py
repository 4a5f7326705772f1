"""A suite's items asked again in altered form: what is measured, and what a gate makes of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from opswright.core.errors import AskError
from opswright.core.gate import Decision, GateSpec
from opswright.data.sample import Sample
from opswright.evals.gate_eval import judge
from opswright.evals.gate_power import power_findings
from opswright.evals.gate_scores import without
from opswright.evals.robustness import fallen, robustness_facts, run_altered
from opswright.evals.runner import EvalResult, run_suite
from opswright.evals.suites import Suite

GO, NO_GO, INCONCLUSIVE = Decision.GO, Decision.NO_GO, Decision.INCONCLUSIVE
SUITE = Suite("mail", tuple(Sample.of(str(n), f"please send letter {n}", "post") for n in range(100)))


class Reader:
    """An engine that is right where the text ends as it should, and wrong on whatever it does not know."""

    def __init__(self, minds_case: bool) -> None:
        self.minds_case, self.asked = minds_case, 0

    def generate(self, chats: Any, options: Any, progress: Any = None) -> Any:
        from opswright.engines import GenerationResult

        self.asked += len(chats)
        texts = [chat[-1]["content"] for chat in chats]
        folded = [text if self.minds_case else text.lower() for text in texts]
        return [GenerationResult("post" if "letter" in text else "?", latency_ms=1.0) for text in folded]


def measure(
    minds_case: bool = True, asked: tuple[Any, ...] = ("case", "prefix"), suite: Suite = SUITE
) -> EvalResult:
    engine: Any = Reader(minds_case)
    plain = run_suite(suite, engine, "m")
    return replace(plain, variants=run_altered(suite, engine, plain, asked, scorers=suite.load_scorers()))


def spec(**fields: Any) -> GateSpec:
    return GateSpec.model_validate({"suite": "mail", **fields})


def test_a_fall_under_an_alteration_is_measured_on_the_same_items_and_said() -> None:
    measured = measure()
    facts = robustness_facts(measured)
    assert (facts["case"]["value"], facts["case"]["drop"], facts["case"]["n"]) == (0.0, 1.0, 100)
    assert (facts["prefix"]["value"], facts["prefix"]["drop"], facts["prefix"]["p_value"]) == (1.0, 0.0, 1.0)
    assert fallen(measured) == ["asked in capitals, its exact_match falls from 100.0% to 0.0% on 100 items"]
    assert fallen(measure(minds_case=False)) == []


def test_altered_items_count_in_nothing_else() -> None:
    measured = measure()
    assert len(measured.items) == 100 and len(measured.within(None)) == 100 and measured.errors == 0
    assert sorted(measured.variants) == ["case", "prefix"]


def test_a_model_that_takes_no_altered_item_is_measured_all_the_same() -> None:
    from opswright.engines import GenerationResult

    class Short(Reader):
        def generate(self, chats: Any, options: Any, progress: Any = None) -> Any:
            found = super().generate(chats, options, progress)
            too_long = GenerationResult.refused("too long")
            return [
                too_long if len(chat[-1]["content"]) > 30 else one
                for chat, one in zip(chats, found, strict=True)
            ]

    engine: Any = Short(False)
    plain = run_suite(SUITE, engine, "m")
    found = run_altered(SUITE, engine, plain, ("prefix",), scorers=SUITE.load_scorers())
    assert robustness_facts(replace(plain, variants=found))["prefix"]["drop"] == 1.0


def test_a_model_that_answers_by_place_is_seen_though_its_score_stays() -> None:
    class First(Reader):
        def generate(self, chats: Any, options: Any, progress: Any = None) -> Any:
            from opswright.engines import GenerationResult

            return [GenerationResult(chat[-1]["content"].split()[-2], latency_ms=1.0) for chat in chats]

    def item(n: int) -> Sample:
        pair = ("yes", "no") if n % 2 else ("no", "yes")
        return Sample.of(str(n), f"is it {n}", "yes", choices=pair)

    suite = replace(Suite("q", tuple(item(n) for n in range(40)), task="choose"), choose_by="generation")
    suite = replace(suite, prompt=replace(suite.prompt, template="{{ question }} {{ choices | join(' ') }}"))
    engine: Any = First(True)
    plain = run_suite(suite, engine, "m")
    found = run_altered(suite, engine, plain, ("order",), scorers=suite.load_scorers())
    facts = robustness_facts(replace(plain, variants=found))["order"]
    assert (facts["n"], facts["value"], facts["drop"], facts["changed"]) == (40, 0.5, 0.0, 1.0)


def test_only_what_an_alteration_changes_is_asked_again() -> None:
    hindi = Suite("h", tuple(Sample.of(str(n), f"\u092a\u0924\u094d\u0930 {n}", "post") for n in range(5)))
    engine: Any = Reader(True)
    plain = EvalResult("m", "h", "0" * 64, (), (), scorers={"exact_match": True})
    assert run_altered(hindi, engine, plain, ("case", "typos"), scorers=()) == {}
    assert engine.asked == 0


def test_a_gate_holds_the_fall_under_each_alteration() -> None:
    bar = spec(min=0.5, robustness={"max_drop": 0.1})
    verdict = judge(bar, measure(), None)
    assert [(row.name, row.decision) for row in verdict.rows] == [
        ("exact_match", GO),
        ("drop of exact_match with case", NO_GO),
        ("drop of exact_match with prefix", GO),
    ]
    assert verdict.decision is NO_GO and judge(bar, measure(minds_case=False), None).decision is GO
    advisory = spec(min=0.5, robustness={"max_drop": 0.1, "tier": "advisory"})
    assert judge(advisory, measure(), None).decision is GO


def test_a_report_without_altered_items_and_a_model_with_nothing_to_lose_are_not_go() -> None:
    bar = spec(robustness={"max_drop": 0.1})
    verdict = judge(bar, replace(measure(), variants={}), None)
    assert verdict.decision is INCONCLUSIVE and "evaluate with `robustness`" in verdict.rows[0].message
    wrong = tuple(replace(item, got="?", scores={"exact_match": 0.0}) for item in measure().items)
    blind = replace(measure(), items=wrong, variants={"case": wrong})
    verdict = judge(bar, blind, None)
    assert verdict.decision is INCONCLUSIVE and "the model itself has 0.0% here" in verdict.rows[0].message
    with pytest.raises(AskError, match="`max_drop` of `robustness` of 0 is met"):
        judge(spec(robustness={"max_drop": 0}), measure(), None)


def test_a_gate_names_the_alterations_that_must_be_measured_and_judges_those_alone() -> None:
    def wants(*names: str, **more: Any) -> GateSpec:
        return spec(min=0.5, robustness={"max_drop": 0.1, "alterations": names, **more})

    measured = measure(asked=("case", "prefix"))
    assert judge(wants("prefix"), measured, None).decision is GO  # it minds case, which nobody asked for
    for tier in ("critical", "supporting"):
        held = judge(wants("prefix", "typos", tier=tier), measured, None)
        (row,) = [row for row in held.rows if row.name == "drop of exact_match with typos"]
        assert held.decision is INCONCLUSIVE and "evaluate with `robustness: [prefix, typos]`" in row.message
    assert judge(wants("typos", tier="advisory"), measured, None).decision is GO
    assert judge(wants("case", "typos"), measured, None).decision is NO_GO
    with pytest.raises(
        AskError, match=r"unknown alteration 'typo' .*there are: case, typos, prefix, order.*'typos'"
    ):
        judge(wants("typo"), measured, None)
    with pytest.raises(AskError, match="names alteration 'case' twice"):
        judge(wants("case", "case"), measured, None)


def test_an_alteration_that_changes_no_item_stops_a_plan_whose_gate_wants_it() -> None:
    told = Suite("mail", tuple(Sample.of(str(n), f"send letter {n}", "post") for n in range(100)))
    free = replace(told, task="generate")
    wanted = spec(metric="exact_match", robustness={"max_drop": 0.1, "alterations": ["prefix", "case"]})
    assert [one.level for one in power_findings(wanted, told, None)] == ["note", "note"]
    case, prefix = power_findings(wanted, free, None)
    assert (case.level, prefix.level) == ("stop", "note")
    assert "with case (on the items that it changes): the suite has 0 items" in case.message


def test_leaked_items_are_left_out_in_altered_form_too() -> None:
    kept = without(measure(), frozenset(("3", "4")))
    assert len(kept.items) == len(kept.variants["case"]) == 98


def test_before_training_a_plan_says_what_the_items_can_show() -> None:
    seen = list(power_findings(spec(metric="exact_match", robustness={"max_drop": 0.1}), SUITE, None))
    assert (
        "drop of exact_match on altered items" in seen[0].message
        and "as good as on plain items" in seen[0].message
    )
    (never,) = power_findings(spec(metric="exact_match", robustness={"max_drop": 0.01}), SUITE, None)
    assert never.level == "stop" and "cannot show a drop of under 1 points" in never.message
