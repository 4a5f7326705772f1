"""Prompts side by side in one pass of transformers: padded on the left, read once, rows leave and join.

What the prompts begin with together is read once for all of them. Padding is masked and positions are given,
so a row's numbers are those it has alone, but for the last bits; `can_pad` tries that on the model itself.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

_PAD = 0  # any token that a model knows: its place counts for nothing
_WORTH_A_PASS = 256  # tokens that must be saved before what prompts share is read by itself
_TOLERANCE = {"float32": 1e-3, "float64": 1e-3}  # of the greatest logit; other precisions: 0.03


@dataclass
class PromptRows:
    """What a model keeps of some texts, one a row.

    cache: transformers' DynamicCache of plain layers. mask: (rows, length), 1 for a token and 0 for padding.
    """

    cache: Any
    mask: Any

    def __len__(self) -> int:
        return int(self.mask.shape[0])

    @property
    def width(self) -> int:
        """Places of a row, padding too."""
        return int(self.mask.shape[1])

    def copy(self, rows: Sequence[int]) -> PromptRows:
        """Some of the rows, one or several times, as rows of their own."""
        import torch

        index = torch.tensor(rows, device=self.mask.device)
        layers = [
            (layer.keys.index_select(0, index), layer.values.index_select(0, index))
            for layer in self.cache.layers
        ]
        return PromptRows(_cache(layers), self.mask.index_select(0, index))

    def keep(self, rows: Sequence[int]) -> None:
        """Leave only some of the rows, and no column that is padding in all of them."""
        import torch

        index = torch.tensor(rows, device=self.mask.device)
        mask = self.mask.index_select(0, index)
        first = int(mask.any(0).int().argmax())
        self.mask = mask[:, first:]
        for layer in self.cache.layers:
            layer.keys = layer.keys[:, :, first:].index_select(0, index)
            layer.values = layer.values[:, :, first:].index_select(0, index)

    def join(self, other: PromptRows) -> None:
        """Put other rows below these."""
        width = max(self.width, other.width)
        self.mask = _stacked(self.mask, other.mask, width, dim=1)
        for mine, theirs in zip(self.cache.layers, other.cache.layers, strict=True):
            mine.keys = _stacked(mine.keys, theirs.keys, width, dim=2)
            mine.values = _stacked(mine.values, theirs.values, width, dim=2)


class PromptReader:
    """Reads prompts with a model."""

    def __init__(self, model: Any, device: str) -> None:
        self.model, self.device = model, device
        self._shared: list[int] = []
        self._shared_rows: PromptRows | None = None
        self._last_feed_forward = _last_feed_forward(model)

    def share(self, prompts: Sequence[list[int]]) -> None:
        """Read what all the prompts that come begin with, if that saves enough.

        What goes wrong here goes wrong again where the prompts are read, and is told there.
        """
        import torch

        self._shared, self._shared_rows = [], None
        shared = _common(prompts)
        if len(shared) * (len(prompts) - 1) < _WORTH_A_PASS:
            return
        with torch.inference_mode(), suppress(RuntimeError):
            self._shared_rows, _ = self._pass([shared], None)
            self._shared = shared

    def read(self, prompts: Sequence[list[int]]) -> tuple[PromptRows, Any]:
        """The prompts as rows, and the logits (rows, words) of what follows each."""
        before = None if self._shared_rows is None else self._shared_rows.copy([0] * len(prompts))
        return self._pass([prompt[len(self._shared) :] for prompt in prompts], before)

    def step(self, rows: PromptRows, tokens: Any) -> Any:
        """Put one token, (rows,), behind each row; the logits (rows, words) of what follows."""
        import torch

        positions = rows.mask.sum(-1, keepdim=True)
        rows.mask = torch.cat([rows.mask, torch.ones_like(positions)], 1)
        found = self.model(
            tokens.unsqueeze(1),
            attention_mask=_added(rows.mask.bool()[:, None, None], rows.cache),
            position_ids=positions,
            past_key_values=rows.cache,
            use_cache=True,
        )
        return found.logits[:, -1]

    def branch(self, rows: PromptRows, texts: Sequence[Sequence[list[int]]]) -> Any:
        """The logits after each token of texts behind each row, none of which sees the others.

        A row's texts stand one behind the other in the result, (rows, most tokens, words).
        """
        import torch

        longest = max(sum(map(len, some)) for some in texts)
        tokens, owners, places = [], [], []
        for some in texts:
            blank = [0] * (longest - sum(map(len, some)))
            tokens.append([token for text in some for token in text] + [_PAD] * len(blank))
            owners.append([number for number, text in enumerate(some) for _ in text] + [-1] * len(blank))
            places.append([place for text in some for place in range(len(text))] + blank)
        inputs, owner, place = (torch.tensor(one, device=self.device) for one in (tokens, owners, places))
        same = (owner.unsqueeze(2) == owner.unsqueeze(1)).tril()  # (rows, longest, longest)
        before = rows.mask.bool().unsqueeze(1).expand(-1, longest, -1)
        seen = torch.cat([before, same], 2).unsqueeze(1)
        found = self.model(
            inputs,
            attention_mask=_added(seen, rows.cache),
            position_ids=rows.mask.sum(-1, keepdim=True) + place,
            past_key_values=rows.cache,
            use_cache=True,
        )
        return found.logits

    def _pass(self, texts: Sequence[list[int]], before: PromptRows | None) -> tuple[PromptRows, Any]:
        """Read token rows, after the rows before them if there are any."""
        import torch

        longest = max(map(len, texts))
        padded = [[_PAD] * (longest - len(text)) + text for text in texts]
        real = [[0] * (longest - len(text)) + [1] * len(text) for text in texts]
        mask = torch.tensor(real, device=self.device)
        cache: Any = None
        if before is not None:
            mask, cache = torch.cat([before.mask, mask], 1), before.cache
        with _last_only(self._last_feed_forward):
            found = self.model(
                torch.tensor(padded, device=self.device),
                attention_mask=mask,
                position_ids=(mask.cumsum(-1) - 1).clamp(min=0)[:, -longest:],
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
        return PromptRows(found.past_key_values, mask), found.logits[:, -1]


def can_pad(model: Any, device: str) -> bool:
    """Whether a model's numbers stay as they are beside others: tried on two short texts.

    Not so for caches that are more than keys and values (windows, states), and for models that take their
    positions from where a token stands. A model that fails at it takes no padding.
    """
    import torch

    known = inspect.signature(model.forward).parameters
    if not {"position_ids", "logits_to_keep"} <= known.keys() or _turns_by_the_longest(model):
        return False
    try:
        with torch.inference_mode():
            return _is_same_beside_others(model, device)
    except Exception:  # torch's own errors have no common type
        return False


def _turns_by_the_longest(model: Any) -> bool:
    """Whether the longest text of a pass decides how all of them are read, as in transformers' longrope."""
    kinds = [getattr(module, "rope_type", None) for module in model.modules()]
    named = [name for kind in kinds for name in (kind.values() if isinstance(kind, dict) else [kind])]
    return any(name == "longrope" or "dynamic" in str(name) for name in named)


