"""The registry's skills as something sentences are compared with: made once for each registry."""

from __future__ import annotations

import re
from functools import cached_property
from weakref import WeakKeyDictionary

from ....core.artifact_refs import REF_TYPES
from ....core.contract import Effect
from ....core.registry import Registry
from .fields import FieldWords, field_words
from .inflections import gerunds_of, participles_of
from .mappings import unbraced, unbracketed
from .names_of_two import in_order, names_turned
from .number_words import NUMBER_WORDS, counted
from .phrase_patterns import PhraseMatch, PhrasePattern, phrase_pattern
from .spacing import VOWELS, beside_names, consonants, halves, spaced, undoubled
from .text import Token, distance, is_swap_of, is_typo_of, key_of_word, stem_of, tokens_of, words
from .wording import sections, word_list
from .words import ARTICLES, LIGHT, NEGATIONS, PREPOSITIONS, SMALL


class Lexicon:
    """Every phrase of a registry's skills, and the words they are made of."""

    def __init__(self, registry: Registry) -> None:
        self.skills = list(registry)
        self.fields: dict[str, list[FieldWords]] = {}
        self.patterns: dict[str, list[PhrasePattern]] = {}
        for skill in self.skills:
            self.fields[skill.name] = field_words(skill.request)
        values = {
            name: frozenset(key for one in fields for said, _ in one.values for key in said)
            for name, fields in self.fields.items()
        }
        for skill in self.skills:
            for phrase in (*skill.phrases, skill.name.replace("-", " "), skill.name):
                pattern = phrase_pattern(skill, phrase, self.compounds, values[skill.name])
                self.patterns.setdefault(pattern.head, []).append(pattern)

    @cached_property
    def heads(self) -> frozenset[str]:
        """The words that phrases begin with."""
        return frozenset(self.patterns)

    @cached_property
    def gerunds(self) -> dict[str, str]:
        """What follows "would you mind" or "start": evaluating, for evaluate."""
        return {form: head for head in self.heads for form in gerunds_of(head)}

    @cached_property
    def participles(self) -> dict[str, str]:
        """What follows "should be" or "have it": evaluated, for evaluate."""
        return {form: head for head in self.heads for form in participles_of(head)}

    @cached_property
    def known(self) -> frozenset[str]:
        """Every word that has a meaning here: of phrases, fields, values and kinds of artifact."""
        return frozenset(self._of_skills | _ASKED_WITH)

    @cached_property
    def _only_asked(self) -> frozenset[str]:
        """Words of questions about the record that no skill has."""
        return _ASKED_WITH - self._of_skills

    @cached_property
    def _of_skills(self) -> frozenset[str]:
        """Words of phrases, fields, values and kinds of artifact, and those that every skill may need."""
        words = set(SMALL) | NEGATIONS | LIGHT | PREPOSITIONS
        for patterns in self.patterns.values():
            words |= {part.key for pattern in patterns for part in pattern.parts if not part.is_slot}
        for fields in self.fields.values():
            for one in fields:
                words |= {key for name in one.names for key in name}
                words |= {key for said, _ in one.values for key in said}
                words |= {key for inner in one.inside for name in inner.names for key in name}
        words |= {key for said in kind_names() for key in said} | DESCRIBING
        return frozenset(words)

    @cached_property
    def kept(self) -> frozenset[str]:
        """Words that keep it from acting, and manners: never taken for a slip of something else."""
        lines = " ".join(
            line
            for name in ("cues", "manners", "courtesies")
            for said in sections(name).values()
            for line in said
        )
        return (frozenset(re.findall(r"(?<!\\)\b[a-z]{3,}", lines)) | word_list("verbs")) - self.known

    @cached_property
    def own_words(self) -> frozenset[str]:
        """The words of phrases and kinds of artifact: what steps and what they make are called."""
        parts = (part for found in self.patterns.values() for one in found for part in one.parts)
        kinds = {key for said in kind_names() for key in said}
        return (
            frozenset({part.key for part in parts if not part.is_slot} | self.gerunds.keys() | kinds) - SMALL
        )

    @cached_property
    def own_stems(self) -> dict[str, frozenset[str]]:
        """The words of each skill's own phrases, without endings; not those that deny or destroy."""
        found: dict[str, set[str]] = {skill.name: set() for skill in self.skills}
        for patterns in self.patterns.values():
            for one in patterns:
                said = {part.key for part in one.parts[1:] if not part.is_slot} - NEGATIONS
                found[one.skill.name] |= {stem_of(key) for key in said}
        heads = {stem_of(key) for key in self.doing_heads}
        return {name: frozenset(said - heads) for name, said in found.items()}

    @cached_property
    def mapping_names(self) -> frozenset[tuple[str, ...]]:
        """What fields that hold fields are called."""
        every = (one for fields in self.fields.values() for one in fields if one.takes_mapping)
        return frozenset(name for one in every for name in one.names)

    @cached_property
    def joined_names(self) -> frozenset[str]:
        """Names of fields, each as one word."""
        return frozenset(
            "".join(name) for fields in self.fields.values() for one in fields for name in one.names
        )

    @cached_property
    def text_names(self) -> frozenset[tuple[str, ...]]:
        """What fields that take a text of any kind are called."""
        every = (one for fields in self.fields.values() for one in fields if one.takes_text)
        return frozenset(name for one in every for name in one.names)

    @cached_property
    def field_names(self) -> frozenset[str]:
        """Names of fields that are one word."""
        every = (one for fields in self.fields.values() for one in fields)
        return frozenset(name[0] for one in every for name in one.names if len(name) == 1)

    @cached_property
    def telling_values(self) -> dict[str, frozenset[str]]:
        """Values of fields that are no word of every day, each with the skills that take it: int8, slurm."""
        found: dict[str, set[str]] = {}
        for skill, fields in self.fields.items():
            said = {value[0] for one in fields for value, _ in one.values if len(value) == 1}
            for key in said:
                found.setdefault(key, set()).add(skill)
        named = self.field_names | self.heads | self.kind_words | DESCRIBING | SMALL | _PLAIN_VALUES
        return {key: frozenset(skills) for key, skills in found.items() if key not in named and len(key) > 2}

    @cached_property
    def names_of_two(self) -> frozenset[tuple[str, ...]]:
        """Names of fields that are two words."""
        every = (one for fields in self.fields.values() for one in fields)
        return frozenset(name for one in every for name in one.names if len(name) == 2)

    @cached_property
    def _mistakable(self) -> list[str]:
        return sorted((word for word in self.known | NUMBER_WORDS if len(word) >= 5), key=len)

    @cached_property
    def _short(self) -> list[str]:
        return sorted(word for word in self.known | NUMBER_WORDS if 3 <= len(word) <= 4 and word.isalpha())

    @cached_property
    def compounds(self) -> frozenset[str]:
        """Words that people also write as two: "fine tune", "roll out"."""
        whole = {key_of_word(name) for skill in self.skills for name in (skill.name,)}
        for skill in self.skills:
            for phrase in skill.phrases:
                whole |= {key_of_word(word) for word in phrase.split() if "-" in word}
            for one in self.fields[skill.name]:
                said = [value for value in one.plain_values if "-" in value]
                whole |= {key_of_word(value) for value in said if value.rpartition("-")[2] not in _THINGS}
        return frozenset(whole)

    def read(self, text: str, names: frozenset[str]) -> list[Token]:
        """A text's tokens, words written in two pieces put together, and slips of the finger mended."""
        text = unbracketed(unbraced(text, self._names_of_skills), self.joined_names)
        said = self._joined(tokens_of(spaced(text, self.known | ABBREVIATIONS.keys())))
        mended = [one for token in said for one in self._mended(token, names)]
        mended = [self._joining(mended, at) for at in range(len(mended))]
        sure = self.known | self.kept | names | _REAL_WORDS
        return counted(self._as_named(self._joined(beside_names(mended, self.names_of_two, sure))))

    def _joining(self, tokens: list[Token], at: int) -> Token:
        """The token, "an" as "and" before a verb or a number: "5 an 25"."""
        if tokens[at].key != "an" or not at or at + 1 >= len(tokens):
            return tokens[at]
        follows = tokens[at + 1]
        is_verb = follows.key in self.heads - self.nouns - SMALL and follows.key[:1] not in VOWELS
        counts = follows.kind == "number" and tokens[at - 1].kind in ("number", "mark")
        return Token("and", "word", "and") if is_verb or counts else tokens[at]

    def _as_named(self, tokens: list[Token]) -> list[Token]:
        return in_order(tokens, self._names_turned)

    @cached_property
    def _names_turned(self) -> frozenset[tuple[str, str]]:
        every = [one for found in self.patterns.values() for one in found]
        return names_turned(every, self.names_of_two, SMALL | LIGHT | PREPOSITIONS | ARTICLES | DESCRIBING)

    def _joined(self, tokens: list[Token]) -> list[Token]:
        found: list[Token] = []
        for token in tokens:
            last = found[-1] if found else None
            if token.is_word and last is not None and last.is_word and last.key + token.key in self.compounds:
                found[-1] = Token(f"{last.text} {token.text}", "word", last.key + token.key)
            else:
                found.append(token)
        return found

    def _mended(self, token: Token, names: frozenset[str]) -> list[Token]:
        """The token, or what it is a short form or a slip of the finger for."""
        key = token.key
        if (
            not token.is_word
            or key in self.known | self.kept
            or key in names
            or not key.isascii()
            or not key.isalpha()
        ):
            return [token]
        if (full := ABBREVIATIONS.get(key)) is not None:
            return [Token(token.text, "word", word) for word in full]
        if key in self.gerunds or key in _REAL_WORDS:
            return [token]
        single = next((word for word in undoubled(key) if word in self.known), None)
        near = self._near(key, names) if single is None else [single]
        if len(near) > 1 and _is_same_head(near):
            near = [word for word in near if word not in self._only_asked] or near
        if len(near) == 1 or _is_same_head(near):
            return [Token(token.text, "word", near[0])]
        apart = halves(key, self.known) if not near else None
        return [Token(word, "word", word) for word in apart] if apart else [token]

    def _near(self, key: str, names: frozenset[str]) -> list[str]:
        """The words that this may be a slip for; a short one only for two letters swapped."""
        if len(key) == 2:
            return [key[::-1]] if key[::-1] in _TWO_LETTERS else []
        swapped = [word for word in self._short if is_swap_of(key, word)]
        swapped += [word for word in self.kept if len(word) > 4 and is_swap_of(key, word)]
        swapped += [name for name in names if len(name) == 4 and is_swap_of(key, name)]
        first = [word for word in swapped if word[0] == key[0]]
        if first or swapped:
            return first or swapped
        if not set(key) & VOWELS and len(key) > 2:
            bare = [word for word in self.heads if word[0] == key[0] and consonants(word) == key]
            if len(bare) == 1:
                return bare
        if len(key) < 4:
            return []
        near = [word for word in self._mistakable if is_typo_of(key, word)]
        near += [name for name in names if len(name) >= 5 and is_typo_of(key, name) and name not in near]
        if len(near) > 1:
            closest = [word for word in near if is_swap_of(key, word)]
            least = min(distance(key, word) for word in near)
            near = closest if len(closest) == 1 else [word for word in near if distance(key, word) == least]
        return near

    def matches(self, tokens: list[Token]) -> list[PhraseMatch]:
        """Every phrase that fits the start of these tokens, the fullest first; a skill once."""
        best: dict[str, PhraseMatch] = {}
        for match in self.every_match(tokens):
            best.setdefault(match.skill.name, match)
        return list(best.values())

    def every_match(self, tokens: list[Token]) -> list[PhraseMatch]:
        """Every phrase that fits the start of these tokens, the fullest first; of a skill maybe several."""
        if not tokens:
            return []
        first = tokens[0].key
        found = [m for one in self.patterns.get(first, ()) if (m := one.match(tokens)) is not None]
        if (head := self.gerunds.get(first)) is not None:
            tokens = [Token(tokens[0].text, "word", head), *tokens[1:]]
            found += [m for one in self.patterns.get(head, ()) if (m := one.match(tokens)) is not None]
        found = [match for match in found if self._says_what(match, tokens)]
        return sorted(
            found, key=lambda match: (-match.score, match.pattern.head != key_of_word(match.skill.name))
        )

    def _says_what(self, match: PhraseMatch, tokens: list[Token]) -> bool:
        """Whether more of a phrase is said than a word of every day: "get going", "give me the table"."""
        rest = [token for token in tokens[1:] if token.key not in ARTICLES]
        if match.pattern.head in ("run", "start", "do") and rest and rest[0].key in self._names_of_skills:
            return not match.slots  # "run curate with ..."
        if match.pattern.head not in LIGHT or len(match.used) > 1 or not match.slots:
            return True
        pointed = self.kind_words | _POINTING
        near = [token for token in rest if token.kind != "mark"][:_NEAR]
        says = any(not token.is_word or token.key in pointed for token in near)
        return says or match.skill.effect is not Effect.SERVES

    @cached_property
    def _names_of_skills(self) -> frozenset[str]:
        return frozenset(key_of_word(skill.name) for skill in self.skills)

    @cached_property
    def nouns(self) -> frozenset[str]:
        """First words of phrases that are no verbs: "deployment of ...", "canary"."""
        of = {
            one.head
            for found in self.patterns.values()
            for one in found
            for part in one.parts[1:2]
            if part.key == "of" and not part.is_slot
        }
        return frozenset(of | self._made_things | self.kind_words | DESCRIBING | self.gerunds.keys())

    @cached_property
    def _made_things(self) -> frozenset[str]:
        """First words of what a skill makes: "golden set of ...", "drift check on ..."."""
        every = [one for found in self.patterns.values() for one in found]
        verbs = {one.head for one in every if one.parts[1:] and one.parts[1].key in ARTICLES}
        return frozenset(
            one.head
            for one in every
            if len(one.parts) > 2
            and not one.parts[1].is_slot
            and one.parts[2].key in ("of", "for", "from", "on")
            and one.head not in verbs
        )

    @cached_property
    def kind_words(self) -> frozenset[str]:
        """Words of the names of kinds of artifact."""
        return frozenset(key for name in kind_names() for key in name)

    @cached_property
    def doing_heads(self) -> frozenset[str]:
        """First words of phrases whose skills do more than read; not what also names an artifact."""
        kinds = {key for name in kind_names() for key in name}
        heads = {
            head
            for head, found in self.patterns.items()
            for one in found
            if one.skill.effect is not Effect.READS
        }
        return frozenset(heads - kinds - SMALL)

    def fit(self, tokens: list[Token]) -> float:
        """How well the best phrase fits the start of these tokens; 0 where none does."""
        return max((match.score for match in self.matches(tokens)), default=0.0)

    def reads_only(self, match: PhraseMatch) -> bool:
        """Whether the skill of a match changes nothing."""
        return match.skill.effect is Effect.READS


