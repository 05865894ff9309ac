"""SimCLR: an encoder that learns from images alone."""

from pathlib import Path

import pytest
import torch

from understudy.data import ImageSet, Views, load_images
from understudy.errors import DataError
from understudy.evaluation.features import embed
from understudy.evaluation.probe import Probes, probe
from understudy.methods.baseline.simclr import SimCLR
from understudy.models import Encoder, build_encoder, model_digest
from understudy.runs.options import RunOptions
from understudy.runs.run import Run
from understudy.training import Recipe


def encoder(data: ImageSet) -> Encoder:
    return build_encoder("cnn:widths=16-32", input_shape=data.shape, mean=data.mean, std=data.std, seed=0)


def method(epochs: int = 12) -> SimCLR:
    recipe = Recipe(epochs=epochs, batch_size=64, optimiser="adam", learning_rate=3e-3, schedule="constant")
    return SimCLR.digits().model_copy(update={"fit": recipe})


def run_in(folder: Path) -> Run:
    return Run(folder, {"method": "simclr"}, RunOptions(device="cpu", log_every=1))


def test_it_learns_more_than_it_was_born_with(tmp_path: Path) -> None:
    train, test = load_images("digits", "train"), load_images("digits", "test")
    outcome = method().run(model=encoder(train), data=train, run=run_in(tmp_path))

    def score(network: torch.nn.Module) -> float:
        features = embed(network, train), train.labels, embed(network, test), test.labels
        probes = Probes(linear=False, knn=False, shots=3, draws=10)
        return probe(*features, probes=probes, seed=0, classes=10)["few_shot"].value

    assert score(outcome.model) > score(outcome.controls["untrained"]) + 0.1


def test_labels_are_not_read(tmp_path: Path) -> None:
    data = load_images("digits", "train").take(range(128))
    other = ImageSet(data.name, data.split, data.images, data.labels.flip(0), data.classes)
    weights = [
        model_digest(method(1).run(model=encoder(data), data=each, run=run_in(tmp_path / str(number))).model)
        for number, each in enumerate((data, other))
    ]
    assert weights[0] == weights[1]


def test_one_image_has_nothing_to_be_told_from(tmp_path: Path) -> None:
    data = load_images("digits", "train").take([0])
    with pytest.raises(DataError, match="nothing to be told from"):
        method(1).run(model=encoder(data), data=data, run=run_in(tmp_path))


def test_the_default_views_are_those_of_the_target_encoders() -> None:
    assert SimCLR().views() == Views.simclr()


def test_the_cost_counts_both_views() -> None:
    data = load_images("digits", "train")
    cost = method(2).cost(encoder(data), rows=130)
    assert (cost["training_steps"], cost["views_seen"]) == (4, 2 * 4 * 64)