def _is_same_beside_others(model: Any, device: str) -> bool:
    import torch

    short, long, behind = [3, 1, 4], [2, 7, 1, 8, 2, 8], [5, 9]
    alone = model(torch.tensor([[*short, *behind]], device=device), use_cache=True)
    if not _is_plain(alone.past_key_values):
        return False
    reader = PromptReader(model, device)
    rows, first = reader.read([long, short])
    branched = reader.branch(rows.copy([1]), [[[8, 8, 8], behind]])[0, -2:]
    stepped = reader.step(rows, torch.tensor([1, behind[0]], device=device))
    found = torch.stack([first[1], branched[0], branched[1], stepped[1]]).float()
    wanted = alone.logits[0, [-3, -2, -1, -2]]
    most = _TOLERANCE.get(str(wanted.dtype).removeprefix("torch."), 0.03)
    wanted = wanted.float()
    return bool((found - wanted).abs().max() <= most * wanted.abs().max())  # not for NaN either


def _common(prompts: Sequence[list[int]]) -> list[int]:
    """What all begin with, short of the shortest's last token: at least one is left to read."""
    if not prompts:
        return []
    first, last = min(prompts), max(prompts)  # in order, so what these two share is in all between
    most = min(map(len, prompts)) - 1
    differ = next((at for at in range(most) if first[at] != last[at]), most)
    return first[:differ]


def _is_plain(cache: Any) -> bool:
    """Whether a cache is one of keys and values alone, of every token."""
    from transformers.cache_utils import DynamicCache, DynamicLayer

    return type(cache) is DynamicCache and all(type(layer) is DynamicLayer for layer in cache.layers)


def _cache(layers: Sequence[tuple[Any, Any]]) -> Any:
    from transformers.cache_utils import DynamicCache

    cache = DynamicCache()
    for number, (keys, values) in enumerate(layers):
        cache.update(keys, values, number)
    return cache


def _added(seen: Any, cache: Any) -> Any:
    """What a pass adds to its attention scores, of a mask of what is seen, (rows, 1, tokens, places)."""
    import torch

    nothing = torch.zeros(seen.shape, dtype=cache.layers[0].keys.dtype, device=seen.device)
    return nothing.masked_fill_(~seen, torch.finfo(nothing.dtype).min)


def _last_feed_forward(model: Any) -> Any:
    """The feed-forward part of a model's last block; None where it is not called as in most models."""
    blocks = [module for name, module in model.named_modules() if name.endswith(".mlp")]
    return blocks[-1] if blocks else None


@contextmanager
def _last_only(feed_forward: Any) -> Iterator[None]:
    """Let it see the last token alone: what it makes of the others nobody reads.

    What it gives is added to each token of the block, and is right for the last.
    """
    if feed_forward is None:
        yield
        return
    handle = feed_forward.register_forward_pre_hook(lambda _, given: (given[0][:, -1:], *given[1:]))
    try:
        yield
    finally:
        handle.remove()


def _stacked(above: Any, below: Any, width: int, dim: int) -> Any:
    """Two tensors, padded with zeros on the left of a dimension, one below the other."""
    import torch

    after = 2 * (above.dim() - 1 - dim)  # `pad` counts from the last dimension
    padded = [
        torch.nn.functional.pad(one, [0] * after + [blank, 0]) if (blank := width - one.shape[dim]) else one
        for one in (above, below)
    ]
    return torch.cat(padded, 0)
