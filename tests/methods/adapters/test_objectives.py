"""What the rivals minimise: golden numbers, and each loss against a slow version written another way, in float64."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from understudy.errors import ConfigError
from understudy.losses import kl_from_probs, soft_cross_entropy
from understudy.methods.adapters import amda, freelb, mixkd
from understudy.models.text.adapter import AdapterConfig, new_adapter
from understudy.models.text.backbone import Backbone, load_backbone
from understudy.models.text.full import FullModel
from understudy.models.text.predictor import Predictor
from understudy.models.text.slots import SlotModel
from understudy.training.mixed_states import mixed_at_layer, union
from understudy.training.text_steps import Pairs, SteppedBatch, pairs_at

Make = Callable[..., Any]
TEXTS = ("the film was good", "a dull plot", "fine fine story is a scene", "awful")
LABELS = torch.tensor([1, 0, 1, 0])


def wide(*values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.fixture(scope="module")
def double(toy_folder: Path) -> Backbone:
    return load_backbone(toy_folder, labels=("no", "yes"), max_length=24, seed=0).to(torch.float64)


@pytest.fixture
def network(double: Backbone) -> SlotModel:
    """One slot of random weights, in eval mode."""
    slots = SlotModel(double, [new_adapter(double, AdapterConfig(rank=4, dropout=0.0), seed=0)])
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in slots.parameters():
            weight += 0.3 * torch.randn(weight.shape, generator=generator, dtype=torch.float64)
    return slots.eval()


@pytest.fixture
def batch(double: Backbone) -> SteppedBatch:
    return SteppedBatch(double.encode(TEXTS), LABELS, 5)


def test_mixkd_has_the_golden_numbers() -> None:
    pairs = Pairs(torch.tensor([1, 0]), 0.3, 0.0)
    words = wide([[1, 0], [0, 1]], [[0, 2], [1, 1]])
    torch.testing.assert_close(pairs.mixed(words)[0], wide([0.3, 1.4], [0.7, 1.0]), rtol=0, atol=1e-12)
    teacher, student = wide([2, -1]), wide([1, 0.5])
    assert float(mixkd.apart(teacher, student, "mse", 1.0)) == pytest.approx(1.625, abs=1e-12)
    assert float(mixkd.apart(teacher, student, "kl", 1.0)) == pytest.approx(0.3069249496624477, abs=1e-12)
    labels = pairs.labels(torch.tensor([0, 1]), 2)
    torch.testing.assert_close(labels[0], torch.tensor([0.3, 0.7]))
    own = soft_cross_entropy(student, wide([0.3, 0.7]), reduction="batchmean")
    assert float(own) == pytest.approx(0.8240769841801067, abs=1e-12)


def test_mixada_has_the_golden_divergence() -> None:
    found = kl_from_probs(wide([0.8, 0.2]).log(), wide([0.3, 0.7]), reduction="batchmean")
    assert float(found) == pytest.approx(0.5826853020432394, abs=1e-12)


def test_the_divergence_in_both_directions_has_smarts_golden_number() -> None:
    """SMART itself is not offered; its smoothness term is this divergence, there and back."""
    p, q = wide([0.7, 0.3]), wide([0.6, 0.4])
    there = kl_from_probs(q.log(), p, temperature=1.0, reduction="batchmean")
    back = kl_from_probs(p.log(), q, temperature=1.0, reduction="batchmean")
    assert float(there + back) == pytest.approx(0.04418327522790402, abs=1e-12)


def test_freelb_has_the_golden_step() -> None:
    delta, gradient = wide([[0.1, -0.2], [0, 0]]), wide([[3, 4], [0, 0]])
    moved = freelb.ascended(delta, gradient, step=0.1, epsilon=0.0)
    torch.testing.assert_close(moved, wide([[0.16, -0.12], [0, 0]]), rtol=0, atol=1e-12)
    assert float(moved.norm()) == pytest.approx(0.2, abs=1e-12)
    torch.testing.assert_close(freelb.ascended(delta, gradient, step=0.1, epsilon=0.1), moved / 2, rtol=0, atol=1e-12)
    torch.testing.assert_close(freelb.ascended(delta, gradient, step=0.1, epsilon=0.6), moved, rtol=0, atol=0)


def test_a_gradient_of_zero_moves_nothing() -> None:
    nothing = torch.zeros(1, 2, 2, dtype=torch.float64)
    assert torch.equal(freelb.ascended(nothing, nothing, step=0.1, epsilon=0.1), nothing)


def test_freelb_starts_within_its_size_and_leaves_padding_alone() -> None:
    words, mask = torch.zeros(2, 4, 8), torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    start = freelb.first_delta(words, mask, 1.0, 0, 7)
    assert float(start[0].abs().max()) <= (4 * 8) ** -0.5
    assert (2 * 8) ** -0.5 >= float(start[1].abs().max()) > (4 * 8) ** -0.5
    assert not start[1, 2:].any()
    assert torch.equal(start, freelb.first_delta(words, mask, 1.0, 0, 7))
    assert not torch.equal(start, freelb.first_delta(words, mask, 1.0, 0, 8))
    assert not freelb.first_delta(words, mask, 0.0, 0, 7).any()


def test_freelb_gathers_the_mean_gradient_of_its_passes(
    double: Backbone, network: SlotModel, batch: SteppedBatch, quick: Make
) -> None:
    """Against the textbook: each pass differentiated by itself, for weights and for the perturbation apart."""
    method = quick("freelb", ascent_steps=3, step_size=0.2, epsilon=0.3, magnitude=1.0)
    objective = freelb.Objective(method, double, seed=0)
    scalars = objective(network, batch)
    scalars["loss"].backward()  # type: ignore[no-untyped-call]
    got = [weight.grad.clone() for weight in network.parameters() if weight.grad is not None]
    ids, mask = batch.encoded["input_ids"], batch.encoded["attention_mask"]
    words = double.embeddings(ids).detach()
    delta = freelb.first_delta(words, mask, 1.0, 0, batch.step)
    weights, losses, sums = list(network.parameters()), [], [torch.zeros_like(each) for each in network.parameters()]
    for _ in range(3):
        delta = delta.detach().requires_grad_(True)
        given = {name: value for name, value in batch.encoded.items() if name != "input_ids"}
        loss = F.cross_entropy(network(inputs_embeds=words + delta, **given), LABELS)
        *grads, up = torch.autograd.grad(loss, [*weights, delta])
        sums = [total + grad / 3 for total, grad in zip(sums, grads, strict=True)]
        losses.append(loss.item())
        rows = []
        for row in range(len(TEXTS)):
            moved = delta[row].detach() + 0.2 * up[row] / max(float(up[row].norm()), 1e-8)
            rows.append(moved * min(1.0, 0.3 / float(moved.norm())))
        delta = torch.stack(rows)
    assert float(scalars["loss"].detach()) == pytest.approx(sum(losses) / 3, abs=1e-12)
    for ours, theirs in zip(got, sums, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_freelb_drops_the_same_units_in_every_pass(
    double: Backbone, network: SlotModel, batch: SteppedBatch, quick: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    masks: list[Tensor] = []
    real = F.dropout

    def noted(x: Tensor, *arguments: Any, **named: Any) -> Tensor:
        masks.append(real(torch.ones_like(x), *arguments, **named))
        return x * masks[-1]

    monkeypatch.setattr(F, "dropout", noted)
    network.configs = (network.configs[0].model_copy(update={"dropout": 0.5}),)
    freelb.Objective(quick("freelb", ascent_steps=2, step_size=0.2), double, seed=0)(network.train(), batch)
    network.eval()
    half = len(masks) // 2
    assert half > 0
    assert any((mask == 0).any() for mask in masks)
    for first, second in zip(masks[:half], masks[half:], strict=True):
        assert torch.equal(first, second)


def test_mixkd_is_the_sum_of_its_three_losses(
    double: Backbone, network: SlotModel, batch: SteppedBatch, quick: Make
) -> None:
    teacher = Predictor(SlotModel(double, [new_adapter(double, AdapterConfig(), seed=4)]), double)
    method = quick("mixkd", student_weight=0.5, teacher_weight=2.0, mix_alpha=0.4)
    found = mixkd.Objective(method, double, teacher, seed=0)(network, batch)
    pairs = pairs_at(0, batch.step, 4, alpha=0.4, device=torch.device("cpu"))
    ids, mask = batch.encoded["input_ids"], batch.encoded["attention_mask"]
    losses = []
    for row in range(4):  # one sentence at a time, over the tokens that either of the two shows
        other, share = int(pairs.partner[row]), pairs.share
        seen = max(int(mask[row].sum()), int(mask[other].sum()))
        words = double.embeddings(ids[[row, other], :seen])
        given = {
            "inputs_embeds": (share * words[0] + (1 - share) * words[1])[None],
            "attention_mask": torch.ones(1, seen, dtype=torch.long),
        }
        ours, theirs = network(**given)[0], teacher.network(**given)[0].detach()
        target = share * F.one_hot(LABELS[row], 2) + (1 - share) * F.one_hot(LABELS[other], 2)
        own = -(target * ours.log_softmax(0)).sum()
        plain = F.cross_entropy(network(**double.encode(TEXTS[row : row + 1])), LABELS[row : row + 1])
        losses.append(float((plain + 0.5 * own + 2.0 * (ours - theirs).square().mean()).detach()))
    assert float(found["loss"].detach()) == pytest.approx(sum(losses) / 4, abs=1e-5)  # mixed labels are float32


def test_a_whole_model_is_taught_through_its_own_embeddings(
    toy_folder: Path, double: Backbone, network: SlotModel, batch: SteppedBatch, quick: Make
) -> None:
    """Of a whole model the embedding table was trained as well: at a share of 1 it answers to the sentence itself."""
    other = load_backbone(toy_folder, labels=("no", "yes"), max_length=24, seed=0).to(torch.float64)
    with torch.no_grad():
        other.embeddings.weight += 0.5
    teacher = Predictor(FullModel(other), other)
    method = quick("mixkd", student_weight=0.0, teacher_weight=1.0, mix_alpha=0.4)
    pairs = pairs_at(0, batch.step, 4, alpha=0.4, device=torch.device("cpu"))
    ids, mask = batch.encoded["input_ids"], batch.encoded["attention_mask"]
    rest = {name: value for name, value in batch.encoded.items() if name != "input_ids"}
    seen = {**rest, "attention_mask": mask | mask[pairs.partner]}
    theirs = teacher.network(**seen, inputs_embeds=pairs.mixed(other.embeddings(ids)))
    ours = network(**seen, inputs_embeds=pairs.mixed(double.embeddings(ids)))
    plain = F.cross_entropy(network(**batch.encoded), LABELS)
    found = mixkd.Objective(method, double, teacher, seed=0)(network, batch)
    assert float(found["loss"].detach()) == pytest.approx(float((plain + F.mse_loss(ours, theirs)).detach()), abs=1e-6)


def test_a_mixture_teaches_its_logarithms(toy: Backbone, laid: Path) -> None:
    """Softmax of what a mixture hands a student is the mixture's own prediction."""
    from understudy.models.text.gate import Gate
    from understudy.models.text.mixture import MixedAdapters
    from understudy.models.text.peft_files import load_adapter

    adapters = [load_adapter(laid / "bank" / name, backbone=toy) for name in ("clean", "slot-deepwordbug")]
    profiles = torch.tensor([[0.05, 0.6], [0.05, 0.6]])
    mixture = MixedAdapters(SlotModel(toy, adapters), toy, Gate(), profiles, ("clean", "deepwordbug"))
    with torch.no_grad():
        taught = mixkd.logits_of(mixture, toy.encode(TEXTS))
    torch.testing.assert_close(taught.softmax(dim=1), mixture.probs(TEXTS), rtol=1e-5, atol=1e-6)


