"""Golden numbers G3 to G6 and properties P1 to P5, P10, P13 and P19 of mixed adapters, against materialised weights."""

import math
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from understudy.models.text._mixing import bottleneck_mixed, head_mixed, lora_mixed
from understudy.models.text.adapter import Adapter
from understudy.models.text.backbone import Backbone
from understudy.models.text.gate import Gate, entropy, mix_weights
from understudy.models.text.mixture import MixedAdapters
from understudy.models.text.slots import SlotModel, first_pass
from understudy.runs.tensors import digest

TEXTS = ("the film is good", "a dull plot", "never bad", "the actors was bright in a story good good bad")
MIXES = ("factor", "product")
EXACT = {"rtol": 0, "atol": 1e-12}


def wide(*rows: object) -> Tensor:
    return torch.tensor(rows[0] if len(rows) == 1 else rows, dtype=torch.float64)


def shares(rows: int, slots: int, seed: int = 0) -> Tensor:
    draws = torch.rand(rows, slots, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return draws / draws.sum(dim=1, keepdim=True)


# The worked example of LoRA, two slots and three.

X = wide([[1, -1, 2]])
FROZEN = wide([[0.5, -0.5, 1], [1, 0, -1]])
LOWER = wide([[[1, 2, 0], [0, 1, -1]], [[0, 1, 1], [1, 0, 2]], [[2, 0, -1], [-1, 1, 0]]])
UPPER = wide([[[1, 0], [2, 1]], [[0, 1], [1, -1]], [[1, 1], [0, 2]]])
QUARTER = wide([[0.75, 0.25]])
THREE = wide([[0.7911793149384756, 0.026515678772475848, 0.18230500628904855]])


def updated(mode: str, weights: Tensor, scale: float = 2.0) -> Tensor:
    """Return the matrix of the update, read off the layer column by column."""
    slots = weights.shape[1]
    columns = torch.eye(3, dtype=torch.float64)
    return lora_mixed(columns, LOWER[:slots], UPPER[:slots], scale, weights.expand(3, -1), mode).T


@pytest.mark.parametrize(
    ("mode", "update", "output"),
    [
        ("factor", [[1.25, 3, 0.25], [2.875, 6.875, 0.625]], [1.75, -3.75]),
        ("product", [[2, 3, 1], [2.5, 8, -2]], [4, -10.5]),
    ],
)
def test_two_slots_of_the_specification(mode: str, update: list, output: list) -> None:
    torch.testing.assert_close(updated(mode, QUARTER), wide(update), **EXACT)
    found = X @ FROZEN.T + lora_mixed(X, LOWER[:2], UPPER[:2], 2.0, QUARTER, mode)
    torch.testing.assert_close(found, wide([output]), **EXACT)


def test_the_two_mixes_differ_by_what_the_specification_says() -> None:
    difference = updated("factor", QUARTER) - updated("product", QUARTER)
    torch.testing.assert_close(difference, wide([[-0.75, 0, -0.75], [0.375, -1.125, 2.625]]), **EXACT)


@pytest.mark.parametrize(
    ("mode", "output"), [("factor", [0.4230302359, -9.3452974541]), ("product", [0.9535781327, -10.5823586299])]
)
def test_three_slots_of_the_specification(mode: str, output: list) -> None:
    found = X @ FROZEN.T + lora_mixed(X, LOWER, UPPER, 2.0, THREE, mode)
    torch.testing.assert_close(found, wide([output]), rtol=0, atol=6e-11)


def test_root_mixing_is_twice_the_update_at_a_half_and_so_is_not_offered() -> None:
    """P3: what PEFT calls `linear`, written out; factor and product give back the one update of equal slots."""

    def root(beta: float, lower: Tensor, upper: Tensor) -> Tensor:
        low = math.sqrt(beta) * lower[0] + math.sqrt(1 - beta) * lower[1]
        return 2.0 * (math.sqrt(beta) * upper[0] + math.sqrt(1 - beta) * upper[1]) @ low

    expected = [[2, 4.7320508076, 1], [4.2320508076, 10.5980762114, 2.3301270189]]
    torch.testing.assert_close(root(0.75, LOWER, UPPER), wide(expected), rtol=0, atol=6e-11)
    output = X @ (FROZEN + root(0.75, LOWER, UPPER)).T
    torch.testing.assert_close(output, wide([[2.2679491924, -2.7057713659]]), rtol=0, atol=6e-11)
    alike = (LOWER[:1].expand(2, -1, -1), UPPER[:1].expand(2, -1, -1))
    one = 2.0 * UPPER[0] @ LOWER[0]
    torch.testing.assert_close(root(0.5, *alike), 2 * one, **EXACT)
    for mode in MIXES:
        for weights in shares(5, 2):
            torch.testing.assert_close(lora_mixed(X, *alike, 2.0, weights[None], mode), X @ one.T, **EXACT)


def test_factors_and_products_differ_by_the_product_of_differences() -> None:
    """P4, 20 draws."""
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        a = torch.randn(2, 4, 7, dtype=torch.float64, generator=generator)
        b = torch.randn(2, 5, 4, dtype=torch.float64, generator=generator)
        beta = torch.rand((), dtype=torch.float64, generator=generator).item()
        weights = wide([[beta, 1 - beta]]).expand(7, -1)
        eye = torch.eye(7, dtype=torch.float64)
        factor, product = (lora_mixed(eye, a, b, 1.5, weights, mode).T for mode in MIXES)
        expected = -beta * (1 - beta) * 1.5 * (b[0] - b[1]) @ (a[0] - a[1])
        torch.testing.assert_close(factor - product, expected, **EXACT)
        assert (factor - product).abs().max() > 1e-3


def test_another_factorisation_changes_the_factor_mix_alone() -> None:
    """P5."""
    generator = torch.Generator().manual_seed(3)
    turn = torch.randn(2, 2, dtype=torch.float64, generator=generator)
    turned = LOWER[:2].clone(), UPPER[:2].clone()
    turned[0][1] = turn @ LOWER[1]
    turned[1][1] = UPPER[1] @ torch.linalg.inv(turn)
    before = {mode: lora_mixed(X, LOWER[:2], UPPER[:2], 2.0, QUARTER, mode) for mode in MIXES}
    after = {mode: lora_mixed(X, *turned, 2.0, QUARTER, mode) for mode in MIXES}
    torch.testing.assert_close(after["product"], before["product"], rtol=0, atol=1e-10)
    assert (after["factor"] - before["factor"]).norm() / before["factor"].norm() > 1e-3


def test_the_head_of_the_specification() -> None:
    """G4."""
    weight = wide([[[1, 0, -1], [0, 1, 1]], [[0, 2, 0], [1, -1, 0]]])
    bias = wide([[0.1, -0.1], [-0.2, 0.2]])
    logits = head_mixed(wide([[0.5, 1, -0.5]]), weight, bias, QUARTER)
    torch.testing.assert_close(logits, wide([[1.275, 0.225]]), **EXACT)
    probs = torch.softmax(logits, dim=-1)
    torch.testing.assert_close(probs, wide([[0.7407748992, 0.2592251008]]), rtol=0, atol=6e-11)
    assert entropy(probs).item() == pytest.approx(0.5722448354763815, abs=1e-15)


def test_the_bottleneck_of_the_specification() -> None:
    """G5; the mean of the adapters' outputs would be another function."""
    h = wide([[1, 2]])
    down, down_bias = wide([[[1, -1], [0.5, 2]], [[0, 1], [1, 0]]]), wide([[0.1, 0], [0, -0.2]])
    up, up_bias = wide([[[1, 0], [-1, 1]], [[2, 1], [0, -1]]]), wide([[0, 0.3], [0.1, 0]])
    found = bottleneck_mixed(h, down, down_bias, up, up_bias, QUARTER, "relu")
    torch.testing.assert_close(found, wide([[1.91875, 4.0125]]), **EXACT)
    single = [bottleneck_mixed(h, down, down_bias, up, up_bias, wide([one]), "relu") for one in ([1, 0], [0, 1])]
    torch.testing.assert_close(0.75 * single[0] + 0.25 * single[1], wide([[2.225, 5.4]]), **EXACT)


# The worked example of the whole pipeline: one adapted map, tanh, a head.

BASE = wide([[0.2, -0.1, 0.3], [0, 0.4, -0.2]])
A = wide([[[0.1, 0.2, 0]], [[0, -0.1, 0.3]], [[0.2, 0, -0.1]]])
B = wide([[[0.5], [-0.5]], [[0.4], [0.8]], [[-0.6], [0.2]]])
HEADS = wide([[[2, -1], [-2, 1]], [[1, 0.5], [-1, -0.5]], [[0.5, 1.5], [-0.5, -1.5]]])
BIASES = wide([[0.1, -0.1], [0, 0], [-0.2, 0.2]])
RANGES = wide([[0.05, 0.60], [0.10, 0.69], [0.02, 0.65]])
BOTH = wide([[1, 2, -1], [-1, 0.5, 2]])


def answers(weights: Tensor, mode: str) -> Tensor:
    h = torch.tanh(BOTH @ BASE.T + lora_mixed(BOTH, A, B, 2.0, weights, mode))
    return torch.softmax(head_mixed(h, HEADS, BIASES, weights), dim=-1)


def alone() -> Tensor:
    """Return predictions of each slot by itself, (n, k, c)."""
    return torch.stack([answers(one.expand(2, -1), "factor") for one in torch.eye(3, dtype=torch.float64)], dim=1)


def near(found: Tensor, expected: list) -> None:
    torch.testing.assert_close(found, wide(expected), rtol=0, atol=1e-12)


def test_the_pipeline_of_the_specification() -> None:
    """G6: slots, entropies, affinities, coefficients, weights, mixtures."""
    probs = alone()
    near(
        probs[:, :, 0],
        [[0.516310951921, 0.266713735165, 0.809126341070], [0.874379915539, 0.870832255730, 0.319696677818]],
    )
    gate = Gate(rule="pairwise")
    h = gate.entropies(probs)
    near(h, [[0.692614991840, 0.579962780290, 0.487487302110], [0.377975034652, 0.384801554779, 0.626640610422]])
    near(
        gate.affinities(h, RANGES),
        [[0, 0.186503762221, 0.257956663317], [0.403681755178, 0.517285500375, 0.037078396155]],
    )
    betas = gate.betas(h, RANGES, attacks=2)
    near(betas, [[0, 0], [0.438323678441, 0.915876251420]])
    weights = mix_weights(betas)
    near(weights, [[0, 0.5, 0.5], [0.677099964930, 0.280838160780, 0.042061874290]])
    near(answers(weights, "factor")[:, 0], [0.694923270360, 0.855153385181])
    near(answers(weights, "product")[:, 0], [0.517354958567, 0.831267053961])


def test_the_pipeline_under_clean_range_and_its_rivals() -> None:
    """G6: `clean_range`, the soup of thirds, the ensemble of predictions."""
    probs = alone()
    gate = Gate(rule="clean_range")
    weights = mix_weights(gate.betas(gate.entropies(probs[:, :1]), RANGES, attacks=2))
    near(answers(weights, "factor")[:, 0], [0.694923270360, 0.681536920018])
    near(answers(weights, "product")[:, 0], [0.517354958567, 0.795357072135])
    near(answers(torch.full((2, 3), 1 / 3, dtype=torch.float64), "factor")[:, 0], [0.453480595439, 0.649754827853])
    near(probs.mean(dim=1)[:, 0], [0.530717009386, 0.688302949696])


# The same on a tiny language model.


def materialised(backbone: Backbone, adapters: list[Adapter], weights: Tensor, mode: str) -> Mapping[str, Tensor]:
    """Return the weights of one plain model that has the mixture of one row in its own matrices."""
    state = {name: value.clone() for name, value in backbone.model.state_dict().items()}
    pairs = list(zip(weights.tolist(), adapters, strict=True))
    for name in adapters[0].head:
        state[name] = sum(share * adapter.head[name] for share, adapter in pairs)
    for module in adapters[0].modules:
        a, b = f"{module}.lora_A.weight", f"{module}.lora_B.weight"
        scale = adapters[0].config.scale
        if mode == "product":
            update = sum(share * adapter.tensors[b] @ adapter.tensors[a] for share, adapter in pairs)
        else:
            upper = sum(share * adapter.tensors[b] for share, adapter in pairs)
            update = upper @ sum(share * adapter.tensors[a] for share, adapter in pairs)
        state[f"{module}.weight"] = state[f"{module}.weight"] + scale * update
    return state


@pytest.fixture
def adapters(make_adapter, tiny_double: Backbone) -> list[Adapter]:
    return [make_adapter(tiny_double, seed) for seed in range(3)]


@pytest.mark.parametrize("mode", MIXES)
def test_one_hot_weights_give_the_single_slot(adapters: list[Adapter], tiny_double: Backbone, mode: str) -> None:
    """P1."""
    encoded = tiny_double.encode(TEXTS)
    network = SlotModel(tiny_double, adapters, lora_mix=mode)
    with torch.no_grad():
        for slot, adapter in enumerate(adapters):
            one_hot = torch.eye(3, dtype=torch.float64)[slot].expand(len(TEXTS), -1)
            expected = SlotModel(tiny_double, [adapter])(**encoded)
            torch.testing.assert_close(network(weights=one_hot, **encoded), expected, **EXACT)


@pytest.mark.parametrize("mode", MIXES)
def test_one_batched_forward_is_a_loop_over_materialised_weights(adapters, tiny_double: Backbone, mode: str) -> None:
    """P2: a plain forward of the plain model, with one mixture after another in its own matrices."""
    encoded = tiny_double.encode(TEXTS)
    weights = shares(len(TEXTS), 3)
    with torch.no_grad():
        found = SlotModel(tiny_double, adapters, lora_mix=mode)(weights=weights, **encoded)
        own = {name: value.clone() for name, value in tiny_double.model.state_dict().items()}
        for row in range(len(TEXTS)):
            tiny_double.model.load_state_dict(materialised(tiny_double, adapters, weights[row], mode))
            expected = tiny_double.model(**{name: value[row : row + 1] for name, value in encoded.items()}).logits
            tiny_double.model.load_state_dict(own)
            torch.testing.assert_close(found[row : row + 1], expected, **EXACT)
    assert found.std(dim=0).min() > 1e-3


@pytest.mark.parametrize("mode", MIXES)
def test_equal_slots_answer_alike_whatever_the_weights(adapters, tiny_double: Backbone, mode: str) -> None:
    """P3."""
    encoded = tiny_double.encode(TEXTS)
    with torch.no_grad():
        expected = SlotModel(tiny_double, adapters[:1])(**encoded)
        alike = SlotModel(tiny_double, adapters[:1] * 3, lora_mix=mode)
        torch.testing.assert_close(alike(weights=shares(len(TEXTS), 3), **encoded), expected, **EXACT)


@pytest.mark.parametrize("kind", ["lora", "pfeiffer", "houlsby"])
def test_the_first_pass_in_one_batch_is_a_pass_for_each_slot(make_adapter, tiny_double: Backbone, kind: str) -> None:
    """P13."""
    encoded = tiny_double.encode(TEXTS)
    own = [make_adapter(tiny_double, seed, kind=kind) for seed in range(3)]
    with torch.no_grad():
        found = first_pass(SlotModel(tiny_double, own), encoded, [0, 1, 2])
        for slot, adapter in enumerate(own):
            torch.testing.assert_close(found[:, slot], SlotModel(tiny_double, [adapter])(**encoded), **EXACT)


def test_training_one_slot_changes_nothing_else(adapters: list[Adapter], tiny_double: Backbone) -> None:
    """P10: the backbone and the other slots, to the bit; the trained slot does change."""
    before = digest(tiny_double.model.state_dict())
    others = [adapter.sha256 for adapter in adapters]
    network = SlotModel(tiny_double, [adapters[1]]).train()
    rule = torch.optim.AdamW(network.parameters(), lr=1e-2)
    for _ in range(3):
        loss = torch.nn.functional.cross_entropy(network(**tiny_double.encode(TEXTS)), torch.tensor([0, 1, 1, 0]))
        rule.zero_grad()
        loss.backward()
        rule.step()
    assert digest(tiny_double.model.state_dict()) == before
    assert [adapter.sha256 for adapter in adapters] == others
    trained = network.adapter()
    assert all(not torch.equal(trained.tensors[name], adapters[1].tensors[name]) for name in trained.tensors)
    assert all(value.grad is None for value in tiny_double.model.parameters())


def test_weights_of_the_gate_are_what_the_batch_is_mixed_by(adapters: list[Adapter], tiny_double: Backbone) -> None:
    """The pipeline on a language model is one plain forward of the weights that the gate gave."""
    mixed = MixedAdapters(
        SlotModel(tiny_double, adapters), tiny_double, Gate(rule="pairwise"), RANGES, ("clean", "one", "two")
    )
    encoded = tiny_double.encode(TEXTS)
    with torch.no_grad():
        found = mixed.mix(encoded)
        own = {name: value.clone() for name, value in tiny_double.model.state_dict().items()}
        for row in range(len(TEXTS)):
            tiny_double.model.load_state_dict(materialised(tiny_double, adapters, found.weights[row], "factor"))
            logits = tiny_double.model(**{name: value[row : row + 1] for name, value in encoded.items()}).logits
            tiny_double.model.load_state_dict(own)
            torch.testing.assert_close(found.probs[row : row + 1], torch.softmax(logits, dim=-1), **EXACT)


def _operations(network: SlotModel, weights: Tensor | None, encoded: Mapping[str, Tensor]) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(weights=weights, **encoded)
    return counter.get_total_flops()


@pytest.mark.parametrize("mode", MIXES)
def test_mixing_three_slots_costs_what_the_formula_says(make_adapter, tiny_double: Backbone, mode: str) -> None:
    """P19 without a clock: multiplications of the mixed forward, and of a forward at base size by the same count."""
    encoded = tiny_double.encode(TEXTS)
    own = [make_adapter(tiny_double, seed, rank=2, alpha=4) for seed in range(3)]
    weights = shares(len(TEXTS), 3)
    mixed = _operations(SlotModel(tiny_double, own, lora_mix=mode), weights, encoded)
    single = _operations(SlotModel(tiny_double, own[:1]), None, encoded)
    d, rows, tokens = tiny_double.hidden_size, *encoded["input_ids"].shape
    maps = len(own[0].modules)
    adapters_only = 2 * (3 - 1) * 2 * (d + d) * maps * rows * tokens  # flops of two slots more, 2 a product
    heads_only = 2 * (3 - 1) * d * 2 * rows + sum(
        2 * 2 * rows * d * d for name in own[0].head if "pooler.dense.w" in name
    )
    assert mixed - single == adapters_only + heads_only
    assert mixed <= 1.3 * single


def test_the_passes_of_a_batch_do_not_grow_with_its_rows(adapters: list[Adapter], tiny_double: Backbone) -> None:
    """P19: no loop over samples: one call of the backbone mixes four rows, or four hundred."""
    calls = []
    handle = tiny_double.model.base_model.register_forward_hook(lambda *_: calls.append(1))
    mixed = MixedAdapters(SlotModel(tiny_double, adapters), tiny_double, Gate(), RANGES, ("clean", "one", "two"))
    for copies in (1, 8):
        calls.clear()
        mixed.mix(tiny_double.encode(TEXTS * copies))
        assert len(calls) == 2
    handle.remove()


def test_slots_of_another_rank_mix_as_products_alone(make_adapter, tiny_double: Backbone) -> None:
    """Specification 5.7: product mixing pads ranks and folds scales."""
    own = [make_adapter(tiny_double, 0, rank=2, alpha=4), make_adapter(tiny_double, 1, rank=5, alpha=20)]
    doubled = replace(
        own[1],
        config=own[1].config.model_copy(update={"alpha": 10.0}),
        tensors={name: value * (2 if "lora_B" in name else 1) for name, value in own[1].tensors.items()},
    )
    encoded, weights = tiny_double.encode(TEXTS), shares(len(TEXTS), 2)
    with torch.no_grad():
        first, second = (
            SlotModel(tiny_double, [own[0], other], lora_mix="product")(weights=weights, **encoded)
            for other in (own[1], doubled)
        )
    torch.testing.assert_close(first, second, **EXACT)
