"""A sentence as tokens: words, numbers, paths, references, quotations and punctuation."""

# ruff: noqa: RUF001  # quotation marks and dashes of every kind are what it is about
from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

_QUOTED = (
    r"“[^”]*”|„[^“”]*[“”]|«[^»]*»|‹[^›]*›|`[^`]*`|\"[^\"]*\"|(?<!\w)'[^'\n]*'(?!\w)|(?<!\w)‘[^’\n]*’(?!\w)"
)
_ENDINGS = "csv|tsv|jsonl|json|parquet|yaml|yml|nemo|txt|ndjson|gz|zst|arrow|xlsx|md"
_TOKEN = re.compile(
    rf"(?P<quoted>{_QUOTED})"
    r"|(?P<mapping>\{[^{}\n]{1,800}\})"
    r"|(?P<address>\b[a-z0-9]{2,8}:(?://|datasets/|[\w.-]+/)[^\s,;]*[^\s,;.!?)])"
    r"|(?P<image>(?:(?<=image )|(?<=image=)|(?<=image: )|(?<=image is ))(?=[^\s,;]*[:/])[a-z0-9][\w./:@-]*\w)"
    r"|(?P<held>\b(?:pvc|secret:(?:env|file)):[\w./-]*[\w/-])"
    r"|(?P<ref>\b[a-z][a-z-]*:[0-9a-f]{6,64}\b)"
    rf"|(?P<path>(?:~|\.{{1,2}})?(?:/?[\w.+~-]+)?(?:/[\w.+~-]*[\w+~-])+/?|[\w+-][\w.+-]*\.(?:{_ENDINGS})\b|[\w.-]+/(?=[\s,;]|$))"
    r"|(?P<date>\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?Z?)?\b)"
    r"|(?P<number>(?<![\w.])[$€]?(?:\d[\d_]*(?:,\d{3})*(?:\.\d+)?|\.\d+)(?:e-?\d+)?(?:k|m)?(?![\w]))"
    r"|(?P<word>[^\W_](?:[\w]|['’-](?=\w))*)"
    r"|(?P<end>[.;!?\n]+)"
    r"|(?P<mark>[^\s\w])",
    re.IGNORECASE,
)
_FACE = re.compile(r"(?<!\S)[:;]'?-?[()DPp](?!\S)")
_SHORT_WITHOUT = re.compile(r"(?<!\S)w/o(?: |$)", re.IGNORECASE)
_SHORT_WITH = re.compile(r"(?<!\S)w/ ?(?=\w|\s)", re.IGNORECASE)
_DOT_ENDING = re.compile(rf"(?<!\S)\.(?=(?:{_ENDINGS})\b)", re.IGNORECASE)  # "to .nemo"
_SHORT_FORMS = {
    "what's": "what is", "who's": "who is", "where's": "where is", "how's": "how is", "it's": "it is",
    "that's": "that is", "there's": "there is", "let's": "let us", "i'd": "i would", "we'd": "we would",
    "i'm": "i am", "we're": "we are", "i've": "i have", "we've": "we have", "i'll": "i will",
    "we'll": "we will", "which's": "which is", "whats": "what is", "whos": "who is", "lets": "let us",
    "you're": "you are", "cannot": "can not", "wanna": "want to", "gonna": "going to", "gotta": "have to",
    "gimme": "give me", "lemme": "let me", "wheres": "where is", "hows": "how is", "im": "i am",
    "youre": "you are", "theyre": "they are", "thats": "that is", "theres": "there is", "ive": "i have",
    "weve": "we have", "youve": "you have", "you've": "you have", "they're": "they are", "youll": "you will",
    "you'll": "you will", "yesterdays": "yesterday", "todays": "today",
}  # fmt: skip


def words(text: str) -> frozenset[str]:
    """The words of a text, as a set."""
    return frozenset(text.split())


@dataclass(frozen=True)
class Token:
    """One piece of a sentence. `key` is what it is compared by: lower case, without hyphens."""

    text: str
    kind: str  # quoted, mapping, address, ref, path, date, number, word, end, mark
    key: str

    @property
    def is_word(self) -> bool:
        """Whether it is a plain word."""
        return self.kind == "word"


def key_of_word(word: str) -> str:
    """What a word is compared by."""
    return word.lower().replace("-", "").replace("_", "").replace("’", "'")


def stem_of(key: str) -> str:
    """A word without the ending that makes it several, or somebody's."""
    return key[:-1] if len(key) > 3 and key.endswith("s") and not key.endswith("ss") else key


def tokens_of(text: str) -> list[Token]:
    """The tokens of a text, short forms written out; a smile is none."""
    text = unicodedata.normalize("NFC", text).replace("’", "'")
    text = _SHORT_WITHOUT.sub("without ", text.replace(" @ ", " on "))
    text = _SHORT_WITH.sub("with ", _FACE.sub(" , ", _DOT_ENDING.sub("", text)))
    found: list[Token] = []
    for match in _TOKEN.finditer(text):
        kind = {"held": "address", "image": "address"}.get(
            match.lastgroup or "mark", match.lastgroup or "mark"
        )
        found += _made(kind, match.group())
    return found


def _made(kind: str, text: str) -> list[Token]:
    if kind != "word":
        inner = text[1:-1] if kind == "quoted" else text
        if text == ";":
            return [Token(",", "mark", ",")]  # it joins: what is negated before it stays so behind it
        return [Token(inner, kind, inner.lower() if kind in ("number", "mark", "end") else f"<{kind}>")]
    lower = text.lower()
    if lower in _SHORT_FORMS:
        return [Token(word, "word", word) for word in _SHORT_FORMS[lower].split()]
    if lower.endswith("n't"):
        return [Token(text[:-3], "word", lower[:-3]), Token("not", "word", "not")]
    if lower.endswith("'s"):
        return [Token(text[:-2], "word", key_of_word(text[:-2]))]
    return [Token(text, "word", key_of_word(text))]


def shown(tokens: list[Token]) -> str:
    """Tokens as a person would read them."""
    return " ".join(token.text for token in tokens if token.kind != "end")


def is_typo_of(word: str, known: str) -> bool:
    """Whether a word is a known one mistyped: a letter more, less, wrong, or two swapped; two in long ones.

    An inflected form is no typo: "deployed" tells what was, "deploy" says what to do.
    """
    if word == known:
        return True
    if not word.isascii() or len(known) < 4 or abs(len(word) - len(known)) > 2:
        return False
    if word[0] != known[0] or _is_inflected(word, known) or _is_inflected(known, word):
        return False
    most = 2 if min(len(known), len(word)) >= 7 else 1
    return distance(word, known) <= most


def is_swap_of(word: str, known: str) -> bool:
    """Whether a word is a known one with two neighbouring letters swapped."""
    if len(word) != len(known) or word == known:
        return False
    at = next(place for place, (a, b) in enumerate(zip(word, known, strict=True)) if a != b)
    return word[at : at + 2] == known[at : at + 2][::-1] and word[at + 2 :] == known[at + 2 :]


def _is_inflected(word: str, known: str) -> bool:
    stem = known.removesuffix("e")
    ends = ("d", "ed", "s", "es", "ing", "er", "or", "ment", "ion", "ation", "able", "y")
    return any(word == start + end for start in (known, stem, known + known[-1]) for end in ends)


def distance(one: str, other: str) -> int:
    """Letters to add, leave out, change or swap with the next to make one of the other."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        older, before, row = before, row, [i]
        for j, b in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
    return row[-1]
