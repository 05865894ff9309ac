"""The Adversarial Sparse Teacher: whose target is whose, what a step leaves alone, and what it is at its limits."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from understudy.bank import Bank
from understudy.data import ImageSet, as_float
from understudy.errors import ConfigError, DivergenceError
from understudy.methods.baseline.supervised import Supervised
from understudy.methods.resistance import adversarial_sparse_teacher as module
from understudy.methods.resistance._adversarial_bank import KIND
from understudy.methods.resistance._support import Support, support_facts
from understudy.methods.resistance.adversarial_sparse_teacher import AdversarialSparseTeacher
from understudy.models import Classifier, model_digest, resolve_model
from understudy.runs.progress import Silent
from understudy.runs.run import Run
from understudy.runs.tensors import digest, load_tensors
from understudy.training import Recipe

MakeRun = Callable[..., Run]
Net = Callable[..., Classifier]
AST = AdversarialSparseTeacher


@pytest.fixture
def small(recipe: Recipe, reference: str) -> dict[str, Any]:
    """Values with which a run takes no time."""
    return {"fit": recipe, "reference": reference, "attack_steps": 2, "step_size": 0.1}


@pytest.fixture
def numbered(few: ImageSet) -> ImageSet:
    """Images each of whose pixels is the number of its row."""
    numbers = torch.arange(len(few), dtype=torch.uint8).view(-1, 1, 1, 1)
    return ImageSet("numbered", "train", numbers.expand_as(few.images).contiguous(), few.labels, few.classes)


def batches_of(method: AST, data: ImageSet, model: Classifier, run: Run, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the function that makes the batches, without a step of training."""
    caught = []
    with monkeypatch.context() as patch:
        patch.setattr(AST, "train", lambda *_, batch_at, **__: caught.append(batch_at))
        method.run(model=model, data=data, run=run)
    return caught[0]


def rows_of(images: Tensor) -> list[int]:
    found: list[int] = (images[:, 0, 0, 0] * 255).round().int().tolist()
    return found


@pytest.mark.parametrize("padding", [0, 2])
def test_paired_images_have_targets_of_their_own(
    padding: int, small: dict[str, Any], numbered: ImageSet, net: Net, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = AST(**{**small, "attack_steps": 0, "crop_padding": padding})
    batch_at = batches_of(method, numbered, net(), run, monkeypatch)
    seen: list[int] = []
    for step in range(6):
        pairs = batch_at(step)
        assert rows_of(pairs.adversarial) == pairs.batch.rows_cpu.tolist()
        seen += pairs.batch.rows_cpu.tolist()
    assert len(seen) == 192  # five of 101 are dropped an epoch
    assert len(set(seen[:96])) == 96
    assert seen[:96] != seen[96:]


def test_released_pairing_is_one_fixed_order_beside_shuffled_images(
    small: dict[str, Any], numbered: ImageSet, net: Net, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = AST(**{**small, "attack_steps": 0, "pairing": "released"})
    batch_at = batches_of(method, numbered, net(), run, monkeypatch)
    targets = [rows_of(batch_at(step).adversarial) for step in range(6)]
    images = [batch_at(step).batch.rows_cpu.tolist() for step in range(6)]
    assert targets[:3] == targets[3:]
    assert images[:3] != images[3:]
    assert len({row for batch in targets[:3] for row in batch}) == 96
    same = sum(a == b for batch, rows in zip(targets, images, strict=True) for a, b in zip(batch, rows, strict=True))
    assert same < 20  # of 192; chance brings two


@pytest.mark.parametrize("divergence", ["epd", "kl"])
def test_a_step_is_that_of_the_text(
    divergence: Any, small: dict[str, Any], few: ImageSet, net: Net, run: Run, recipe: Recipe
) -> None:
    """Clean forward in train mode; the target in eval mode, and so with the statistics just moved; then the step."""
    data = few.take(torch.arange(32))
    values = {**small, "alpha": 0.3, "divergence": divergence, "fit": recipe.model_copy(update={"epochs": 1})}
    model = net()
    slow = copy.deepcopy(model).train()
    AST(**values).run(model=model, data=data, run=run)

    attacked = Bank(run.folder / "bank", kind=KIND).rows(torch.arange(32)).inputs
    z = slow(as_float(data.images))
    with torch.no_grad():
        adversarial = copy.deepcopy(slow).eval()(attacked)
    top, places = adversarial.topk(2, dim=1)
    q = torch.zeros_like(adversarial).scatter(1, places, F.softmax(top / 6, dim=1))
    p = F.softmax(z / 6, dim=1)
    term = (q.exp() * (q - p)).sum(1).mean() if divergence == "epd" else (torch.xlogy(q, q) - q * p.log()).sum(1).mean()
    loss = 0.7 * F.cross_entropy(z, data.labels, reduction="mean") + 0.3 * 36 * term
    loss.backward()
    optimiser = torch.optim.SGD(slow.parameters(), recipe.rate(0, 1), weight_decay=5e-4)
    optimiser.step()
    for name, value in slow.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=1e-5, atol=1e-6, msg=name)
    assert int(model.net.hidden[1].num_batches_tracked) == 1


def test_the_adversarial_pass_is_in_eval_mode_and_modes_come_back(
    small: dict[str, Any], few: ImageSet, net: Net, run: Run
) -> None:
    model = net()
    modes: list[bool] = []
    model.register_forward_pre_hook(lambda *_: modes.append(all(part.training for part in model.modules())))
    AST(**small).run(model=model, data=few, run=run)
    assert modes[:18] == [True, False] * 9


def with_dropout(data: ImageSet) -> Classifier:
    torch.manual_seed(5)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.BatchNorm1d(24), nn.Dropout(0.3), nn.Linear(24, 10))
    return Classifier(net, spec="dropped", input_shape=data.shape, classes=10, mean=data.mean, std=data.std)


