"""A classifier's recipe: AutoModel's sequence classification, else like any other training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RECIPE_NAME = "TrainFinetuneRecipeForSequenceClassification"
METHOD = "classifier"
_PACKAGE = __name__.rpartition(".")[0]
_MODEL = "nemo_automodel.NeMoAutoModelForSequenceClassification"
_NOT_USED = ("loss_fn", "packed_sequence")  # the recipe brings its loss, and packs nothing
_ROWS = ("path_or_dataset_id", "max_tokens", "fill_to_multiple_of", "too_long")


def as_classifier(values: Mapping[str, Any], labels: int) -> dict[str, Any]:
    """The recipe of a training for generation as that of a classifier with so many labels.

    A base that is made for the training has their number in its own config.
    """
    start = str(values["model"]["_target_"]).rpartition(".")[2]  # from_config or from_pretrained
    model = {**values["model"], "_target_": f"{_MODEL}.{start}", "force_hf": True}
    if start == "from_pretrained":
        model["num_labels"] = labels
    found = {name: value for name, value in values.items() if name not in _NOT_USED}
    found |= {"recipe": RECIPE_NAME, "model": model}
    for name in ("dataset", "validation_dataset"):
        if name in values:
            found[name] = _labelled(values[name])
    return found


def _labelled(rows: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: rows[name] for name in _ROWS if name in rows}
    return {"_target_": f"{_PACKAGE}.labelled_text.LabelledText", **kept}
