"""How large the tiny base is made."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

_HEAD_WIDTH = 32
_INNER = 3  # times the width, between a layer's two large matrices


class TinyShape(BaseModel):
    """Layers, width and vocabulary of the base made from the data; by default about 1 M parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    layers: int = Field(4, ge=1, le=24, description="Layers.")
    width: int = Field(
        128,
        ge=32,
        le=1024,
        multiple_of=_HEAD_WIDTH,
        description="Numbers a token is held in; heads take 32 each.",
    )
    vocabulary: int = Field(
        2048,
        ge=300,
        le=65_536,
        description="Most tokens of its tokenizer; with fewer, rarer words are cut into parts.",
    )

    @property
    def heads(self) -> int:
        """Attention heads of a layer."""
        return self.width // _HEAD_WIDTH

    @property
    def inner_width(self) -> int:
        """Width inside a layer's feed-forward part."""
        return _INNER * self.width

    @property
    def parameters(self) -> int:
        """Weights of the model: embeddings (tied), the layers and their norms; the vocabulary as if full."""
        layer = 4 * self.width**2 + 3 * self.width * self.inner_width + 2 * self.width
        return self.vocabulary * self.width + self.layers * layer + self.width

    @property
    def work(self) -> float:
        """Multiplications for a token, as a multiple of the default's."""
        return self.parameters / TinyShape().parameters
