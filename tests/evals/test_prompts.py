"""What a model is asked: the messages of a sample, as a suite puts them."""

from __future__ import annotations

from opswright.data.dataset import learned
from opswright.data.sample import Sample
from opswright.evals.prompts import Prompt


def test_without_a_template_contexts_and_choices_are_asked_as_they_are_learned() -> None:
    one = Sample.of("1", "Who?", "Ada", contexts=("Ada came.", "Bo left."), choices=("Ada", "Bo"))
    (asked,) = Prompt().chat(one)
    assert asked["content"] == "Ada came.\n\nBo left.\n\nWho?\n\nA. Ada\nB. Bo"
    assert learned(one)[0] == asked
    assert Prompt(template="{{ question }}").chat(one)[0]["content"] == "Who?"
