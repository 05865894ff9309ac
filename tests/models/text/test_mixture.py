"""Mixed prediction on text: rules, batches, slots that are added, and what is refused."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from understudy.errors import ConfigError, DataError, ShapeError
from understudy.models.text.adapter import Adapter
from understudy.models.text.backbone import Backbone
from understudy.models.text.gate import GRID, Gate, entropy, mix_weights
from understudy.models.text.mixture import Explained, MixedAdapters
from understudy.models.text.predictor import Predictor, TextClassifier
from understudy.models.text.slots import SlotModel
from understudy.runs.tensors import digest

TEXTS = (
    "the film is good",
    "a dull plot",
    "never bad",
    "the actors was bright zzz qwerty in a story good good bad",
    "",
)
NAMES = ("clean", "deepwordbug", "pwws")
PROFILES = torch.tensor([[0.1, 0.68], [0.2, 0.69], [0.05, 0.6]], dtype=torch.float64)
RULES = ("clean_range", "pairwise", "softmax", "hard", "fixed", "min_entropy")

Mix = Callable[..., MixedAdapters]


@pytest.fixture
def mix(make_adapter) -> Mix:
    """Return a function that mixes three adapters of random weights."""

    def mix(backbone: Backbone, *, slots: int = 3, lora_mix: str = "factor", **options: object) -> MixedAdapters:
        adapters = [make_adapter(backbone, seed) for seed in range(slots)]
        network = SlotModel(backbone, adapters, lora_mix=lora_mix)
        gate = options.pop("gate", Gate())
        return MixedAdapters(network, backbone, gate, PROFILES[:slots], NAMES[:slots], **options)

    return mix


def slow(mixed: MixedAdapters, text: str) -> tuple[Tensor, list[float]]:
    """Predict one text by plain sums: each slot alone, coefficients in Python, one pass with the weights."""
    count = mixed.slots.slots
    alone = [
        Predictor(mixed.slots, mixed.backbone, weights=[float(k == slot) for k in range(count)]).probs([text])[0]
        for slot in range(count)
    ]
    h = [-sum(p * math.log(p) for p in probs.tolist() if p) for probs in alone]
    a = [min(max((hi - x) / (hi - lo), 0.0), 1.0) for x, (lo, hi) in zip(h, mixed.profiles.tolist(), strict=True)]
    betas = {
        "clean_range": [a[0]] * (count - 1),
        "pairwise": [a[0] / (a[0] + other) if a[0] + other > 1e-12 else 0.5 for other in a[1:]],
        "softmax": [1 / (1 + math.exp((h[0] - other) / mixed.gate.tau)) for other in h[1:]],
        "hard": [float(h[0] <= other) for other in h[1:]],
        "fixed": [mixed.gate.beta] * (count - 1),
    }
    if mixed.gate.rule != "min_entropy":
        return combine(mixed, text, betas[mixed.gate.rule]), betas[mixed.gate.rule]
    tried = [combine(mixed, text, [beta] * (count - 1)) for beta in GRID]
    best = min(range(len(GRID)), key=lambda place: (entropy(tried[place]).item(), -GRID[place]))
    return tried[best], [GRID[best]] * (count - 1)


def combine(mixed: MixedAdapters, text: str, betas: list[float]) -> Tensor:
    weights = mix_weights(torch.tensor([betas], dtype=torch.float64))[0].tolist()
    return Predictor(mixed.slots, mixed.backbone, weights=weights).probs([text])[0]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("lora_mix", ["factor", "product"])
def test_each_rule_is_what_plain_sums_give_text_by_text(
    mix: Mix, tiny_double: Backbone, rule: str, lora_mix: str
) -> None:
    mixed = mix(tiny_double, gate=Gate(rule=rule, beta=0.3), lora_mix=lora_mix)
    found = mixed.explain(TEXTS)
    assert torch.equal(found.probs, mixed.probs(TEXTS))
    for row, text in enumerate(TEXTS):
        probs, betas = slow(mixed, text)
        torch.testing.assert_close(found.probs[row], probs, rtol=0, atol=1e-5)
        assert found.betas[row].tolist() == pytest.approx(betas, abs=1e-5)
    torch.testing.assert_close(found.weights, mix_weights(found.betas), rtol=0, atol=1e-6)
    torch.testing.assert_close(found.probs.sum(dim=1), torch.ones(len(TEXTS)), rtol=0, atol=1e-6)


def test_the_random_slots_disagree_so_that_mixing_shows(mix: Mix, tiny_double: Backbone) -> None:
    """A control: without it the tests of this file could pass with a gate that does nothing."""
    found = mix(tiny_double, gate=Gate(rule="pairwise")).explain(TEXTS)
    assert found.weights.std(dim=0).max() > 0.05
    assert found.betas.std(dim=0).max() > 0.05
    assert len({round(value, 3) for value in found.probs[:, 0].tolist()}) == len(TEXTS)


@pytest.mark.parametrize("rule", RULES)
def test_what_a_text_costs_is_what_the_backbone_sees(mix: Mix, tiny_backbone: Backbone, rule: str) -> None:
    mixed = mix(tiny_backbone, gate=Gate(rule=rule))
    seen = []
    handle = tiny_backbone.embeddings.register_forward_hook(lambda _m, given, _out: seen.append(len(given[0])))
    mixed.probs(TEXTS)
    handle.remove()
    assert sum(seen) == mixed.passes * len(TEXTS)


def test_without_attacks_the_model_is_slot_0_in_one_pass(mix: Mix, tiny_backbone: Backbone) -> None:
    mixed = mix(tiny_backbone, slots=1)
    found = mixed.explain(TEXTS)
    torch.testing.assert_close(found.probs, Predictor(mixed.slots, tiny_backbone).probs(TEXTS), rtol=0, atol=1e-6)
    assert (mixed.passes, found.weights.tolist(), found.betas.shape) == (1, [[1.0]] * len(TEXTS), (len(TEXTS), 0))
    torch.testing.assert_close(found.entropies[:, 0], entropy(found.probs), rtol=0, atol=1e-6)
    assert found.nearest == ["clean"] * len(TEXTS)


def test_it_is_a_text_classifier(mix: Mix, tiny_backbone: Backbone) -> None:
    mixed = mix(tiny_backbone)
    assert isinstance(mixed, TextClassifier)
    assert (mixed.classes, mixed.labels, mixed.passes) == (2, ("no", "yes"), 2)
    assert mixed.probs([]).shape == (0, 2)
    empty = mixed.explain([])
    assert isinstance(empty, Explained)
    assert empty.nearest == []


@pytest.mark.parametrize("rule", ["clean_range", "pairwise"])
def test_a_text_is_answered_alone_as_in_any_batch(mix: Mix, tiny_backbone: Backbone, rule: str) -> None:
    """P9, in float32; every profile is at least 0.1 wide."""
    alone = mix(tiny_backbone, gate=Gate(rule=rule), rows=1).explain(TEXTS)
    together = mix(tiny_backbone, gate=Gate(rule=rule), rows=64).explain(TEXTS[::-1])
    padded = mix(tiny_backbone, gate=Gate(rule=rule), rows=3).explain(TEXTS)
    for name in ("probs", "weights"):
        torch.testing.assert_close(getattr(alone, name), getattr(together, name).flip(0), rtol=0, atol=1e-5)
        torch.testing.assert_close(getattr(alone, name), getattr(padded, name), rtol=0, atol=1e-5)


def test_pairs_of_texts_are_answered_too(mix: Mix, tiny_backbone: Backbone) -> None:
    mixed = mix(tiny_backbone)
    contexts = ["the plot was dull"] * len(TEXTS)
    assert not torch.allclose(mixed.probs(TEXTS, contexts), mixed.probs(TEXTS), atol=1e-3)


def test_sure_sentences_keep_the_clean_answer_and_cost_less(mix: Mix, tiny_double: Backbone) -> None:
    plain, skipping = Gate(), Gate(skip_confident=True)
    mixed = mix(tiny_double, gate=plain)
    h = mixed.explain(TEXTS).entropies[:, 0].sort().values
    profiles = PROFILES.clone()
    profiles[0] = torch.tensor([(h[1] + h[2]) / 2, 0.7])  # the two surest texts are above all doubt
    both = [
        MixedAdapters(mixed.slots, tiny_double, gate, profiles, NAMES, rows=len(TEXTS)) for gate in (plain, skipping)
    ]
    seen: list[int] = []
    handle = tiny_double.embeddings.register_forward_hook(lambda _m, given, _out: seen.append(len(given[0])))
    first, second = (one.probs(TEXTS) for one in both)
    handle.remove()
    torch.testing.assert_close(first, second, rtol=0, atol=1e-6)
    assert seen == [5, 5, 5, 3]


def test_all_sure_means_no_second_pass(mix: Mix, tiny_double: Backbone) -> None:
    profiles = PROFILES.clone()
    profiles[0] = torch.tensor([0.8, 0.9])
    mixed = mix(tiny_double, gate=Gate(skip_confident=True))
    sure = MixedAdapters(mixed.slots, tiny_double, mixed.gate, profiles, NAMES)
    alone = Predictor(mixed.slots, tiny_double, weights=[1.0, 0.0, 0.0])
    torch.testing.assert_close(sure.probs(TEXTS), alone.probs(TEXTS), rtol=0, atol=1e-6)


def test_the_head_policy_clean_predicts_with_the_head_of_slot_0(mix: Mix, tiny_double: Backbone) -> None:
    mixed = mix(tiny_double, gate=Gate(rule="fixed", beta=0.0), head_policy="clean", slots=2)
    adapters = [mixed.slots.adapter(slot) for slot in (0, 1)]
    swapped = SlotModel(tiny_double, [replace(adapters[1], head=adapters[0].head)])
    torch.testing.assert_close(mixed.probs(TEXTS), Predictor(swapped, tiny_double).probs(TEXTS), rtol=0, atol=1e-6)
    own = mix(tiny_double, gate=Gate(rule="fixed", beta=0.0), slots=2)
    assert not torch.allclose(mixed.probs(TEXTS), own.probs(TEXTS), atol=1e-2)
    # The first pass keeps each slot's own head: entropies, so coefficients, are those of the policy `mixed`.
    for policy in ("clean", "mixed"):
        asked = mix(tiny_double, gate=Gate(rule="pairwise"), head_policy=policy).explain(TEXTS)
        expected = mix(tiny_double, gate=Gate(rule="pairwise")).explain(TEXTS)
        assert torch.equal(asked.betas, expected.betas)


def test_a_shared_head_must_be_one(mix: Mix, make_adapter, tiny_backbone: Backbone) -> None:
    with pytest.raises(ConfigError, match="heads differ, and are said to be one"):
        mix(tiny_backbone, head_policy="shared")
    adapters = [make_adapter(tiny_backbone, seed) for seed in range(2)]
    shared = SlotModel(tiny_backbone, [adapters[0], replace(adapters[1], head=adapters[0].head)])
    one = MixedAdapters(shared, tiny_backbone, Gate(), PROFILES[:2], NAMES[:2], head_policy="shared")
    other = MixedAdapters(shared, tiny_backbone, Gate(), PROFILES[:2], NAMES[:2])
    torch.testing.assert_close(one.probs(TEXTS), other.probs(TEXTS), rtol=0, atol=1e-6)


def test_bf16_changes_little_and_answers_in_float32(mix: Mix, tiny_backbone: Backbone) -> None:
    narrow = mix(tiny_backbone, precision="bf16").explain(TEXTS)
    assert {narrow.probs.dtype, narrow.weights.dtype, narrow.entropies.dtype} == {torch.float32}
    wide = mix(tiny_backbone).explain(TEXTS)
    assert 0 < (narrow.probs - wide.probs).abs().max() < 0.1


def test_the_nearest_attack_is_named_only_by_rules_that_can_tell(mix: Mix, tiny_double: Backbone) -> None:
    low = Gate(rule="fixed", beta=0.1)
    assert mix(tiny_double, gate=low).explain(TEXTS).nearest == ["attacked"] * len(TEXTS)
    assert mix(tiny_double, gate=low, slots=2).explain(TEXTS).nearest == ["deepwordbug"] * len(TEXTS)
    found = mix(tiny_double, gate=Gate(rule="pairwise")).explain(TEXTS)
    for betas, name in zip(found.betas.tolist(), found.nearest, strict=True):
        assert name == ("clean" if min(betas) >= 0.5 else NAMES[1 + betas.index(min(betas))])


def test_word_embeddings_serve_in_place_of_token_numbers(mix: Mix, tiny_double: Backbone) -> None:
    mixed = mix(tiny_double, gate=Gate(rule="pairwise"))
    encoded = tiny_double.encode(TEXTS)
    embedded = {name: value for name, value in encoded.items() if name != "input_ids"}
    embedded["inputs_embeds"] = tiny_double.embeddings(encoded["input_ids"])
    torch.testing.assert_close(mixed.mix(embedded).probs, mixed.mix(encoded).probs, rtol=0, atol=1e-12)


def test_a_new_attack_leaves_everything_else_to_the_bit(mix: Mix, make_adapter, tiny_backbone: Backbone) -> None:
    """P10."""
    before = mix(tiny_backbone, gate=Gate(rule="pairwise"))
    frozen = digest(tiny_backbone.model.state_dict())
    slots = [before.slots.adapter(slot).sha256 for slot in range(3)]
    probs = before.probs(TEXTS)
    new = make_adapter(tiny_backbone, 7)
    after = before.with_slot(new, torch.tensor([0.1, 0.5]), "textbugger")
    assert after.names == (*NAMES, "textbugger")
    assert [after.slots.adapter(slot).sha256 for slot in range(4)] == [*slots, new.sha256]
    assert torch.equal(after.profiles[:3], before.profiles)
    assert after.profiles[3].tolist() == [pytest.approx(0.1), 0.5]
    assert digest(tiny_backbone.model.state_dict()) == frozen
    assert torch.equal(before.probs(TEXTS), probs)
    assert (after.passes, before.passes) == (5, 4)
    with pytest.raises(ConfigError, match="each attack once"):
        after.with_slot(new, torch.tensor([0.1, 0.5]), "pwws")


def test_the_digest_is_of_all_that_decides_the_answers(mix: Mix, make_adapter, tiny_backbone: Backbone) -> None:
    mixed = mix(tiny_backbone)
    assert mixed.sha256 == mix(tiny_backbone, rows=3).sha256
    others = [
        mix(tiny_backbone, gate=Gate(rule="pairwise")),
        mix(tiny_backbone, lora_mix="product"),
        mix(tiny_backbone, head_policy="clean"),
        mix(tiny_backbone, slots=2),
        MixedAdapters(mixed.slots, tiny_backbone, mixed.gate, PROFILES + 0.01, NAMES),
        mixed.with_slot(make_adapter(tiny_backbone, 8), torch.tensor([0.1, 0.5]), "other"),
    ]
    assert len({mixed.sha256, *(other.sha256 for other in others)}) == 1 + len(others)


def _other_backbone(adapter: Adapter) -> Adapter:
    return replace(adapter, backbone_sha256="0" * 64)


def _other_rank(adapter: Adapter) -> Adapter:
    return replace(adapter, config=adapter.config.model_copy(update={"rank": 4}))


def _other_labels(adapter: Adapter) -> Adapter:
    return replace(adapter, labels=("no", "yes", "maybe"))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [(_other_backbone, "another backbone"), (_other_rank, "another rank"), (_other_labels, "another classes")],
)
def test_a_slot_of_another_kind_is_refused(
    mix: Mix, make_adapter, tiny_backbone: Backbone, spoil, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        mix(tiny_backbone).with_slot(spoil(make_adapter(tiny_backbone, 4)), torch.tensor([0.1, 0.5]), "new")


@pytest.mark.parametrize(
    ("names", "profiles", "error", "message"),
    [
        (("clean", "one"), PROFILES, ShapeError, "3 slots, 2 names"),
        (NAMES, PROFILES[:2], ShapeError, "2 profiles"),
        (("one", "clean", "two"), PROFILES, ConfigError, "'clean' first"),
        (("clean", "one", "one"), PROFILES, ConfigError, "each attack once"),
        (("clean", "one", "attacked"), PROFILES, ConfigError, "none of them 'attacked'"),
        (NAMES, PROFILES.flip(1), ConfigError, "lo <= hi"),
        (NAMES, PROFILES * math.nan, ConfigError, "both finite"),
    ],
)
def test_slots_that_do_not_fit_their_facts_are_refused(
    mix: Mix, tiny_backbone: Backbone, names: tuple, profiles: Tensor, error: type, message: str
) -> None:
    slots = mix(tiny_backbone).slots
    with pytest.raises(error, match=message):
        MixedAdapters(slots, tiny_backbone, Gate(), profiles, names)


def test_one_text_is_no_list_of_letters(mix: Mix, tiny_backbone: Backbone) -> None:
    mixed = mix(tiny_backbone)
    for ask in (mixed.explain, mixed.probs):
        with pytest.raises(DataError, match="texts is one str"):
            ask("a film")
