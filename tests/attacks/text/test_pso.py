"""PSO: the moves of the swarm against their formulas, and whole searches."""

import itertools
import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from understudy.attacks.text import Record, Resources, Sentence, Words, attack_sentences
from understudy.attacks.text.pso import PSO
from understudy.attacks.text.swarm import Particle, Swarm, draw_position
from understudy.errors import DependencyError

TABLE = {"good": ["sound", "well", "better"], "fine": ["okay", "dull"], "film": ["movie", "poor"], "story": ["tale"]}
SENTENCE = Sentence("A good film , a fine story", 1, 0)


@pytest.fixture
def resources(tmp_path: Path) -> Resources:
    path = tmp_path / "table.json"
    path.write_text(json.dumps(TABLE))
    return Resources(synonyms=path)


def attacked(attack: PSO, victim: Any, resources: Resources, sentence: Sentence = SENTENCE, seed: int = 0) -> Record:
    return next(attack_sentences(attack, victim, [sentence], seed=seed, resources=resources))[0]


class FixedRandom(random.Random):
    """The same as `random.Random`, but `random` gives what it is told."""

    def __init__(self, *numbers: float) -> None:
        super().__init__(0)
        self.numbers = list(numbers)

    def random(self) -> float:
        return self.numbers.pop(0)


def test_velocity_and_turns_follow_the_formulas() -> None:
    original = Words.of("p q r")
    particle = Particle(original.with_words({0: "P", 1: "Q"}), 0.1, np.array([1.0, -1.0]))
    particle.best = original.with_words({0: "P"})
    leader = original.with_words({1: "X"})
    t, iterations = 2, 8
    omega = 0.6 * (8 - 2) / 8 + 0.2
    # place 0 equals the own best (-3), not the leader (+3); place 1 equals neither (+6)
    velocity = [omega * 1.0, omega * -1.0 + (1 - omega) * 6]
    turn = [1 / (1 + math.exp(-v)) for v in velocity]
    p_own, p_global = 0.8 - 0.6 * t / 8, 0.2 + 0.6 * t / 8
    swarm = Swarm((0, 1), iterations, 3.0)
    # moves from its own best, takes place 1 only; moves from the leader, takes place 0 only
    rng = FixedRandom(p_own - 1e-6, turn[0] + 1e-6, turn[1] - 1e-6, p_global - 1e-6, turn[0] - 1e-6, turn[1] + 1e-6)
    assert swarm.fly(particle, leader, t, rng).words == ("p", "q", "r")
    np.testing.assert_allclose(particle.velocity, velocity, atol=1e-12)
    assert rng.numbers == []
    still = FixedRandom(p_own + 1e-6, p_global + 1e-6)
    assert swarm.fly(particle, leader, t, still) == particle.words


def test_mutation_is_rarer_the_more_is_changed() -> None:
    swarm, original = Swarm((0,), 5, 3.0), Words.of("a b c d e")
    one = original.with_word(0, "x")
    assert swarm.mutates(original, one, FixedRandom(0.6 - 1e-9))
    assert not swarm.mutates(original, one, FixedRandom(0.6 + 1e-9))
    most = original.with_words({0: "x", 1: "x", 2: "x"})
    assert not swarm.mutates(original, most, FixedRandom(0.0))


def test_positions_are_drawn_by_the_positive_part_of_their_gains() -> None:
    rng = random.Random(0)
    drawn = [draw_position(np.array([0.3, -0.5, 0.1, 0.0]), rng) for _ in range(4000)]
    shares = [drawn.count(k) / 4000 for k in range(4)]
    np.testing.assert_allclose(shares, [0.75, 0.0, 0.25, 0.0], atol=0.03)
    assert {draw_position(np.array([-0.1, 0.0]), rng) for _ in range(50)} == {0, 1}


def test_one_change_that_succeeds_ends_the_search_at_the_start(cue_victim: Any, resources: Resources) -> None:
    record = attacked(PSO(source="synonyms"), cue_victim, resources, Sentence("fine", 1, 0))
    assert record.attacked == "dull"
    assert record.status == "success"
    assert record.queries == 3  # the word and its two synonyms


def test_several_changes_are_found_that_no_single_one_makes(cue_victim: Any, resources: Resources) -> None:
    # good film (2.3) fine (1.5): needs good away and film -> poor or fine -> dull
    record = attacked(PSO(source="synonyms"), cue_victim, resources)
    assert record.status == "success"
    assert len(record.changed) >= 2
    after = record.attacked.split()
    for place in record.changed:
        assert after[place].lower() in TABLE[record.text.split()[place].lower()]
    assert record.queries == cue_victim.asked


def test_a_failed_search_keeps_the_best_text_it_asked_about(cue_victim: Any, tmp_path: Path) -> None:
    table = {"good": ["sound"], "fine": ["okay", "nice"], "great": ["grand"]}
    path = tmp_path / "weak.json"
    path.write_text(json.dumps(table))
    sentence = Sentence("good fine story", 1, 3)
    record = attacked(PSO(source="synonyms"), cue_victim, Resources(synonyms=path), sentence)
    options = [["good", "sound"], ["fine", "okay", "nice"], ["story"]]
    lowest = min(cue_victim.logit(" ".join(words)) for words in itertools.product(*options))
    assert record.status == "failed"
    assert cue_victim.logit(record.attacked) == pytest.approx(lowest)
    assert not record.exhausted


@pytest.mark.parametrize("queries", [1, 2, 5, 9, 12])
def test_a_budget_that_runs_out_is_an_outcome(cue_victim: Any, resources: Resources, queries: int) -> None:
    record = attacked(PSO(source="synonyms", queries=queries), cue_victim, resources)
    assert record.queries <= queries
    assert cue_victim.asked == record.queries
    assert record.status == "success" or record.exhausted


def test_same_seed_same_record_and_another_seed_another_way(cue_victim: Any, resources: Resources) -> None:
    attack = PSO(source="synonyms", population=3)
    first = [attacked(attack, cue_victim, resources, seed=seed) for seed in range(8)]
    again = [attacked(attack, cue_victim, resources, seed=seed) for seed in range(8)]
    assert first == again
    assert len({record.queries for record in first}) > 1


def test_no_candidates_and_no_resource(cue_victim: Any, resources: Resources, tmp_path: Path) -> None:
    record = attacked(PSO(source="synonyms"), cue_victim, resources, Sentence("the great xyzzy", 1, 0))
    assert record.no_candidates
    assert record.attacked == record.text
    with pytest.raises(DependencyError, match="wordnet-base"):
        PSO().prepare(Resources(wordnet=tmp_path))
    assert (PSO.paper_preset().population, PSO.paper_preset().iterations) == (60, 20)