def test_without_weight_it_is_ordinary_training_to_the_last_bit(
    small: dict[str, Any], few: ImageSet, make_run: MakeRun
) -> None:
    """Dropout draws from the global stream, which the adversarial pass must not touch."""
    plain, ours = with_dropout(few), with_dropout(few)
    Supervised(fit=small["fit"]).run(model=plain, data=few, run=make_run("plain"))
    AST(**small, alpha=0.0).run(model=ours, data=few, run=make_run("ours"))
    assert digest(ours.state_dict()) == digest(plain.state_dict())
    other = with_dropout(few)
    AST(**small, alpha=0.05).run(model=other, data=few, run=make_run("other"))
    assert digest(other.state_dict()) != digest(plain.state_dict())


def test_a_run_without_reference_trains_one_with_a_seed_of_its_own(
    small: dict[str, Any], few: ImageSet, net: Net, make_run: MakeRun
) -> None:
    model, run = net(), make_run("run", log_every=1)
    outcome = AST(**{**small, "reference": None, "clip_norm": 1e-6}).run(model=model, data=few, run=run)
    ordinary = outcome.controls["ordinary"]
    assert isinstance(ordinary, Classifier)
    assert ordinary.spec == model.spec
    assert not any(part.training for part in ordinary.modules())
    about = outcome.facts["resistance"]["reference"]
    assert about == {"spec": model.spec, "sha256": model_digest(ordinary), "trained_here": True}
    phases = [entry["phase"] for entry in run.events]
    assert phases.index("reference") < phases.index("fit")
    losses = [entry["metrics"]["loss"] for entry in run.events if entry["phase"] == "reference"]
    assert losses[-1] < 0.8 * losses[0]  # gradients are cut in the phase of the protected teacher alone
    start, kept, theirs = (each.net.head.weight.detach() for each in (net(), model, ordinary))
    assert (kept - start).abs().max() < 1e-3
    assert (theirs - start).abs().max() > 0.1


