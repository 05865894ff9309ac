"""Attacks on sentences: character and word level, batched over candidates and sentences, with queries counted."""

from understudy.attacks.text.base import Found, Record, Runner, Search, Searcher, Sentence, Status, TextAttack
from understudy.attacks.text.greedy import Candidates, Constraint, Greedy
from understudy.attacks.text.importance import Importance
from understudy.attacks.text.named import TEXT_ATTACKS, parse_text_attacks, text_attack
from understudy.attacks.text.protect import attackable, protected
from understudy.attacks.text.resources import WITHOUT_RESOURCES, Resources, missing_resource
from understudy.attacks.text.search import WIDTH, attack_sentences
from understudy.attacks.text.words import Words

__all__ = [
    "TEXT_ATTACKS",
    "WIDTH",
    "WITHOUT_RESOURCES",
    "Candidates",
    "Constraint",
    "Found",
    "Greedy",
    "Importance",
    "Record",
    "Resources",
    "Runner",
    "Search",
    "Searcher",
    "Sentence",
    "Status",
    "TextAttack",
    "Words",
    "attack_sentences",
    "attackable",
    "missing_resource",
    "parse_text_attacks",
    "protected",
    "text_attack",
]
