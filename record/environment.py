"""The versions that a result may depend on, and their digest."""

from __future__ import annotations

from functools import cache

from ..core.files import sha256_json

_DECIDING = (
    *("opswright", "torch", "transformers", "tokenizers", "peft", "nemo-automodel", "nemo-toolkit"),
    *("onnxruntime", "onnxruntime-genai", "tensorrt-llm", "nvidia-modelopt", "nemoguardrails"),
    *("numpy", "scipy", "scikit-learn", "polars", "ragas"),
)


@cache
def environment_digest() -> str:
    """SHA-256 over the interpreter, platform and the versions of the packages that decide results."""
    return sha256_json(environment_facts())


@cache
def environment_facts() -> dict[str, str]:
    """The versions a result may depend on, by name; absent packages are left out."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    facts = {"python": platform.python_version(), "platform": platform.platform(terse=True)}
    for name in _DECIDING:
        try:
            facts[name] = version(name)
        except PackageNotFoundError:
            continue
    return facts