def slow_tmix(double: Backbone, network: SlotModel, batch: SteppedBatch, layer: int, pairs: Pairs) -> Tensor:
    """Two full forwards that are stopped at the layer, mixed by hand, and the rest of the model on the mixture."""
    states: list[Tensor] = []
    layers = double.layer_modules
    keep = layers[layer - 1].register_forward_hook(lambda _module, _inputs, output: states.append(_first(output)))
    network(**batch.encoded)
    keep.remove()
    mixed = pairs.share * states[0] + (1 - pairs.share) * states[0][pairs.partner]

    def put(_module: Any, _inputs: Any, output: Any) -> Any:
        return (mixed, *output[1:]) if isinstance(output, tuple) else mixed

    mask = batch.encoded["attention_mask"]
    seen = dict(batch.encoded, attention_mask=mask | mask[pairs.partner])
    swap = layers[layer - 1].register_forward_hook(put)
    logits = network(**seen)  # what came before the layer is thrown away, so that its mask does not matter
    swap.remove()
    return logits


def _first(output: Any) -> Tensor:
    found: Tensor = output[0] if isinstance(output, tuple) else output
    return found


@pytest.mark.parametrize("layer", [1, 2])
def test_tmix_is_two_halves_with_a_mixture_between(
    double: Backbone, network: SlotModel, batch: SteppedBatch, layer: int, quick: Make
) -> None:
    pairs = Pairs(torch.tensor([1, 2, 3, 0]), 0.3, 0.0)
    objective = amda.Objective(quick("amda", mix_layers=(layer,)), double, seed=0)
    torch.testing.assert_close(
        objective.mixed_logits(network, batch, pairs),
        slow_tmix(double, network, batch, layer, pairs),
        atol=1e-12,
        rtol=0,
    )


