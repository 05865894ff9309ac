"""Networks of this process as targets: what they answer, and that they stay as they were."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from understudy.errors import AccessError, ConfigError, DivergenceError
from understudy.models import Classifier, Encoder, build_encoder, build_model, encoder_of
from understudy.models.frozen import Frozen
from understudy.runs.tensors import digest
from understudy.targets import Access, ModuleTarget

SHAPE = (1, 8, 8)


def _worn(network: Classifier | Encoder) -> Classifier | Encoder:
    """Give BatchNorms statistics that are not the identity."""
    generator = torch.Generator().manual_seed(5)
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.running_mean.normal_(0, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
    return network


@pytest.fixture
def classifier() -> Classifier:
    return _worn(build_model("cnn:widths=4-6", input_shape=SHAPE, classes=7, mean=[0.4], std=[0.3], seed=1))


@pytest.fixture
def encoder() -> Encoder:
    return _worn(build_encoder("cnn:widths=4-6", input_shape=SHAPE, mean=[0.4], std=[0.3], seed=1))


@pytest.fixture
def images() -> Tensor:
    return torch.rand(11, *SHAPE, generator=torch.Generator().manual_seed(0))


def test_an_encoder_answers_with_its_embeddings(encoder: Encoder, images: Tensor) -> None:
    target = ModuleTarget(encoder)
    with torch.no_grad():
        expected = encoder.eval()(images)
    assert (target.width, target.input_shape, target.access) == (encoder.width, SHAPE, Access.EMBEDDINGS)
    torch.testing.assert_close(target.answer(images), expected, rtol=1e-5, atol=1e-5)


def test_a_classifier_answers_as_its_access_says(classifier: Classifier, images: Tensor) -> None:
    with torch.no_grad():
        logits = classifier.eval()(images)
        embeddings = encoder_of(classifier)(images)
    answers = {access: ModuleTarget(classifier, access=access, k=2).answer(images) for access in list(Access)[:4]}
    torch.testing.assert_close(answers[Access.LOGITS], logits, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(answers[Access.EMBEDDINGS], embeddings, rtol=1e-5, atol=1e-5)
    for row, scores in enumerate(logits):
        chances = (scores.double().exp() / scores.double().exp().sum()).tolist()
        best = sorted(range(7), key=lambda place: -chances[place])
        assert answers[Access.LABELS][row].tolist() == [float(place == best[0]) for place in range(7)]
        shown = [chances[place] if place in best[:2] else 0.0 for place in range(7)]
        assert answers[Access.TOP_K][row].tolist() == pytest.approx(shown, abs=1e-5)
        assert (answers[Access.TOP_K][row] > 0).sum() == 2


def test_top_k_shows_k_even_of_equals() -> None:
    classifier = build_model("mlp", input_shape=(4,), classes=5, mean=[0.0], std=[1.0], seed=0)
    for parameter in classifier.parameters():
        torch.nn.init.zeros_(parameter)
    answers = ModuleTarget(classifier, access="top-k", k=3).answer(torch.rand(2, 4))
    assert answers.tolist() == [[pytest.approx(0.2)] * 3 + [0.0, 0.0]] * 2


@pytest.mark.parametrize("access", ["embeddings", "logits", "top-k", "labels"])
def test_the_network_stays_as_it_was(
    classifier: Classifier, images: Tensor, access: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, statistics and modes are untouched, no gradient appears, and what answers is in eval mode."""
    classifier.train()
    before = digest(classifier.state_dict())
    modes: list[bool] = []
    forward: Callable[..., Tensor] = Frozen.forward

    def watched(self: Frozen, x: Tensor) -> Tensor:
        modes.extend(module.training for module in self.modules())
        return forward(self, x)

    monkeypatch.setattr(Frozen, "forward", watched)
    target = ModuleTarget(classifier, access=access, batch_rows=4)
    statistics = digest(target._frozen.state_dict())
    first = target.answer(images.requires_grad_())
    assert not first.requires_grad
    assert torch.equal(target.answer(images), first)
    assert digest(classifier.state_dict()) == before
    assert digest(target._frozen.state_dict()) == statistics
    assert all(module.training for module in classifier.modules())
    assert all(parameter.grad is None for parameter in classifier.parameters())
    assert modes
    assert not any(modes)


def test_a_network_that_is_trained_on_later_answers_as_before(encoder: Encoder, images: Tensor) -> None:
    target = ModuleTarget(encoder)
    before = target.answer(images)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(1)
    assert torch.equal(target.answer(images), before)


@pytest.mark.parametrize("batch_rows", [1, 4, 11, 100])
def test_batches_make_no_difference(encoder: Encoder, images: Tensor, batch_rows: int) -> None:
    whole, parts = ModuleTarget(encoder), ModuleTarget(encoder, batch_rows=batch_rows)
    torch.testing.assert_close(parts.answer(images), whole.answer(images), rtol=1e-5, atol=1e-6)
    assert parts.answer(images[:0]).shape == (0, encoder.width)
    assert parts.identity == whole.identity


def test_whatever_may_change_an_answer_changes_the_identity(classifier: Classifier, encoder: Encoder) -> None:
    other = build_model("cnn:widths=4-6", input_shape=SHAPE, classes=7, mean=[0.5], std=[0.3], seed=1)
    ways = [
        ModuleTarget(encoder),
        ModuleTarget(encoder, precision="bf16"),
        ModuleTarget(classifier, access="logits"),
        ModuleTarget(classifier, access="labels"),
        ModuleTarget(classifier, access="top-k", k=2),
        ModuleTarget(classifier, access="top-k", k=3),
        ModuleTarget(other, access="logits"),
    ]
    assert len({way.identity for way in ways}) == len(ways)
    assert ModuleTarget(classifier, access="logits", k=3, name="x").identity == ways[2].identity
    assert ModuleTarget(encoder_of(classifier)).identity == ModuleTarget(classifier).identity


def test_what_cannot_be_a_target_is_refused(classifier: Classifier, encoder: Encoder) -> None:
    with pytest.raises(AccessError, match="is an encoder: it gives embeddings, and no logits"):
        ModuleTarget(encoder, access="logits")
    with pytest.raises(ConfigError, match="a target cannot give access 'weights'"):
        ModuleTarget(encoder, access="weights")
    with pytest.raises(ConfigError, match="cannot show the 8 largest of 7"):
        ModuleTarget(classifier, access="top-k", k=8)
    with pytest.raises(ConfigError, match="batch_rows is 0"):
        ModuleTarget(encoder, batch_rows=0)
    with torch.no_grad():
        next(encoder.parameters()).fill_(float("nan"))
    with pytest.raises(DivergenceError, match="NaN"):
        ModuleTarget(encoder)
