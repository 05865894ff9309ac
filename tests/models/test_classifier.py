import numpy as np
import pytest
import torch

from understudy.models import Normalise, build_model


def test_normalise_equals_its_formula_and_inverts() -> None:
    mean, std = [0.1, 0.5, 0.9], [0.2, 0.3, 0.4]
    layer = Normalise(mean, std)
    x = torch.rand(2, 3, 4, 5)
    z = layer(x)
    for channel in range(3):
        expected = (x[:, channel].double().numpy() - mean[channel]) / std[channel]
        np.testing.assert_allclose(z[:, channel].numpy(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(layer.inverse(z), x)


@pytest.mark.parametrize(("mean", "std"), [([0.5], [0.25]), ([0.1, 0.2], [1.0, 2.0])])
def test_vectors_are_normalised_by_feature_or_all_alike(mean: list[float], std: list[float]) -> None:
    x = torch.rand(3, 2)
    torch.testing.assert_close(Normalise(mean, std)(x), (x - torch.tensor(mean)) / torch.tensor(std))


def test_the_classifier_normalises_first() -> None:
    model = build_model("mlp:widths=4", input_shape=(2,), classes=3, mean=[0.3], std=[0.7], seed=0)
    x = torch.rand(5, 2)
    torch.testing.assert_close(model(x), model.net((x - 0.3) / 0.7))


def test_the_normalisation_is_saved_with_the_weights() -> None:
    model = build_model("mlp:widths=4", input_shape=(2,), classes=3, mean=[0.3], std=[0.7], seed=0)
    assert {"normalise.mean", "normalise.std"} <= model.state_dict().keys()
