"""Slots: per-row mixing against materialised weights, in float64; P1 to P5, P10 and P13 of the specification."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from understudy.errors import ConfigError, ShapeError
from understudy.models.text.adapter import Adapter, AdapterConfig, LoraMix, new_adapter
from understudy.models.text.backbone import Backbone
from understudy.models.text.slots import SlotModel, first_pass
from understudy.runs.run import Run
from understudy.runs.tensors import digest
from understudy.training.loop import fit
from understudy.training.recipe import Recipe

MakeAdapter = Callable[..., Adapter]
TEXTS = ("the film is good", "a dull plot", "never bad", "the actors was bright zzz qwerty in a story good good bad")
KINDS = ("lora", "pfeiffer", "houlsby")
MIXES: tuple[LoraMix, ...] = ("factor", "product")


def simplex(rows: int, slots: int, seed: int = 0) -> Tensor:
    draws = torch.rand(rows, slots, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return draws / draws.sum(1, keepdim=True)


def materialised(backbone: Backbone, adapters: list[Adapter], weights: list[float], text: str, mix: LoraMix) -> Tensor:
    """Slow and independent: write the mixed LoRA weights and head into a copy of the model, and run one text."""
    model = copy.deepcopy(backbone.model)
    for name in adapters[0].modules:
        a = [adapter.tensors[f"{name}.lora_A.weight"] for adapter in adapters]
        b = [adapter.tensors[f"{name}.lora_B.weight"] for adapter in adapters]
        scales = [adapter.config.alpha / adapter.config.rank for adapter in adapters]
        if mix == "factor":
            mean_a = sum(w * x for w, x in zip(weights, a, strict=True))
            mean_b = sum(w * x for w, x in zip(weights, b, strict=True))
            update = scales[0] * mean_b @ mean_a
        else:
            update = sum(w * s * y @ x for w, s, x, y in zip(weights, scales, a, b, strict=True))
        model.get_submodule(name).weight.data += update
    for name in adapters[0].head:
        mixed = sum(w * adapter.head[name] for w, adapter in zip(weights, adapters, strict=True))
        model.get_parameter(name).data.copy_(mixed)
    with torch.no_grad():
        return model(**backbone.encode([text])).logits[0]


@pytest.mark.parametrize("mix", MIXES)
def test_each_row_equals_its_own_materialised_weights(
    tiny_double: Backbone, make_adapter: MakeAdapter, mix: LoraMix
) -> None:
    adapters = [make_adapter(tiny_double, seed) for seed in range(3)]
    weights = simplex(len(TEXTS), 3)
    with torch.no_grad():
        batched = SlotModel(tiny_double, adapters, lora_mix=mix)(weights=weights, **tiny_double.encode(TEXTS))
    for row, text in enumerate(TEXTS):
        expected = materialised(tiny_double, adapters, weights[row].tolist(), text, mix)
        torch.testing.assert_close(batched[row], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mix", MIXES)
def test_one_hot_weights_are_exactly_that_slot(
    tiny_double: Backbone, make_adapter: MakeAdapter, kind: str, mix: LoraMix
) -> None:
    adapters = [make_adapter(tiny_double, seed, kind=kind) for seed in range(3)]
    model, encoded = SlotModel(tiny_double, adapters, lora_mix=mix), tiny_double.encode(TEXTS)
    with torch.no_grad():
        for slot, adapter in enumerate(adapters):
            weights = torch.eye(3, dtype=torch.float64)[slot].repeat(len(TEXTS), 1)
            alone = SlotModel(tiny_double, [adapter])(**encoded)
            torch.testing.assert_close(model(weights=weights, **encoded), alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mix", MIXES)
def test_equal_slots_give_the_same_answer_for_every_mixture(
    tiny_double: Backbone, make_adapter: MakeAdapter, kind: str, mix: LoraMix
) -> None:
    adapter = make_adapter(tiny_double, 1, kind=kind)
    encoded = tiny_double.encode(TEXTS)
    with torch.no_grad():
        mixed = SlotModel(tiny_double, [adapter] * 3, lora_mix=mix)(weights=simplex(len(TEXTS), 3), **encoded)
        torch.testing.assert_close(mixed, SlotModel(tiny_double, [adapter])(**encoded), rtol=0, atol=1e-12)


def test_turning_the_factors_of_a_slot_changes_the_factor_mix_only(
    tiny_double: Backbone, make_adapter: MakeAdapter
) -> None:
    adapters = [make_adapter(tiny_double, seed, rank=4) for seed in range(2)]
    turn = torch.randn(4, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    turned = {
        name: turn @ value if name.endswith("lora_A.weight") else value @ torch.linalg.inv(turn)
        for name, value in adapters[1].tensors.items()
    }
    first, second = adapters
    other = Adapter(second.config, turned, second.head, second.backbone, second.backbone_sha256, second.labels)
    encoded, weights = tiny_double.encode(TEXTS), simplex(len(TEXTS), 2)
    with torch.no_grad():
        factor, product = (
            [
                SlotModel(tiny_double, [first, pair], lora_mix=mix)(weights=weights, **encoded)
                for pair in (second, other)
            ]
            for mix in MIXES
        )
    torch.testing.assert_close(product[0], product[1], rtol=0, atol=1e-10)
    assert float((factor[0] - factor[1]).norm() / factor[0].norm()) > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_pass_equals_separate_passes(tiny_double: Backbone, make_adapter: MakeAdapter, kind: str) -> None:
    adapters = [make_adapter(tiny_double, seed, kind=kind) for seed in range(3)]
    encoded = tiny_double.encode(TEXTS)
    with torch.no_grad():
        together = first_pass(SlotModel(tiny_double, adapters), encoded, [2, 0])
        assert together.shape == (len(TEXTS), 2, 2)
        for place, slot in enumerate((2, 0)):
            alone = SlotModel(tiny_double, [adapters[slot]])(**encoded)
            torch.testing.assert_close(together[:, place], alone, rtol=0, atol=1e-12)


def test_product_mixing_takes_slots_of_different_rank_and_scale(
    tiny_double: Backbone, make_adapter: MakeAdapter
) -> None:
    adapters = [make_adapter(tiny_double, 0, rank=2, alpha=3.0), make_adapter(tiny_double, 1, rank=5, alpha=20.0)]
    model, weights = SlotModel(tiny_double, adapters, lora_mix="product"), simplex(len(TEXTS), 2)
    with torch.no_grad():
        mixed = model(weights=weights, **tiny_double.encode(TEXTS))
    for row, text in enumerate(TEXTS):
        expected = materialised(tiny_double, adapters, weights[row].tolist(), text, "product")
        torch.testing.assert_close(mixed[row], expected, rtol=0, atol=1e-12)
    assert [model.adapter(slot).sha256 for slot in (0, 1)] == [adapter.sha256 for adapter in adapters]
    with pytest.raises(ConfigError, match="rank"):
        SlotModel(tiny_double, adapters)


def test_training_one_slot_leaves_backbone_and_other_slots_bit_identical(
    tiny_backbone: Backbone, make_adapter: MakeAdapter
) -> None:
    before = digest(tiny_backbone.model.state_dict())
    other = SlotModel(tiny_backbone, [make_adapter(tiny_backbone, 1)])
    unchanged = other.adapter().sha256
    model = SlotModel(tiny_backbone, [new_adapter(tiny_backbone, AdapterConfig(), seed=0)])
    start = model.adapter()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    model.train()
    for _ in range(2):
        loss = torch.nn.functional.cross_entropy(model(**tiny_backbone.encode(TEXTS)), torch.tensor([1, 0, 1, 0]))
        loss.backward()
        optimiser.step()
    after = model.adapter()
    assert all(not torch.equal(after.tensors[name], start.tensors[name]) for name in start.tensors)
    assert all(not torch.equal(after.head[name], start.head[name]) for name in start.head)
    assert digest(tiny_backbone.model.state_dict()) == before
    assert other.adapter().sha256 == unchanged
    assert all(parameter.grad is None for parameter in tiny_backbone.model.parameters())


def test_a_frozen_head_stays(tiny_backbone: Backbone) -> None:
    start = new_adapter(tiny_backbone, AdapterConfig(), seed=0)
    model = SlotModel(tiny_backbone, [start], freeze_head=True)
    trained = [name for name, value in model.named_parameters() if value.requires_grad]
    assert trained
    assert not any("classifier" in name or "pooler" in name for name in trained)


def test_an_untrained_adapter_is_the_backbone_itself(tiny_backbone: Backbone) -> None:
    encoded = tiny_backbone.encode(TEXTS)
    with torch.no_grad():
        plain = tiny_backbone.model(**encoded).logits
        for kind in KINDS:
            start = new_adapter(tiny_backbone, AdapterConfig.model_validate({"kind": kind}), seed=0)
            assert torch.equal(SlotModel(tiny_backbone, [start])(**encoded), plain)


def test_no_hook_stays_on_the_backbone_even_after_a_fault(tiny_backbone: Backbone, make_adapter: MakeAdapter) -> None:
    model = SlotModel(tiny_backbone, [make_adapter(tiny_backbone, 0)])
    model(**tiny_backbone.encode(TEXTS))
    with pytest.raises(IndexError):
        model(input_ids=torch.tensor([[10**6]]), attention_mask=torch.ones(1, 1))
    assert not any(part._forward_hooks for part in tiny_backbone.model.modules())


def test_training_mode_reaches_the_backbone_and_does_not_leak_to_others(
    tiny_backbone: Backbone, make_adapter: MakeAdapter
) -> None:
    adapter, encoded = make_adapter(tiny_backbone, 0), tiny_backbone.encode(TEXTS)
    training, judged = SlotModel(tiny_backbone, [adapter]), SlotModel(tiny_backbone, [adapter])
    with torch.no_grad():
        expected = judged(**encoded)
        training.train()
        assert tiny_backbone.model.training
        assert not torch.equal(training(**encoded), expected)
        assert torch.equal(judged(**encoded), expected)
        assert not torch.equal(training(**encoded), expected)
    training.eval()
    assert not tiny_backbone.model.training


def test_gradients_reach_word_embeddings_given_in_place_of_tokens(
    tiny_backbone: Backbone, make_adapter: MakeAdapter
) -> None:
    model, encoded = SlotModel(tiny_backbone, [make_adapter(tiny_backbone, 0)]), tiny_backbone.encode(TEXTS)
    words = tiny_backbone.embeddings(encoded.pop("input_ids")).detach().requires_grad_(True)
    from_words = model(inputs_embeds=words, **encoded)
    torch.testing.assert_close(from_words, model(**tiny_backbone.encode(TEXTS)))
    from_words.sum().backward()
    assert words.grad is not None
    assert float(words.grad.abs().sum()) > 0


def test_state_holds_the_slots_alone(tiny_backbone: Backbone, make_adapter: MakeAdapter) -> None:
    adapter = make_adapter(tiny_backbone, 0)
    model = SlotModel(tiny_backbone, [adapter])
    assert {name.replace("/", ".") for name in model.state_dict()} == {*adapter.tensors, *adapter.head}
    other = SlotModel(tiny_backbone, [make_adapter(tiny_backbone, 1)])
    other.load_state_dict(model.state_dict())
    assert other.adapter().sha256 == adapter.sha256


@pytest.mark.parametrize("rows", [3, 5])
def test_weights_of_another_number_of_rows_are_refused(
    tiny_backbone: Backbone, make_adapter: MakeAdapter, rows: int
) -> None:
    model = SlotModel(tiny_backbone, [make_adapter(tiny_backbone, seed) for seed in range(2)])
    with pytest.raises(ShapeError, match="weights"):
        model(weights=torch.full((rows, 2), 0.5), **tiny_backbone.encode(TEXTS))
    with pytest.raises(ShapeError, match="no weights"):
        model(**tiny_backbone.encode(TEXTS))


def test_fit_trains_the_slot_checkpoints_it_and_goes_on_from_there(
    tiny_backbone: Backbone, make_run: Callable[..., Run]
) -> None:
    encoded, labels = tiny_backbone.encode(TEXTS), torch.tensor([1, 0, 1, 0])

    def objective(module: torch.nn.Module, _batch: int) -> dict[str, Tensor]:
        return {"loss": torch.nn.functional.cross_entropy(module(**encoded), labels)}

    def trained(run: Run, *epochs: int) -> Adapter:
        for count in epochs:  # a constant rate, so that a shorter recipe is the beginning of the longer one
            model = SlotModel(tiny_backbone, [new_adapter(tiny_backbone, AdapterConfig(), seed=0)])
            recipe = Recipe(epochs=count, optimiser="adamw", learning_rate=1e-2, schedule="constant", warmup_frac=0.0)
            fit(model, batch_at=int, objective=objective, recipe=recipe, steps_per_epoch=2, run=run, phase="clean")
        return model.adapter()

    assert trained(make_run("whole"), 3).sha256 == trained(make_run("halved"), 1, 3).sha256
