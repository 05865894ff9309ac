"""One adapter in place of several: equal to the mixture, exact at 0 and 1, refused where the weights are none."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from understudy.errors import ConfigError
from understudy.models.text.adapter import Adapter, LoraMix
from understudy.models.text.backbone import Backbone, load_backbone
from understudy.models.text.compatible import check_compatible
from understudy.models.text.merge import merge
from understudy.models.text.slots import SlotModel

MakeAdapter = Callable[..., Adapter]
TEXTS = ("the film is good", "a dull plot", "never bad", "the actors was bright zzz qwerty in a story good good bad")
KINDS = ("lora", "pfeiffer", "houlsby")
MIXES: tuple[LoraMix, ...] = ("factor", "product")


def simplex(rows: int, slots: int, seed: int = 0) -> Tensor:
    draws = torch.rand(rows, slots, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return draws / draws.sum(1, keepdim=True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mix", MIXES)
def test_a_merged_adapter_equals_the_mixture_with_those_weights(
    tiny_double: Backbone, make_adapter: MakeAdapter, kind: str, mix: LoraMix
) -> None:
    adapters = [make_adapter(tiny_double, seed, kind=kind) for seed in range(3)]
    model, weights = SlotModel(tiny_double, adapters, lora_mix=mix), simplex(len(TEXTS), 3, seed=5)
    with torch.no_grad():
        mixed = model(weights=weights, **tiny_double.encode(TEXTS))
        for row, text in enumerate(TEXTS):
            one = SlotModel(tiny_double, [merge(adapters, weights[row].tolist(), lora_mix=mix)])
            torch.testing.assert_close(mixed[row : row + 1], one(**tiny_double.encode([text])), rtol=0, atol=1e-12)


def test_the_root_mix_of_other_libraries_doubles_an_update_and_is_not_offered(
    tiny_double: Backbone, make_adapter: MakeAdapter
) -> None:
    adapter = make_adapter(tiny_double, 1)
    a, b = (adapter.tensors[f"{adapter.modules[0]}.lora_{part}.weight"] for part in "AB")
    root = (0.5**0.5 * b + 0.5**0.5 * b) @ (0.5**0.5 * a + 0.5**0.5 * a)
    torch.testing.assert_close(root, 2 * (b @ a), rtol=0, atol=1e-12)
    merged = merge([adapter, adapter], [0.5, 0.5])
    ours = (merged.tensors[f"{adapter.modules[0]}.lora_{part}.weight"] for part in "AB")
    lower, upper = ours
    torch.testing.assert_close(upper @ lower, b @ a, rtol=0, atol=1e-12)


@pytest.mark.parametrize("weights", [[1.2, -0.2], [0.5, 0.6], [float("nan"), 1.0], [1.0]])
def test_coefficients_that_are_none_are_refused(
    tiny_backbone: Backbone, make_adapter: MakeAdapter, weights: list[float]
) -> None:
    with pytest.raises(ConfigError):
        merge([make_adapter(tiny_backbone, 0), make_adapter(tiny_backbone, 1)], weights)


@pytest.mark.parametrize("coefficient", [0.0, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_coefficients_0_and_1_give_exactly_the_two_adapters(
    tiny_backbone: Backbone, make_adapter: MakeAdapter, kind: str, coefficient: float
) -> None:
    pair = [make_adapter(tiny_backbone, seed, kind=kind) for seed in range(2)]
    merged = merge(pair, [coefficient, 1 - coefficient])
    assert merged.sha256 == pair[0 if coefficient else 1].sha256


def test_merging_refuses_adapters_of_another_head_kind_rank_or_backbone(
    tiny_folder: Path, tiny_backbone: Backbone, make_adapter: MakeAdapter
) -> None:
    adapter = make_adapter(tiny_backbone, 0)
    three = load_backbone(tiny_folder, labels=("a", "b", "c"), max_length=32, seed=0)
    for other, word in (
        (make_adapter(tiny_backbone, 1, kind="houlsby"), "kind"),
        (make_adapter(tiny_backbone, 1, rank=3), "rank"),
        (make_adapter(tiny_backbone, 1, alpha=3.0), "scale"),
        (make_adapter(tiny_backbone, 1, target_modules=("key",)), "modules"),
        (make_adapter(three, 1), "classes"),
    ):
        with pytest.raises(ConfigError, match=word):
            merge([adapter, other], [0.5, 0.5])


def test_slots_refuse_what_merging_refuses_and_an_adapter_of_another_encoder(
    tiny_backbone: Backbone, make_adapter: MakeAdapter
) -> None:
    adapter = make_adapter(tiny_backbone, 0)
    check_compatible([adapter, make_adapter(tiny_backbone, 1)], tiny_backbone)
    for other, word in (
        (make_adapter(tiny_backbone, 1, kind="houlsby"), "kind"),
        (make_adapter(tiny_backbone, 1, rank=3), "rank"),
        (make_adapter(tiny_backbone, 1, alpha=3.0), "scale"),
        (make_adapter(tiny_backbone, 1, target_modules=("key",)), "modules"),
        (replace(adapter, backbone_sha256="0" * 64), "backbone"),
        (replace(adapter, labels=("no", "perhaps")), "classes"),
        (replace(adapter, head={name: value[:1] for name, value in adapter.head.items()}), "head"),
        (replace(adapter, tensors={name: value[:1] for name, value in adapter.tensors.items()}), "shapes"),
    ):
        with pytest.raises(ConfigError, match=word):
            SlotModel(tiny_backbone, [adapter, other])
    with pytest.raises(ConfigError, match="no adapter"):
        SlotModel(tiny_backbone, [])
    narrow = make_adapter(tiny_backbone, 1, kind="pfeiffer", reduction=8)
    with pytest.raises(ConfigError, match="bottleneck"):
        SlotModel(tiny_backbone, [make_adapter(tiny_backbone, 1, kind="pfeiffer"), narrow])