def test_the_facts_hold_everything_that_the_protection_depends_on(
    small: dict[str, Any], few: ImageSet, net: Net, run: Run, reference: str
) -> None:
    model = net()
    outcome = AST(**small, temperature=3.0, alpha=0.2, pairing="released").run(model=model, data=few, run=run)
    assert outcome.facts["serving"] == "none"
    about = outcome.facts["resistance"]
    attack = {"epsilon": 0.3, "step": 0.1, "steps": 2, "box": "valid", "coordinates": "normalised"}
    assert about["attack"] == attack
    assert (about["pairing"], about["divergence"], about["k"], about["fidelity"]) == ("released", "epd", 2, "paper")
    assert about["alpha_t2"] == pytest.approx(1.8)
    assert about["reference"] == {
        "spec": model.spec,
        "sha256": model_digest(resolve_model(reference)),
        "trained_here": False,
    }
    attacked = Bank(run.folder / "bank", kind=KIND).rows(torch.arange(len(few))).inputs
    with torch.no_grad():
        tops = model(attacked).topk(2, dim=1).indices
    expected = [float((tops == label).any(dim=1).float().mean()) for label in range(10)]
    assert about["support"]["histogram"] == pytest.approx(expected)
    assert about["support"]["top_share"] == pytest.approx(max(expected))
    assert sum(expected) == pytest.approx(2)


def test_the_support_is_logged_with_the_loss_and_once_an_epoch(
    small: dict[str, Any], few: ImageSet, net: Net, make_run: MakeRun
) -> None:
    run = make_run("run", log_every=2)
    AST(**small).run(model=net(), data=few, run=run)
    shares = [entry["metrics"]["top_support"] for entry in run.events if entry["phase"] == "fit"]
    assert len(shares) == 5
    assert all(0.2 <= share <= 1 for share in shares)
    epochs = [(entry["step"], set(entry["metrics"])) for entry in run.events if entry["phase"] == "support"]
    each = {f"share_{label}" for label in range(10)}
    assert epochs == [(epoch, {"share", "class", "warning", *each}) for epoch in (1, 2, 3)]


def test_a_constant_decoy_is_warned_of(run: Run) -> None:
    support = Support(4, keep=2, run=run, steps_per_epoch=2)
    support.restore(0, {})
    often = torch.tensor([[True, False, True, False], [True, True, False, False]])
    assert float(support.add(often)) == 1.0
    state = support.state(1)
    assert float(support.add(~often)) == 0.5
    support.restore(1, state)
    support.add(often)
    assert support.remark() == ""
    support.epoch_ended(0, nn.Identity(), torch.optim.SGD([nn.Parameter(torch.zeros(1))]))
    assert support.remark() == "targets keep class 0 (100%)"
    support.add(torch.stack([often[0], ~often[0]]))
    support.epoch_ended(1, nn.Identity(), torch.optim.SGD([nn.Parameter(torch.zeros(1))]))
    assert support.remark() == ""
    logged = [entry["metrics"] for entry in run.events if entry["phase"] == "support"]
    even = {f"share_{label}": 0.5 for label in range(4)}
    assert logged[0] == {"share": 1.0, "class": 0, "warning": 1.0, **even, "share_0": 1.0, "share_3": 0.0}
    assert logged[1] == {"share": 0.5, "class": 0, "warning": 0.0, **even}
    again = Support(4, keep=2, run=run, steps_per_epoch=2)
    again.restore(2, {})
    assert again.remark() == "targets keep class 0 (100%)"
    found = support_facts([0.81, 0.79, 0.4, 0.0], adversarial_rows=100, keep=2)
    assert found["support"]["warning"]
    assert "Class 0 is among the 2" in found["notes"][0]
    calm = support_facts([0.5, 0.5, 0.8, 0.2], adversarial_rows=100, keep=2)
    assert not calm["support"]["warning"]
    assert calm["notes"] == []


def test_the_warning_is_shown_beside_the_loss_from_the_first_epoch_on(
    small: dict[str, Any], few: ImageSet, net: Net, make_run: MakeRun
) -> None:
    notes: list[str] = []

    class Noting(Silent):
        def track(self, phase: str, total: int, done: int, unit: str) -> "Noting":  # noqa: ARG002
            return self

        def update(self, done: int, note: str = "") -> None:  # noqa: ARG002
            notes.append(note)

    run = make_run("run", log_every=1)
    run.progress = Noting()
    AST(**small, k=10).run(model=net(), data=few, run=run)  # all classes, always
    shown = [note.endswith("targets keep class 0 (100%)") for note in notes if note.startswith("loss")]
    assert shown == [False] * 2 + [True] * 7


