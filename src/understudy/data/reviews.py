"""The embedded set of sentences: synthetic film reviews, put together from word lists of our own.

Nobody wrote these sentences and nothing is copied: words and patterns are drawn with a fixed seed. They show how
methods and attacks work without a download; accuracies on them say nothing about language.

One sentence in eight is no matter of counting good and bad words: it denies a word ("never dull") or grants something
first ("the cast is charming , but the plot drags"), and its class is that of what it ends on.
"""

from collections.abc import Callable, Sequence
from functools import cache
from random import Random

import torch

from understudy.data.text_set import TextSet, TextSplit
from understudy.runs.seeds import derive_seed

REVIEW_CLASSES = ("negative", "positive")


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _phrases(text: str) -> tuple[str, ...]:
    return tuple(phrase.strip() for phrase in text.split("|"))


_ROWS: dict[TextSplit, int] = {"train": 1200, "validation": 200, "test": 300}

_GOOD = _words("""
brilliant charming touching clever graceful gripping hilarious honest inventive lively lovely masterful memorable
moving perfect playful powerful rewarding sharp splendid stunning superb tender thoughtful thrilling vivid warm
witty wonderful delightful elegant refreshing sincere spirited radiant confident absorbing luminous
""")
_BAD = _words("""
awful bland boring careless clumsy confusing crude dismal dreary dull empty feeble flat forgettable hollow inept
lifeless messy pointless predictable ridiculous shallow sloppy stale stupid tedious terrible tiresome ugly unfunny
uneven wooden weak wretched grating aimless muddled contrived
""")
_GOOD_DEEDS = _phrases("""
earns every laugh|holds your attention|finds real joy in small things|rewards patience|stays with you for days|
shines in every scene|delivers a true surprise|deserves a wide audience|breaks your heart gently|
keeps you guessing|hits every note|sparkles from start to finish|wins you over|soars in the second half|
treats its people with care|lifts the whole story|makes two hours fly by|never wastes a minute
""")
_BAD_DEEDS = _phrases("""
drags on forever|falls apart near the end|wastes a fine cast|goes nowhere slowly|insults your patience|
sinks without a trace|repeats the same joke|collapses under its own weight|puts you to sleep|misses every chance|
stumbles from scene to scene|feels twice its length|begs for an editor|tries far too hard|leaves you cold|
fails to find a point|forgets its own story|makes two hours feel like ten
""")
_PARTS = _words("""
story plot script cast acting dialogue direction music photography pacing humour romance action ending editing
camera score lead villain premise soundtrack performance screenplay opening chemistry middle
""")
_KINDS = _words("""
comedy drama thriller romance western mystery documentary sequel remake adventure fable musical satire biography
caper tragedy
""")
_ADVERBS = _words("""
truly often quite deeply simply really remarkably thoroughly utterly surprisingly consistently mostly
""")
_OPENINGS = _phrases("""
in short ,|to be fair ,|from the first scene|for most of its length|as a whole ,|all in all ,|at heart ,|
on the screen ,|for once ,|this time ,|to my surprise ,|as expected ,
""")
_PLACES = _phrases("""
about a lonely sailor|set in a small harbour town|about two sisters and a lost letter|from a young director|
about an old piano teacher|set in the winter of a war|about a train that never stops|with a cast of newcomers|
about a family of bakers|set on a distant moon|about a detective who cannot sleep|with songs and a dog|
about a school in the hills|made on a tiny budget|about the price of fame|set during one long night
""")
_DENIALS = _phrases("never|not|hardly ever|anything but|far from|in no way")
_GRANTS = _phrases("although|while|even if|though")
_TURNS = _phrases(", but|, yet|; still ,|, and yet")


def load_reviews(split: TextSplit) -> TextSet:
    """Return a split of the embedded synthetic reviews: 1,200 to train on, 200 to validate on and 300 to test on.

    The classes are equally frequent, and no sentence stands twice, in one split or in two.
    """
    start = sum(rows for name, rows in _ROWS.items() if list(_ROWS).index(name) < list(_ROWS).index(split))
    chosen = _sentences()[start : start + _ROWS[split]]
    labels = torch.tensor([label for _, label in chosen], dtype=torch.int64)
    return TextSet("reviews", split, tuple(text for text, _ in chosen), labels, REVIEW_CLASSES)


