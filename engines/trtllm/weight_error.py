"""How far the weights of one folder are from those of another."""

from __future__ import annotations

from pathlib import Path

from ...core.errors import BackendError


def weight_error(checkpoint: Path, other: Path) -> tuple[float, float]:
    """Mean and largest relative error of a folder's tensors, each |a - b| / |a| by Frobenius' norm.

    Raises BackendError when the folders do not have the same tensors in the same shapes.
    """
    from safetensors import safe_open

    def tensors(folder: Path) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for path in sorted(folder.glob("*.safetensors")):
            with safe_open(path, "pt") as file:
                found |= dict.fromkeys(file.keys(), path)
        return found

    before, after = tensors(checkpoint), tensors(other)
    tied = {"lm_head.weight"}  # written or left out where it is the embeddings'
    if (odd := before.keys() ^ after.keys()) - tied:
        raise BackendError(f"{other} has other tensors than {checkpoint}: {', '.join(sorted(odd)[:5])}.")
    errors = []
    for name in before.keys() & after.keys():
        with safe_open(before[name], "pt") as a, safe_open(after[name], "pt") as b:
            one, two = a.get_tensor(name).float(), b.get_tensor(name).float()
        if one.shape != two.shape:
            raise BackendError(f"{name} of {other} has shape {tuple(two.shape)}, not {tuple(one.shape)}.")
        errors.append(float((one - two).norm() / one.norm().clamp_min(1e-12)))
    return sum(errors) / len(errors), max(errors)