@pytest.mark.parametrize("mix", ["tmix", "smix"])
def test_a_share_of_one_mixes_nothing_in(double: Backbone, network: SlotModel, mix: str, quick: Make) -> None:
    """With all sentences of one length, so that no mask changes."""
    batch = SteppedBatch(double.encode(("good film", "bad plot")), torch.tensor([1, 0]), 0)
    objective = amda.Objective(quick("amda", mix=mix), double, seed=0)
    plain = network(**batch.encoded)
    own = objective.mixed_logits(network, batch, Pairs(torch.tensor([1, 0]), 1.0, 0.0))
    torch.testing.assert_close(own, plain, atol=1e-12, rtol=0)
    other = objective.mixed_logits(network, batch, Pairs(torch.tensor([1, 0]), 0.0, 0.0))
    torch.testing.assert_close(other, plain.flip(0), atol=1e-12, rtol=0)


def test_smix_mixes_what_enters_the_last_map(
    double: Backbone, network: SlotModel, batch: SteppedBatch, quick: Make
) -> None:
    """The last map is linear: mixing before it is mixing logits."""
    pairs = Pairs(torch.tensor([3, 0, 1, 2]), 0.7, 0.0)
    plain = network(**batch.encoded)
    found = amda.Objective(quick("amda", mix="smix"), double, seed=0).mixed_logits(network, batch, pairs)
    torch.testing.assert_close(found, 0.7 * plain + 0.3 * plain[pairs.partner], atol=1e-12, rtol=0)


