"""Templates of suites: what they may say, and that none of them runs or grows without end."""

from __future__ import annotations

import pytest

from opswright.core.errors import AskError
from opswright.data.sample import Sample
from opswright.evals.prompts import Prompt

ONE = Sample.of(
    "1",
    'Who "came"?',
    "Ada",
    contexts=("Ada came.", "Bo left."),
    choices=("Ada", "Bo"),
    tools=({"function": {"name": "find", "parameters": {"properties": {"who": {}}}}},),
    tags={"lang": "en"},
)


def asked(template: str, sample: Sample = ONE) -> str:
    (message,) = Prompt(template=template).chat(sample)
    return message["content"]


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{% for one in contexts %}[{{ loop.index }}] {{ one }} {% endfor %}", "[1] Ada came. [2] Bo left. "),
        ("{% for t in tools %}{% for n, p in t.function.parameters.properties.items() %}{{ n }}{% endfor %}"
         "{% endfor %}", "who"),
        ("{{ choices|join(', ')|upper }}", "ADA, BO"),
        ("{% set last = choices[1] %}{{ last ~ '!' }}", "Bo!"),
        ("{{ tags.get('lang') }}{% if choices|length > 1 %}{{ loop_ or '' }}{% endif %}", None),
        ("{{ choices|json }}{{ tags|tojson }}", '["Ada", "Bo"]{"lang": "en"}'),
        ("{{ question|replace('\"', '')|trim('?') }}", "Who came"),
        ("{% for c in choices if c != 'Bo' %}{{ c }}{{ ', ' if not loop.last }}{% endfor %}", "Ada"),
        ("{{ tags.none|default('x') }}", "x"),
    ],
)  # fmt: skip
def test_a_template_says_what_suites_need(template: str, text: str | None) -> None:
    if text is None:
        with pytest.raises(AskError, match="loop_"):
            asked(template)
    else:
        assert asked(template) == text


@pytest.mark.parametrize(
    "template",
    [
        "{{ 'x'.ljust(1900000000)|length }}",
        "{{ question.zfill(9) }}",
        "{% macro m(n) %}{{ m(n) }}{{ m(n) }}{% endmacro %}{{ m(1) }}",
        "{% for a in question %}{% for b in question %}{% endfor %}{% endfor %}",
        "{% for a in contexts %}{% for b in a %}{{ b }}{% endfor %}{% endfor %}",
        "{% for a in choices %}{% for b in choices %}"
        "{% for c in choices %}x{% endfor %}{% endfor %}{% endfor %}",
        "{% for a in choices recursive %}{{ loop(choices) }}{% endfor %}",
        "{% for a in [1, 2] %}{% endfor %}",
        "{{ question|replace('', question) }}",
        "{{ question" + "|replace('', '" + "x" * 90 + "')" * 5 + " }}",
        "{{ question" + "|join('" + "x" * 90 + "')" * 5 + "|length }}",
        "{{ question" + "|tojson" * 40 + "|length }}",
        "{{ tools|tojson(indent=1000000000) }}",
        "{% set a = question ~ question %}{{ a }}",
        "{% set choices = question %}{% for a in choices %}{% endfor %}",
        "{{ question|wordwrap(1) }}",
        "{{ question.join(question) }}",
        "{% for a in tools[0].n %}{% for b in tools[0].n %}{% if question.upper() == 'x' %}{% endif %}"
        "{% endfor %}{% endfor %}",
        "{% filter upper %}x{% endfilter %}",
        "{% for a in choices %}" + "{{ question ~ question }}" * 5000 + "{% endfor %}",
        "(" * 10 + "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    ],
)  # fmt: skip
def test_a_template_that_could_run_or_grow_without_end_is_refused(template: str) -> None:
    long = Sample.of(
        "1", "why " * 500, "x", contexts=ONE.contexts, choices=ONE.choices, tools=({"n": [0] * 60},)
    )
    with pytest.raises(AskError, match="the template"):
        asked(template, long)


def test_a_long_passage_is_asked_whole() -> None:
    long = Sample.of("1", "Why?", "x", contexts=("a b " * 250_000,))
    assert len(asked("{{ contexts|join('\\n') }}\n\n{{ question }}", long)) == 1_000_006
