"""A teacher and its defences as one network."""

from pathlib import Path

import pytest
import torch
from tests.targets.class_defences.conftest import images
from torch import Tensor

from understudy.errors import ConfigError
from understudy.models import Classifier, build_model, freeze, model_digest
from understudy.targets.class_defences import defended_classifier, parse_class_defences, serve


@pytest.fixture
def teacher() -> Classifier:
    return build_model("cnn:widths=4-6", input_shape=(1, 4, 4), classes=5, mean=[0.4], std=[0.3], seed=3).eval()


def defended(teacher: Classifier, spec: str, *, seed: int = 0) -> Classifier:
    return defended_classifier(teacher, parse_class_defences(spec), seed=seed)


SPECS = ("none", "labels", "top_k:2", "rounding:1", "reverse_sigmoid:0.5", "modelguard_w:0.5")


@pytest.mark.parametrize("spec", [*SPECS, "mad:0.5,surrogate=FOLDER", "misinformation:0.9,misleader=FOLDER"])
def test_its_logits_are_the_logarithms_of_what_is_served(teacher: Classifier, spec: str, folder: Path) -> None:
    spec, x = spec.replace("FOLDER", str(folder)), images(6)
    with torch.no_grad():
        expected = serve(parse_class_defences(spec), teacher(x), images=x, keys=torch.arange(6), seed=0, memory={})
        for network in (defended(teacher, spec), freeze(defended(teacher, spec))):
            torch.testing.assert_close(network(x), expected.clamp_min(1e-12).log(), rtol=1e-4, atol=1e-4)


def test_gradients_are_the_softmax_of_the_kept_classes_and_none_of_labels(teacher: Classifier) -> None:
    def gradient(network: torch.nn.Module) -> Tensor:
        x = images(3).requires_grad_()
        network(x).amax(dim=1).sum().backward()
        assert x.grad is not None
        return x.grad

    assert bool((gradient(defended(teacher, "labels")) == 0).all())
    clean = gradient(torch.nn.Sequential(teacher, torch.nn.LogSoftmax(dim=1)))
    torch.testing.assert_close(gradient(defended(teacher, "none")), clean, rtol=1e-4, atol=1e-6)
    two = gradient(torch.nn.Sequential(teacher, _BestTwo(), torch.nn.LogSoftmax(dim=1)))
    torch.testing.assert_close(gradient(defended(teacher, "top_k:2")), two, rtol=1e-4, atol=1e-6)


class _BestTwo(torch.nn.Module):
    def forward(self, logits: Tensor) -> Tensor:
        return logits.topk(2, dim=1).values


def test_noise_is_a_function_of_the_input_and_the_seed(teacher: Classifier) -> None:
    network, x = defended(teacher, "noise:1"), images(8)
    with torch.no_grad():
        answers = network(x)
        torch.testing.assert_close(network(x.flip(0)).flip(0), answers, rtol=0, atol=1e-4)
        torch.testing.assert_close(network(x[3:5]), answers[3:5], rtol=0, atol=1e-4)
        assert not torch.allclose(network(x + 1e-6), answers, atol=1e-3)
        assert not torch.allclose(defended(teacher, "noise:1", seed=1)(x), answers, atol=1e-3)


def test_the_teacher_stays_as_it_was_and_its_hash_is_another(teacher: Classifier) -> None:
    before = model_digest(teacher)
    network = defended(teacher, "labels")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    assert model_digest(teacher) == before
    digests = {model_digest(defended(teacher, spec, seed=seed)) for spec in SPECS for seed in (0, 1)}
    assert len(digests) == 2 * len(SPECS)
    assert before not in digests
    assert (network.classes, network.input_shape) == (teacher.classes, teacher.input_shape)
    assert network.training == teacher.training


def test_a_defence_that_remembers_what_was_asked_is_refused(teacher: Classifier) -> None:
    with pytest.raises(ConfigError, match=r"(?s)modelguard_s remembers.*cake"):
        defended(teacher, "rounding:1+modelguard_s:0.5")


def test_what_does_not_fit_the_classes_is_refused(teacher: Classifier) -> None:
    with pytest.raises(ConfigError, match="the 6 largest of 5"):
        defended(teacher, "top_k:6")
