"""A scorer of this example's own: does an answer say only what its passages say?"""

import re

from opswright.evals.scorers import scorer

_WORD = re.compile(r"\w+")


@scorer(binary=False, needs="contexts")
def in_contexts(sample, answer):
    """The share of the answer's words that stand in its passages; an empty answer says nothing and has 0."""
    known = set(_WORD.findall(" ".join(sample.contexts).lower()))
    said = _WORD.findall(answer.lower())
    return sum(word in known for word in said) / len(said) if said else 0.0