def test_killed_in_the_last_phase_it_goes_on_to_the_same_weights_and_log(
    small: dict[str, Any], few: ImageSet, net: Net, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = make_run("whole", log_every=2), make_run("cut", log_every=2, checkpoint_seconds=1e-9)
    expected = AST(**small).run(model=net(), data=few, run=whole)
    real, calls = torch.optim.SGD.step, []

    def power_cut(self: torch.optim.SGD, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return real(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.SGD, "step", power_cut)
        with pytest.raises(KeyboardInterrupt):
            AST(**small).run(model=net(), data=few, run=cut)
    resumed = AST(**small).run(model=net(), data=few, run=cut)
    assert digest(resumed.model.state_dict()) == digest(expected.model.state_dict())
    assert resumed.facts == expected.facts
    logs = [[(e["phase"], e["step"], e["metrics"]) for e in each.events] for each in (cut, whole)]
    assert logs[0] == logs[1]


def test_a_loss_that_turns_nan_stops_at_its_step_and_keeps_the_last_good_checkpoint(
    small: dict[str, Any], few: ImageSet, net: Net, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run("run", log_every=1, checkpoint_seconds=1e-9)
    real, calls = module.ast_loss, []

    def breaking(*arguments: Any, **settings: Any) -> dict[str, Tensor]:
        calls.append(1)
        scalars = real(*arguments, **settings)
        return {**scalars, "loss": scalars["loss"] * (torch.nan if len(calls) >= 5 else 1.0)}

    monkeypatch.setattr(module, "ast_loss", breaking)
    with pytest.raises(DivergenceError, match=r"(?s)loss became NaN.*phase fit.*before step 5"):
        AST(**small).run(model=net(), data=few, run=run)
    tensors, meta = load_tensors(run.folder / "checkpoint" / "fit.safetensors")
    assert meta["step"] == 4
    assert all(value.isfinite().all() for name, value in tensors.items() if name.startswith("model."))


@pytest.mark.parametrize(
    "wrong",
    [
        {"k": 0}, {"temperature": 0.0}, {"temperature": -1.0}, {"alpha": 1.01}, {"alpha": -0.01}, {"divergence": "js"},
        {"pairing": "shuffled"}, {"attack_steps": -1}, {"epsilon": 2.0, "coordinates": "pixels"},
        {"box": "unit", "coordinates": "pixels"}, {"epsilon": "8/0"},
    ],
)  # fmt: skip
def test_values_out_of_bounds_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        AST.checked(wrong, where="options")


def test_more_classes_in_the_target_than_there_are_is_refused(
    small: dict[str, Any], few: ImageSet, net: Net, run: Run
) -> None:
    assert AST(**small, k=10).run(model=net(), data=few, run=run).facts["resistance"]["support"]["top_share"] == 1
    with pytest.raises(ConfigError, match="k is 11, and there are 10 classes"):
        AST(**small, k=11).run(model=net(), data=few, run=run)


@pytest.mark.parametrize(("replaced", "what"), [({"classes": 7}, "classes"), ({"input_shape": (1, 9, 9)}, "shape")])
def test_a_reference_that_does_not_fit_is_refused(
    replaced: dict[str, Any], what: str, small: dict[str, Any], few: ImageSet, net: Net, run: Run
) -> None:
    with pytest.raises(ConfigError, match=f"the reference teacher has .*{what}"):
        AST(**small).run(model=net(**replaced), data=few, run=run)


def test_several_processes_are_refused(small: dict[str, Any], few: ImageSet, net: Net, run: Run) -> None:
    run.world = 2
    with pytest.raises(ConfigError, match="in one process"):
        AST(**small).run(model=net(), data=few, run=run)


def test_presets_with_the_papers_products() -> None:
    products = {name: AST.preset(name).about()["alpha_t2"] for name in AST.presets() if name.startswith("paper")}
    expected = {"paper_cifar10": 1.8, "paper_cifar100_resnet18": 31.5, "paper_cifar100_resnet50": 27.0}
    assert products == pytest.approx(expected)
    assert {AST.preset(name).box for name in AST.presets() if name.startswith("official")} == {"unit"}
    schedule = AST.paper_cifar10().fit
    assert [schedule.rate(epoch, 160) for epoch in (0, 79, 80, 120)] == pytest.approx([0.1, 0.1, 0.01, 0.001])
