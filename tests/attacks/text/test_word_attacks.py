"""Every word-level attack against a real (tiny, random) classifier: what holds of all records (property P12)."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from understudy.attacks.text import Record, Resources, Sentence, attack_sentences, parse_text_attacks, protected
from understudy.models.text.adapter import AdapterConfig, new_adapter
from understudy.models.text.backbone import load_backbone
from understudy.models.text.predictor import Predictor
from understudy.models.text.slots import SlotModel
from understudy.models.text.tiny import build_tiny

WORDS = ("good", "bad", "fine", "film", "plot", "dull", "story", "great", "movie", "tale", "poor", "the", "a", "is")
TEXTS = ("the film is good", "A dull plot , a poor story", "zzz of the", "great great film ! not bad", "the of a")
TABLE = {"good": ["fine", "poor"], "film": ["movie"], "dull": ["bad"], "great": ["good", "poor"], "story": ["tale"]}
SPECS = (
    "pwws",
    "pwws:source=synonyms:order=score",
    "textfooler",
    "textfooler:word_class=false",
    "bae",
    "bae:word_class=false",
    "pso",
    "pso:source=synonyms:population=4:iterations=3",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny(WORDS, tmp_path_factory.mktemp("words") / "bert", hidden=32, max_length=24, seed=0)


@pytest.fixture(scope="module")
def victim(folder: Path) -> Predictor:
    """A random classifier, its head scaled so that its answers differ."""
    backbone = load_backbone(str(folder), labels=("no", "yes"), max_length=24, seed=0)
    network = SlotModel(backbone, [new_adapter(backbone, AdapterConfig(), seed=2)])
    for name, value in network.named_parameters():
        if "classifier" in name:
            value.data.mul_(40.0)
    return Predictor(network, backbone)


@pytest.fixture
def resources(folder: Path, tmp_path: Path, make_wordnet: Callable[..., Path]) -> Resources:
    path = tmp_path / "table.json"
    path.write_text(json.dumps(TABLE))
    return Resources(wordnet=make_wordnet(), synonyms=path, masked_lm=str(folder))


def run(spec: str, victim: Predictor, resources: Resources, **options: Any) -> list[Record]:
    (attack,) = parse_text_attacks(spec)
    labels = victim.probs(TEXTS).argmax(dim=1).tolist()
    labels[1] = 1 - labels[1]
    sentences = [Sentence(text, label, 10 + row) for row, (text, label) in enumerate(zip(TEXTS, labels, strict=True))]
    return [
        record
        for part in attack_sentences(attack, victim, sentences, seed=4, resources=resources, **options)
        for record in part
    ]


@pytest.mark.parametrize("spec", SPECS)
def test_records_are_what_they_say(spec: str, victim: Predictor, resources: Resources) -> None:
    found = run(f"{spec}:queries=60", victim, resources)
    assert [record.text for record in found] == list(TEXTS)
    assert found[1].status == "skipped"
    predicted = victim.probs([record.attacked for record in found]).argmax(dim=1).tolist()
    for record, now in zip(found, predicted, strict=True):
        assert (now == record.label) == (record.status == "failed")
        assert record.predicted_after == now
        assert 1 <= record.queries <= 60
        before, after = record.text.split(), record.attacked.split()
        assert record.changed == tuple(i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b)
        assert not any(protected(before[place]) for place in record.changed)
    assert found[4].no_candidates
    assert found[4].attacked == TEXTS[4]


@pytest.mark.parametrize("spec", SPECS)
def test_width_and_batches_change_nothing(spec: str, victim: Predictor, resources: Resources) -> None:
    together = run(spec, victim, resources)
    assert [record.attacked for record in run(spec, victim, resources, width=1)] == [r.attacked for r in together]
    alone = run(spec, victim, resources, width=2, one_at_a_time=True)
    assert [(r.attacked, r.status, r.queries) for r in alone] == [(r.attacked, r.status, r.queries) for r in together]


def test_something_is_changed_by_each_attack(victim: Predictor, resources: Resources) -> None:
    for spec in SPECS:
        assert any(record.changed for record in run(spec, victim, resources)), spec
