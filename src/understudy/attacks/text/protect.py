"""Words that attacks leave alone: stop words and negations, words without a letter, words of one letter."""

from understudy.attacks.text.synonyms import split_punctuation
from understudy.attacks.text.words import Words

_FUNCTION_WORDS = """
    a about above after again all also although am an and any are as at be became because become becomes been before
    being below between both but by can could did do does doing done down during each either else etc every few for
    from further had has have having he her here hers herself him himself his how however i if in into is it its
    itself just may me might more most much must my myself of off on once one only onto or other others our ours
    ourselves out over own per rather same shall she should since so some such than that the their theirs them
    themselves then there these they this those though through thus to too toward towards under until unto up upon us
    very via was we were what whatever when where whether which while who whom whose why will with within would yet
    you your yours yourself yourselves
    's 'd 'll 'm 're 've
"""
STOP_WORDS = frozenset(_FUNCTION_WORDS.split())
"""Our own list of English function words; apostrophes may stand apart, as treebank tokens have them."""
_NEGATIONS = """
    no nor not never none nobody nothing nowhere neither cannot without hardly scarcely barely n't
    ain't aren't can't couldn't didn't doesn't don't hadn't hasn't haven't isn't mightn't mustn't needn't shan't
    shouldn't wasn't weren't won't wouldn't
    aint arent cant couldnt didnt doesnt dont hadnt hasnt havent isnt wasnt werent wont wouldnt
"""
NEGATIONS = frozenset(_NEGATIONS.split())
"""Replacing one of these turns the meaning, so none of them may be changed."""


def protected(word: str) -> bool:
    """Return whether a word must stay as it is; punctuation around it does not count."""
    plain = word.replace("’", "'").lower()
    core = split_punctuation(plain)[1]
    if len(core) < 2 or not any(character.isalpha() for character in core):
        return True
    return any(form in STOP_WORDS or form in NEGATIONS for form in (plain, core))


def attackable(words: Words, visible: int) -> list[int]:
    """Return the positions of the words that may be changed.

    Args:
        words: the text's words.
        visible: how many words reach the victim; changing others would waste queries.
    """
    return [position for position, word in enumerate(words.words[:visible]) if not protected(word)]