_ASKED_WITH = frozenset(
    word
    for lines in sections("questions").values()
    for line in lines
    for word in re.findall(r"[a-z]{5,}", line)
)
_PLAIN_VALUES = words(
    """
    all auto local none train test text keep drop one case order answer answers label labels table json
    markdown full mixed prefer choose classify extract prefix locally classification csv parquet jsonl
    chat first random typos length score loss best test off one two three true false words word tokens
    """
)
_POINTING = words("it this that them one release version stable canary")
_THINGS = words("engine model dataset")  # "trtllm engine" is an engine, "trtllm-engine" a target
_REAL_WORDS = word_list("no_typos")
_TWO_LETTERS = words("of to is it in at by as an or")
ABBREVIATIONS = {line.split()[0]: line.split()[1:] for line in sections("abbreviations")[""]}
DESCRIBING = words(
    """
    stable canary live production prod last latest newest recent most previous first best current new
    fresh yesterday today checkpoint one that this
    """
)


_NEAR = 5  # words behind a verb of every day, among which what it is about stands


def _is_same_head(near: list[str]) -> bool:
    """Whether the near words are forms of one word, so that either is meant."""
    return bool(near) and all(word.startswith(near[0][:5]) for word in near) and len(near[0]) >= 5


def kind_names() -> list[tuple[str, ...]]:
    """What kinds of artifact are called, each name as its words."""
    said = [name for ref in REF_TYPES.values() for name in (ref.kind.replace("-", " "), *ref.spoken)]
    return [tuple(key_of_word(word) for word in name.split()) for name in said]


_LEXICONS: WeakKeyDictionary[Registry, tuple[int, Lexicon]] = WeakKeyDictionary()


def lexicon_of(registry: Registry) -> Lexicon:
    """The lexicon of a registry, made anew once a skill was added to it."""
    count = sum(1 for _ in registry)
    kept = _LEXICONS.get(registry)
    if kept is None or kept[0] != count:
        kept = _LEXICONS[registry] = (count, Lexicon(registry))
    return kept[1]
