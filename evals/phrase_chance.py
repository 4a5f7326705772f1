"""How probable it is that a text holds some words by chance, by which words follow which in other texts.

What many people begin or end a question with is no sign of a leak; words that hardly ever stand together are.
No word list, so it is the same in every language whose words have spaces between them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

_SAMPLE_CHARS = 1_000_000  # counted in half a second; more changed no verdict
_START, _END = "\n", "\r"  # no words: a fingerprint holds neither
_LESS = 0.4  # for each word less that a count looks back (Brants et al., EMNLP 2007)
_UNSEEN = 0.5


class PhraseChance:
    """The chance of phrases in texts, from runs of one, two and three words of the first million characters.

    phrases: those that will be asked for, of words with single spaces between them, as the texts are.
    """

    def __init__(self, phrases: Sequence[str]) -> None:
        words = [phrase.split() for phrase in phrases]
        self._firsts = sorted({some[0] for some in words if some})
        self._lasts = sorted({some[-1] for some in words if some})
        self._waiting: list[str] = []
        self._room = _SAMPLE_CHARS
        self._runs: Counter[tuple[str, ...]] = Counter()
        self._words = 0
        self._counted: list[str] = []
        self._sample = ""
        self._beside: dict[tuple[str, bool], float] = {}  # these two hold for what is counted
        self._held: dict[str, int] = {}
        self.add(phrases)

    def add(self, texts: Iterable[str]) -> None:
        """Learn from texts, while there is room for them."""
        for text in texts:
            if self._room <= 0:
                return
            self._room -= len(text) + 2
            self._waiting.append(text)

    def of(self, phrase: Sequence[str], before: str | None, after: str | None) -> float:
        """The chance that at one place of a text the phrase stands, between these two words; None: an end.

        Of two words or more. A neighbour counts as the times it goes with this phrase more often than with
        phrases at large. Texts that hold the whole phrase are not counted: a leak is no evidence that it is
        common.
        """
        self._count()
        without = self._times_held(" ".join(phrase))
        first, last = phrase[0], phrase[-1]
        chance = self._share(first, without) * self._follows(first, (), phrase[1], without)
        for place in range(2, len(phrase)):
            chance *= self._follows(phrase[place - 1], phrase[place - 2 : place - 1], phrase[place], without)
        opening, closing = before or _START, after or _END
        begun = self._follows(opening, (), first, without) * self._share(opening, 0)
        chance *= begun / (self._share(first, without) * self._usually_beside(opening, True))
        ended = self._follows(last, phrase[-2:-1], closing, without)
        return chance * ended / self._usually_beside(closing, False)

    def _times_held(self, phrase: str) -> int:
        if phrase not in self._held:
            self._held[phrase] = self._sample.count(f" {phrase} ")
        return self._held[phrase]

    def _usually_beside(self, word: str, is_before: bool) -> float:
        """How often a word stands before what a phrase begins with, or after what it ends with; their mean.

        Where all are wrapped in the same words, those say nothing of one of them.
        """
        if (word, is_before) not in self._beside:
            ends = self._firsts if is_before else self._lasts
            together = ((word, end) if is_before else (end, word) for end in ends)
            met = sum(self._runs[run] / max(self._runs[run[is_before],], 1) for run in together)
            self._beside[word, is_before] = max(met / max(len(ends), 1), self._share(word, 0))
        return self._beside[word, is_before]

    def _count(self) -> None:
        """Count the texts that were not yet."""
        for text in self._waiting:
            words = [_START, *text.split(), _END]
            self._words += len(words)
            for size in (1, 2, 3):
                self._runs.update(zip(*(words[at:] for at in range(size)), strict=False))
            self._counted.append(f" {text} ")
        if self._waiting:
            self._sample = "\n".join(self._counted)
            self._waiting.clear()
            self._beside.clear()
            self._held.clear()

    def _met(self, *run: str, without: int) -> int:
        return max(0, self._runs[run] - without)

    def _share(self, word: str, without: int) -> float:
        """Of all words how many are this one; of one that was never met, half a time."""
        return max(self._met(word, without=without), _UNSEEN) / max(self._words, 1)

    def _follows(self, last: str, earlier: Sequence[str], word: str, without: int) -> float:
        """How often a word comes after another, and after the two before it where those were met together."""
        if earlier and (met := self._met(earlier[0], last, word, without=without)):
            return met / self._met(earlier[0], last, without=without)
        if met := self._met(last, word, without=without):
            return (_LESS if earlier else 1.0) * met / self._met(last, without=without)
        return (_LESS**2 if earlier else _LESS) * self._share(word, without)
