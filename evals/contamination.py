"""Contamination: suite items that a model has seen in training, word for word or changed a little."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from ..core.artifact_refs import DatasetRef
from ..core.artifacts import ArtifactStore
from ..data.batches import in_runs
from ..data.dataset import dataset_samples
from ..data.personal import masked_group
from ..data.rows import TRAIN
from ..data.sample import asked_of
from ..data.shingles import count_shared, hash_shingles, in_batches
from ..data.text import fingerprint
from .phrase_chance import PhraseChance

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..data.shingles import Shingles

JACCARD = 0.8
_FEWEST_CHARS = 8  # a shorter item is found where a text is the same words, and not otherwise
_TELLING_WORDS, _TELLING_CHARS = 4, 16  # a shorter item is no sign of a leak within a longer text
_COMMON_WORDS = 8  # an item of no more may be how many people begin or end what they ask
_CHANCE = 2e-5  # that a text holds an item and nobody copied it, below which it is a leak
_POLITE = frozenset(
    [
        "hi",
        "hello",
        "hey",
        "there",
        "dear",
        "sir",
        "madam",
        "please",
        "kindly",
        "ok",
        "okay",
        "thanks",
        "thank",
    ]
)  # in English
_CLAUSE_EDGE = re.compile(r"[.,:;!?\u2026]+(?=\s|$)|[\n\"\u201c\u201d()]|\s[-\u2013\u2014]\s")
_UNSPACED_CHARS = 10  # a word as long as this, in a script other than Latin, is several
_CHARS_A_TYPO = 12
_CONTAINED = 0.85  # of the shingles: those at the edges of the item may be others
_NOT_DIGITS = re.compile(r"\D+")
_LOST_SHINGLES = 13  # by a misspelt letter 5, by words that change places 4 at each cut
_LEAST_SHARE = 0.75  # of a long item's shingles, in a text that holds it
_INDEXED = 0.5  # hits wanted before a pair is counted out, as a share of those it needs
_CHARS_AT_ONCE = 1 << 16
_WINDOW_CHARS = 2000
_TEXTS_AT_ONCE = 2000


class MatchKind(StrEnum):
    """How an item was found in a text, the surest first."""

    VERBATIM = "verbatim"
    NORMALISED = "normalised"  # case, white space, end marks
    NEAR_DUPLICATE = "near_duplicate"  # by the Jaccard of 5-character shingles
    CONTAINED = "contained"  # all its words, in their order, within a longer text
    MISSPELT = "misspelt"  # but for one letter in two dozen, no digit
    REORDERED = "reordered"  # the same words in another order


class Overlap(NamedTuple):
    """An item found in a text: their numbers, how, and how alike they are, 0 to 1."""

    text: int
    item: int
    kind: MatchKind
    score: float


class OverlapFinder:
    """Finds in any number of texts those that hold one of some items.

    items: what is asked in a suite. jaccard: from which a text is nearly an item; None finds only items that
    are a whole text, verbatim or normalised. An item of fewer than 4 words or 16 characters is found only
    where a text as a whole is that item, give or take a letter. common: whether an item counts as found also
    where a text holds its words by chance; that depends on what the other texts are, so rows are kept apart
    with it and judged without: what stays is then never found.
    """

    def __init__(self, items: Sequence[str], jaccard: float | None = JACCARD, common: bool = False) -> None:
        self.items = list(items)
        self._verbatim = _numbers_of(self.items)
        self._words = [fingerprint(item) for item in self.items]
        self._normalised = _numbers_of(self._words)
        long = [n for n, words in enumerate(self._words) if len(words) >= _FEWEST_CHARS]
        nearly = bool(long) and jaccard is not None
        self._index = _ItemIndex([self._words[n] for n in long], jaccard or JACCARD) if nearly else None
        self._long = long
        self._usual = None if common or not nearly else PhraseChance(self._words)

    def overlaps(self, texts: Sequence[str]) -> Iterator[Overlap]:
        """Every item that each text holds, text by text; the same pair once, found the surest way."""
        words = [fingerprint(text) for text in texts]
        found: dict[tuple[int, int], tuple[MatchKind, float]] = {}
        for number, (text, bare) in enumerate(zip(texts, words, strict=True)):
            for item in self._verbatim.get(text, ()):
                found[number, item] = (MatchKind.VERBATIM, 1.0)
            for item in self._normalised.get(bare, ()):
                found.setdefault((number, item), (MatchKind.NORMALISED, 1.0))
        if self._usual is not None:
            self._usual.add(words)
        for number, place, match, score in self._index.search(words) if self._index else ():
            item = self._long[place]
            if (number, item) in found:
                continue
            if match is MatchKind.CONTAINED and self._is_common(item, texts[number]):
                continue
            found[number, item] = (match, score)
        return (Overlap(*pair, *how) for pair, how in sorted(found.items()))

    def _is_common(self, item: int, text: str) -> bool:
        return self._usual is not None and _is_common(self._words[item], text, self._usual)

    def surest(self, texts: Sequence[str]) -> list[Overlap | None]:
        """For each text the item it holds most surely; None where it holds none."""
        best: list[Overlap | None] = [None] * len(texts)
        rank = {match: place for place, match in enumerate(MatchKind)}
        for one in self.overlaps(texts):
            known = best[one.text]
            if known is None or (rank[one.kind], -one.score) < (rank[known.kind], -known.score):
                best[one.text] = one
        return best


def find_overlap(train: Iterable[str], asked: Sequence[str], common: bool = False) -> dict[int, MatchKind]:
    """The asked texts that occur in training, by number, and the surest way in which each was found."""
    finder, found = OverlapFinder(asked, common=common), dict[int, MatchKind]()
    rank = {match: place for place, match in enumerate(MatchKind)}
    for batch in in_runs(train, _TEXTS_AT_ONCE):
        for one in finder.overlaps(batch):
            if one.item not in found or rank[one.kind] < rank[found[one.item]]:
                found[one.item] = one.kind
    return found


def find_alike(others: Sequence[str], asked: Sequence[str]) -> dict[int, MatchKind]:
    """The asked texts that one of others holds, or that hold one of others, by number, and the surest way.

    For two sets of questions, of which neither is the longer text.
    """
    found = find_overlap(others, asked)
    for one in OverlapFinder(others).surest(asked):
        if one is not None:
            found[one.text] = min(found.get(one.text, one.kind), one.kind, key=list(MatchKind).index)
    return found


def training_texts(store: ArtifactStore, datasets: Iterable[DatasetRef]) -> Iterator[str]:
    """What users say in each training row of some datasets, a few rows in memory at a time.

    For the leaks of a model give `lineage.training_datasets`: a clean last stage hides no earlier one.
    """
    for ref in datasets:
        for sample in dataset_samples(store.open(ref), TRAIN):
            yield asked_of(sample)


def find_leaks(
    store: ArtifactStore,
    datasets: Sequence[DatasetRef],
    asked: Sequence[tuple[str, str | None]],
    common: bool = False,
) -> set[int]:
    """Of what is asked, with the group of each, the numbers that training rows hold: by text or by group.

    common: as of `OverlapFinder`.
    """
    found = set(find_overlap(training_texts(store, datasets), [text for text, _ in asked], common))
    places: dict[str, list[int]] = defaultdict(list)
    for place, (_, group) in enumerate(asked):
        for name in () if group is None else {group, masked_group(group)}:
            places[name].append(place)
    for ref in datasets if places else ():
        for sample in dataset_samples(store.open(ref), TRAIN):
            if sample.group is not None:
                found.update(places.get(sample.group, ()))
    return found


def _is_common(item: str, text: str, usual: PhraseChance) -> bool:
    """Whether a text that holds a short item does so by chance, as another question that begins or ends so.

    "what is the exchange rate" is not what "what is the exchange rate of the peso" asks. An item that is a
    clause by itself (with polite words beside it, where these are English), or whose words nobody puts
    together, is asked there. A longer item, and one without spaces between words, is never common.
    """
    wanted = tuple(item.split())
    size = len(wanted)
    if not _TELLING_WORDS <= size <= _COMMON_WORDS:
        return False
    words, edges, places = _clauses(text)
    starts = [at for at in places.get(wanted[0], ()) if words[at : at + size] == wanted]
    return bool(starts) and all(
        not {at, at + size} <= edges
        and usual.of(
            wanted,
            None if at in edges else words[at - 1],
            None if at + size in edges else words[at + size],
        )
        * len(words)
        > _CHANCE
        for at in starts
    )


@lru_cache(maxsize=1)  # one text is asked about many items
def _clauses(text: str) -> tuple[tuple[str, ...], frozenset[int], dict[str, list[int]]]:
    """The words of a text, the places between them where a clause begins or ends, and where each word is."""
    words: list[str] = []
    edges = {0}
    for clause in _CLAUSE_EDGE.split(text):
        words += fingerprint(clause).split()
        edges.add(len(words))
    edges.update(edge for at, word in enumerate(words) if word in _POLITE for edge in (at, at + 1))
    places: defaultdict[str, list[int]] = defaultdict(list)
    for at, word in enumerate(words):
        places[word].append(at)
    return tuple(words), frozenset(edges), dict(places)


def _numbers_of(texts: Sequence[str]) -> dict[str, list[int]]:
    numbers: defaultdict[str, list[int]] = defaultdict(list)
    for number, text in enumerate(texts):
        numbers[text].append(number)
    return dict(numbers)


def _digits(text: str) -> str:
    """The digits of a text: another number is another question, not a slip."""
    return _NOT_DIGITS.sub("", text)


def _is_telling(words: str) -> bool:
    """Whether a text says enough to be known again within another; scripts without spaces by their length."""
    n = len(words.split())
    if not words.isascii() and len(words) >= _UNSPACED_CHARS * n:  # a script without spaces
        return True
    return n >= _TELLING_WORDS and len(words) >= _TELLING_CHARS


class _ItemIndex:
    """Items by their shingles: a text that shares half of an item's is compared with it word by word.

    Only the rarest shingles of an item are indexed, so many that a text which holds the item must hit some of
    them (prefix filtering; Chaudhuri et al., ICDE 2006), so that common words cost little.
    """

    def __init__(self, items: Sequence[str], jaccard: float) -> None:
        import numpy as np

        self.items, self._jaccard = list(items), jaccard
        self._padded = [f" {item} " for item in items]
        self._sorted = [sorted(item.split()) for item in items]
        self._telling = [_is_telling(item) for item in items]
        self._shingles = hash_shingles(items)
        flat, counts = self._shingles
        share = min(_LEAST_SHARE, jaccard)
        reordered = np.maximum((counts + 1) // 2, counts - _LOST_SHINGLES)
        self._needed = np.maximum(1, np.minimum(reordered, (share * counts).astype(np.int64)))
        _, place, often = np.unique(flat, return_inverse=True, return_counts=True)
        owner = np.repeat(np.arange(len(items)), counts)
        order = np.lexsort((flat, often[place], owner))
        rank = np.arange(len(flat)) - np.repeat(np.cumsum(counts) - counts, counts)
        self._hits = np.maximum(1, (self._needed * _INDEXED).astype(np.int64))
        rare = order[rank < (counts - self._needed + self._hits)[owner]]
        by_hash = rare[np.argsort(flat[rare], kind="stable")]
        self._hashes, self._owners = flat[by_hash], owner[by_hash]
        self._longest = max(map(len, items))

    def search(self, texts: Sequence[str]) -> Iterator[tuple[int, int, MatchKind, float]]:
        """(text, item, how, score) of each item that a text holds."""
        numbers, parts = [], []
        for number, text in enumerate(texts):
            for part in self._windows(text):
                numbers.append(number)
                parts.append(part)
        at = 0
        for batch in in_batches(parts, _CHARS_AT_ONCE):
            for place, item, shared, alike in self._candidates(batch):
                text = texts[numbers[at + place]]
                whole = len(batch[place]) == len(text)
                match = self._match(text, item, alike if whole else 0.0, shared)
                if match is not None:
                    score = alike if match is MatchKind.NEAR_DUPLICATE else shared
                    yield numbers[at + place], item, match, score
            at += len(batch)

    def _windows(self, text: str) -> Iterator[str]:
        """A text in overlapping parts, so that a long one does not hold half of any item by chance."""
        width = max(_WINDOW_CHARS, 2 * self._longest)
        if len(text) <= width:
            yield text
            return
        for start in range(0, len(text) - self._longest, width - self._longest):
            yield text[start : start + width]

    def _candidates(self, texts: Sequence[str]) -> Iterator[tuple[int, int, float, float]]:
        """(text, item, share of the item's shingles in the text, Jaccard) where the share is large enough."""
        import numpy as np

        held = hash_shingles(texts)
        first, second = self._hit(held)
        if not first.size:
            return
        common, either = count_shared(held, self._shingles, first, second)
        enough = common >= self._needed[second]
        shared, alike = common / self._shingles[1][second], common / np.maximum(either, 1)
        columns = (column[enough].tolist() for column in (first, second, shared, alike))
        yield from zip(*columns, strict=True)

    def _hit(self, held: Shingles) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Texts, and items of which they have as many of the indexed shingles as they must."""
        import numpy as np

        flat, counts = held
        low, high = np.searchsorted(self._hashes, flat, "left"), np.searchsorted(self._hashes, flat, "right")
        hits = high - low
        owner = np.repeat(np.arange(len(counts)), counts)
        place = np.arange(hits.sum()) - np.repeat(np.cumsum(hits) - hits - low, hits)
        pairs = np.sort(np.repeat(owner, hits) * len(self.items) + self._owners[place])
        begins = np.flatnonzero(np.diff(pairs, prepend=-1))
        often = np.diff(begins, append=len(pairs))
        pairs = pairs[begins]
        pairs = pairs[often >= self._hits[pairs % len(self.items)]]
        return pairs // len(self.items), pairs % len(self.items)

    def _match(self, text: str, item: int, alike: float, shared: float) -> MatchKind | None:
        """How a text holds an item that it shares much with; None when it does not."""
        from rapidfuzz.distance import OSA

        if alike >= self._jaccard:
            return MatchKind.NEAR_DUPLICATE
        words, telling = self.items[item], self._telling[item]
        if telling and shared >= _CONTAINED and self._holds(text, item):
            return MatchKind.CONTAINED
        typos = max(1, len(words) // _CHARS_A_TYPO // 2)
        near = abs(len(text) - len(words)) <= typos and _digits(text) == _digits(words)
        if near and OSA.distance(text, words, score_cutoff=typos) <= typos:
            return MatchKind.MISSPELT
        if telling and abs(len(text) - len(words)) <= len(words) // 4:
            return MatchKind.REORDERED if sorted(text.split()) == self._sorted[item] else None
        return None

    def _holds(self, text: str, item: int) -> bool:
        """Whether an item stands in a text, at the edges of words where the script has such."""
        return self._padded[item] in f" {text} " or (not text.isascii() and self.items[item] in text)
