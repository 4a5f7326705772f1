"""A classifier on a suite: whether it can be asked it, and which labels only one of the two has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...core.artifact_refs import ClassifierRef
from ...core.contract import Finding
from ...core.errors import AskError
from ...core.workspace import Workspace
from ...data.text import label_form

if TYPE_CHECKING:
    from ...evals.suites import Suite

_SHOWN = 5


@dataclass(frozen=True)
class LabelsBeside:
    """The labels of a classifier beside those of a suite.

    never: labels of the suite that the classifier has not, with the items that have no other right answer;
    never_right: labels of the classifier that are right for no item.
    """

    known: int
    never: tuple[str, ...]
    items: int
    of: int
    never_right: tuple[str, ...]

    def in_words(self) -> list[str]:
        """What only one of the two has, a line each."""
        lines = []
        if self.never:
            lines.append(
                f"{self.items} of {self.of} items have a label that the classifier did not learn, and so are "
                f"wrong ({len(self.never)}: {_few(self.never)})"
            )
        if self.never_right:
            own = len(self.never_right) + self.known
            lines.append(
                f"{len(self.never_right)} of the classifier's {own} labels are right for no item "
                f"({_few(self.never_right)})"
            )
        return lines


def check_task(suite: Suite) -> None:
    """AskError for a suite that a classifier cannot be asked."""
    by_label = suite.task == "choose" and suite.choose_by == "none" and suite.lm_eval is None
    if suite.task != "classify" and not by_label:
        also = " with choose_by: none, where each choice is a label" if suite.task == "choose" else ""
        raise AskError(
            f"suite {suite.name} is of task '{suite.task}', and a classifier generates nothing: it answers "
            f"suites of task classify{also}. Take a suite of labels, or a model that generates."
        )
    if suite.turns == "own":
        raise AskError(
            f"suite {suite.name} has the model's own answers as earlier turns, and a classifier gives none."
        )


def labels_beside(model: ClassifierRef, suite: Suite, workspace: Workspace) -> LabelsBeside:
    """A classifier's labels beside a suite's; AskError when they share none, or a choice is no label."""
    from ...engines.classifier import labels_of
    from ...evals.scorers import right_answers

    own = {label_form(label): label for label in labels_of(workspace.artifacts.open(model).path)}
    wanted = {label_form(label): label for label in suite.labels}
    if not own.keys() & wanted.keys():
        raise AskError(
            f"{model.short} knows none of the labels of suite {suite.name}: it has "
            f"{_few(tuple(own.values()))}; the suite has {_few(tuple(wanted.values()))}. Train it on data "
            "with these labels."
        )
    strange = {choice for item in suite.items for choice in item.choices if label_form(choice) not in own}
    if suite.task == "choose" and strange:
        raise AskError(
            f"suite {suite.name} has choices that are no labels of {model.short}: "
            f"{_few(tuple(sorted(strange)))}."
        )
    answers = ([label_form(answer) for answer in right_answers(item)] for item in suite.items)
    return LabelsBeside(
        known=len(own.keys() & wanted.keys()),
        never=tuple(label for form, label in sorted(wanted.items()) if form not in own),
        items=sum(not own.keys() & set(right) for right in answers),
        of=len(suite.items),
        never_right=tuple(label for form, label in sorted(own.items()) if form not in wanted),
    )


def label_findings(model: ClassifierRef, suite: Suite, workspace: Workspace) -> list[Finding]:
    """What to know before a classifier is asked a suite; PendingArtifact when it is not trained yet."""
    lines = labels_beside(model, suite, workspace).in_words()
    around = {
        "a template": suite.prompt.template is not None,
        "examples": bool(suite.prompt.examples),
        "choices": any(item.choices for item in suite.items),
    }
    if added := [name for name, is_there in around.items() if is_there]:
        lines.append(f"the suite adds {' and '.join(added)} to each item, which the classifier reads too")
    return [Finding(level="warn", message=f"{line}.") for line in lines]


def _few(labels: tuple[str, ...]) -> str:
    return ", ".join(labels[:_SHOWN]) + (", ..." if len(labels) > _SHOWN else "")