def test_the_union_of_masks_shows_what_either_shows() -> None:
    pairs = Pairs(torch.tensor([1, 0]), 0.5, 0.0)
    shown = torch.tensor([[1, 1, 1], [1, 0, 0]]).bool()[:, None, None]
    assert union(shown, pairs).all()
    added = torch.where(shown, 0.0, -10000.0)
    assert torch.equal(union(added, pairs), torch.zeros(2, 1, 1, 3))


def test_a_layer_that_is_not_there_is_refused(double: Backbone) -> None:
    with (
        pytest.raises(ConfigError, match="layer 3 of 2"),
        mixed_at_layer(double.layer_modules, 3, Pairs(LABELS, 1.0, 0.0)),
    ):
        pass


def test_layers_are_shares_of_however_many_there_are(double: Backbone, quick: Make) -> None:
    assert quick("amda").layers(double) == (1, 2, 2)  # 7, 9 and 12 of 12
    assert quick("amda", mix_layers=(2,)).layers(double) == (2,)


def test_pairs_are_functions_of_seed_and_step() -> None:
    cpu = torch.device("cpu")
    first, again = (pairs_at(0, 3, 8, alpha=0.4, device=cpu) for _ in range(2))
    assert torch.equal(first.partner, again.partner)
    assert (first.share, first.draw) == (again.share, again.draw)
    assert sorted(first.partner.tolist()) == list(range(8))
    shares = [pairs_at(0, step, 2, alpha=8.0, device=cpu).share for step in range(200)]
    assert len(set(shares)) == 200
    assert abs(sum(shares) / 200 - 0.5) < 0.05
    assert min(shares) > 0.1  # Beta(8, 8) stays near one half; Beta(0.4, 0.4) does not
    assert min(pairs_at(0, step, 2, alpha=0.4, device=cpu).share for step in range(200)) < 0.05
