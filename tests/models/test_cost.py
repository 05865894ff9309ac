import pytest
import torch
from torch import nn

from understudy.models import Classifier, build_model, count_macs, count_parameters, evaluating, model_digest


def test_resnet18_costs_what_the_field_says() -> None:
    model = build_model("resnet18", input_shape=(3, 32, 32), classes=10, mean=[0.5] * 3, std=[0.5] * 3, seed=0)
    assert count_macs(model) == 555_422_720  # 0.56 G


def test_macs_equal_a_count_by_hand(make) -> None:
    model = make("cnn:widths=4-6", (1, 8, 8))
    assert count_macs(model) == 8 * 8 * 4 * 9 + 4 * 4 * 6 * 4 * 9 + 6 * 10


def test_macs_of_attention_equal_a_count_by_hand(make) -> None:
    model = make("vit:patch=4,dim=8,depth=1,heads=2", (1, 8, 8))
    tokens, d = 5, 8
    embed = 4 * 16 * d
    block = tokens * d * 3 * d + 2 * tokens * tokens * d + tokens * d * d + 2 * tokens * d * 4 * d
    assert count_macs(model) == embed + block + d * 10


def test_counting_changes_nothing(make) -> None:
    model = make().train()
    before = model_digest(model)
    count_macs(model)
    assert model.training
    assert model_digest(model) == before


def test_a_shared_parameter_counts_once() -> None:
    layer = nn.Linear(3, 3)
    assert count_parameters(nn.Sequential(layer, layer)) == 12


@pytest.mark.parametrize("name", ["normalise.mean", "net.head.bias", "net.blocks.0.1.running_var"])
def test_the_digest_sees_every_kind_of_tensor(make, name: str) -> None:
    model: Classifier = make()
    before = model_digest(model)
    with torch.no_grad():
        model.state_dict()[name][0] += 1e-6
    assert model_digest(model) != before


def test_modes_are_restored_one_by_one_even_after_an_error(make) -> None:
    model = make().train()
    model.net.blocks[0].eval()
    before = [module.training for module in model.modules()]
    seen = []

    def fail() -> None:
        with evaluating(model):
            seen.extend(module.training for module in model.modules())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not any(seen)
    assert [module.training for module in model.modules()] == before