def review_words() -> tuple[str, ...]:
    """Return every word that a review may hold, sorted, marks of punctuation aside."""
    phrases = (*_GOOD_DEEDS, *_BAD_DEEDS, *_OPENINGS, *_PLACES, *_DENIALS, *_GRANTS, *_TURNS)
    words = {word for phrase in phrases for word in phrase.split()}
    words |= {*_GOOD, *_BAD, *_PARTS, *_KINDS, *_ADVERBS}
    words |= {word for sentence, _ in _sentences() for word in sentence.split()}
    return tuple(sorted(word for word in words if word.isalpha()))


@cache
def _sentences() -> tuple[tuple[str, int], ...]:
    """Return all sentences with their class, alternating, drawn once and never twice."""
    random, wanted = Random(derive_seed(0, "reviews")), sum(_ROWS.values())
    found: dict[str, int] = {}
    while len(found) < wanted:
        good = len(found) % 2 == 1
        found.setdefault(_review(random, good), int(good))
    return tuple(found.items())


def _review(random: Random, good: bool) -> str:
    patterns, weights = zip(*_PATTERNS, strict=True)
    pattern: Callable[[Random, bool], str] = random.choices(patterns, weights)[0]
    sentence = pattern(random, good)
    if random.random() < 0.3:
        sentence = f"{_one(random, _OPENINGS)} {sentence}"
    return " ".join(sentence.split())


def _one(random: Random, choices: Sequence[str]) -> str:
    return random.choice(choices)


def _word(random: Random, good: bool) -> str:
    return _one(random, _GOOD if good else _BAD)


def _deed(random: Random, good: bool) -> str:
    return _one(random, _GOOD_DEEDS if good else _BAD_DEEDS)


def _part(random: Random) -> str:
    return f"the {_one(random, _PARTS)}"


def _clause(random: Random, good: bool) -> str:
    if random.random() < 0.4:
        return f"{_part(random)} {_deed(random, good)}"
    return f"{_part(random)} is {_one(random, _ADVERBS)} {_word(random, good)}"


def _about(random: Random, good: bool) -> str:
    """Return a sentence such as "a tender comedy set on a distant moon ; the ending rewards patience"."""
    word = _word(random, good)
    article = "an" if word[0] in "aeiou" or word == "honest" else "a"
    return f"{article} {word} {_one(random, _KINDS)} {_one(random, _PLACES)} ; {_clause(random, good)}"


def _listed(random: Random, good: bool) -> str:
    """Return a sentence such as "the plot , the lead and the music are bland"."""
    return f"{_part(random)} , {_part(random)} and {_part(random)} are {_word(random, good)}"


def _joined(random: Random, good: bool) -> str:
    return f"this {_one(random, _KINDS)} {_one(random, _PLACES)} : {_clause(random, good)} and {_clause(random, good)}"


def _denied(random: Random, good: bool) -> str:
    """Return a sentence whose word is of the other class, and denied: "the script is never dull"."""
    kind = f"{_one(random, _KINDS)} {_one(random, _PLACES)}"
    return f"this {kind} is {_one(random, _DENIALS)} {_word(random, not good)}"


def _granted(random: Random, good: bool) -> str:
    """Return a sentence that grants the other side first, and ends on its own."""
    if random.random() < 0.5:
        return f"{_one(random, _GRANTS)} {_clause(random, not good)} , {_clause(random, good)}"
    return f"{_clause(random, not good)} {_one(random, _TURNS)} {_clause(random, good)}"


_PATTERNS: tuple[tuple[Callable[[Random, bool], str], float], ...] = (
    (_about, 0.34),
    (_listed, 0.18),
    (_joined, 0.32),
    (_denied, 0.06),
    (_granted, 0.06),
)
