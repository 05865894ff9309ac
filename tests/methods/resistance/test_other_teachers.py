"""Nasty, Stingy, CMIM and the misinformer: what they train, what they leave alone, what they are at their limits."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from understudy.data import ImageSet, as_float
from understudy.errors import ConfigError, DivergenceError
from understudy.methods import protector
from understudy.methods.baseline.supervised import Supervised
from understudy.methods.resistance import nasty_teacher
from understudy.methods.resistance.cmim import CMIM, Means, class_means, conditional_mutual_information
from understudy.methods.resistance.misinformer import Misinformer
from understudy.methods.resistance.nasty_teacher import NastyTeacher
from understudy.methods.resistance.stingy_teacher import StingyTeacher
from understudy.models import Classifier, resolve_model, save_model
from understudy.runs.files import write_json
from understudy.runs.run import Run
from understudy.runs.tensors import digest, load_tensors
from understudy.targets.class_defences import parse_class_defences, serve
from understudy.training import Recipe

MakeRun = Callable[..., Run]
Net = Callable[..., Classifier]


@pytest.fixture
def small(recipe: Recipe, reference: str) -> dict[str, Any]:
    """Values with which a run takes no time."""
    return {"fit": recipe, "reference": reference}


def supervised(net: Net, data: ImageSet, recipe: Recipe, run: Run) -> Classifier:
    model = net()
    Supervised(fit=recipe).run(model=model, data=data, run=run)
    return model


def logits(model: Classifier, data: ImageSet) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(as_float(data.images))


def test_nasty_without_weight_is_ordinary_training_to_the_last_bit(
    small: dict[str, Any], few: ImageSet, net: Net, make_run: MakeRun, reference: str
) -> None:
    plain = supervised(net, few, small["fit"], make_run("plain"))
    before = digest(resolve_model(reference).state_dict())
    ours = net()
    outcome = NastyTeacher(**small, omega=0.0).run(model=ours, data=few, run=make_run("ours"))
    assert digest(ours.state_dict()) == digest(plain.state_dict())
    ordinary = outcome.controls["ordinary"]
    assert digest(ordinary.state_dict()) == before
    assert not any(part.training for part in ordinary.modules())


def test_a_reference_in_train_mode_is_switched_to_eval_mode(
    small: dict[str, Any], few: ImageSet, net: Net, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With BatchNorm the two modes differ."""

    def trained(name: str) -> Classifier:
        model = net()
        ordinary = NastyTeacher(**small, omega=0.2).run(model=model, data=few, run=make_run(name)).controls["ordinary"]
        assert not any(part.training for part in ordinary.modules())
        return model

    expected = digest(trained("eval").state_dict())
    handed: list[Classifier] = []

    def in_train_mode(spec: str, **facts: Any) -> Classifier:
        handed.append(resolve_model(spec, **facts).train())
        return handed[-1]

    monkeypatch.setattr(protector, "resolve_model", in_train_mode)
    assert digest(trained("train").state_dict()) == expected
    assert handed


def test_a_nasty_loss_that_turns_nan_stops_at_its_step_and_keeps_the_last_good_checkpoint(
    small: dict[str, Any], few: ImageSet, net: Net, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run("run", log_every=1, checkpoint_seconds=1e-9)
    real, calls = nasty_teacher.nasty_loss, []

    def breaking(*arguments: Any, **settings: Any) -> dict[str, torch.Tensor]:
        calls.append(1)
        scalars = real(*arguments, **settings)
        return {**scalars, "loss": scalars["loss"] * (torch.nan if len(calls) >= 5 else 1.0)}

    monkeypatch.setattr(nasty_teacher, "nasty_loss", breaking)
    with pytest.raises(DivergenceError, match=r"(?s)loss became NaN.*phase fit.*before step 5"):
        NastyTeacher(**small).run(model=net(), data=few, run=run)
    tensors, meta = load_tensors(run.folder / "checkpoint" / "fit.safetensors")
    assert meta["step"] == 4
    assert all(value.isfinite().all() for name, value in tensors.items() if name.startswith("model."))


def test_a_reference_that_is_protected_itself_is_refused(small: dict[str, Any], net: Net, tmp_path: Path) -> None:
    card = {"method": "nasty_teacher", "resistance": {"omega": 0.04}}
    save_model(net(7), tmp_path / "carded", about=card)
    save_model(net(7), tmp_path / "run" / "model", about={})
    write_json(tmp_path / "run" / "result.json", {"method": "nasty_teacher", "family": "resistance"})
    for place in ("carded", "run"):
        values = {**small, "reference": str(tmp_path / place)}
        with pytest.raises(ConfigError, match=r"(?s)is protected itself.*nasty_teacher.*control/ordinary"):
            NastyTeacher(**values).check_model(net())
    save_model(net(7), tmp_path / "control" / "model", about={**card, "control": "ordinary"})
    NastyTeacher(**{**small, "reference": str(tmp_path / "control")}).check_model(net())


def test_nasty_moves_away_from_its_reference(
    small: dict[str, Any], few: ImageSet, net: Net, make_run: MakeRun, reference: str
) -> None:
    """At T = 4 the divergence from the reference is what the loss buys."""

    def divergence(omega: float) -> float:
        model = net()
        values = {**small, "fit": small["fit"].model_copy(update={"epochs": 20}), "omega": omega}
        outcome = NastyTeacher(**values).run(model=model, data=few, run=make_run(f"omega {omega}"))
        assert outcome.facts["resistance"]["omega_t2"] == pytest.approx(16 * omega)
        ours, theirs = (torch.log_softmax(logits(each, few) / 4, dim=1) for each in (model, resolve_model(reference)))
        return float((ours.exp() * (ours - theirs)).sum(dim=1).mean())

    assert divergence(0.2) > 2 * divergence(0.0)


def ramp_of(
    method: NastyTeacher, data: ImageSet, model: Classifier, run: Run, patch: pytest.MonkeyPatch
) -> list[float]:
    caught: list[Any] = []
    patch.setattr(NastyTeacher, "train", lambda *_, batch_at, **__: caught.append(batch_at))
    method.run(model=model, data=data, run=run)
    return [caught[0](step).ramp for step in range(9)]


def test_the_ramp_grows_over_its_epochs(
    small: dict[str, Any], few: ImageSet, net: Net, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    ramped = ramp_of(NastyTeacher(**small, ramp_epochs=2), few, net(), make_run("ramp"), monkeypatch)
    assert ramped == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1, 1, 1, 1])
    assert ramp_of(NastyTeacher(**small), few, net(), make_run("none"), monkeypatch) == [1.0] * 9


def test_gradients_are_cut_to_the_length_given(
    small: dict[str, Any], few: ImageSet, net: Net, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, lengths = torch.optim.SGD.step, []

    def measured(self: torch.optim.SGD, *arguments: Any) -> Any:
        grads = [p.grad.flatten() for group in self.param_groups for p in group["params"] if p.grad is not None]
        lengths.append(float(torch.cat(grads).norm()))
        return real(self, *arguments)

    monkeypatch.setattr(torch.optim.SGD, "step", measured)
    NastyTeacher(**small, omega=0.2).run(model=net(), data=few, run=make_run("free"))
    longest = max(lengths)
    lengths.clear()
    NastyTeacher(**small, omega=0.2, clip_norm=longest / 3).run(model=net(), data=few, run=make_run("cut"))
    assert max(lengths) == pytest.approx(longest / 3, rel=1e-4)


def test_head_only_leaves_everything_else_of_the_reference(
    small: dict[str, Any], few: ImageSet, net: Net, make_run: MakeRun, reference: str
) -> None:
    model = net()
    NastyTeacher(**small, head_only=True).run(model=model, data=few, run=make_run("head"))
    theirs = resolve_model(reference).state_dict()
    changed = [name for name, value in model.state_dict().items() if not torch.equal(value, theirs[name])]
    assert changed == ["net.head.weight", "net.head.bias"]
    assert all(parameter.requires_grad for parameter in model.parameters())
    with pytest.raises(ConfigError, match="the weights of the reference are those of"):
        NastyTeacher(**small, head_only=True).run(
            model=net(spec="mlp:norm=batch,widths=20"), data=few, run=make_run("other")
        )


@pytest.mark.parametrize(
    "wrong", [{"omega": -0.1}, {"temperature": 0.0}, {"clip_norm": 0.0}, {"kl_cap": 0.0}, {"ramp_epochs": -1}]
)
def test_nasty_values_out_of_bounds_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        NastyTeacher.checked(wrong, where="options")


def test_stingy_is_the_reference_and_says_how_it_is_served(
    small: dict[str, Any], few: ImageSet, net: Net, make_run: MakeRun, reference: str
) -> None:
    model = net()
    outcome = StingyTeacher(**small).run(model=model, data=few, run=make_run("given"))
    assert digest(model.state_dict()) == digest(resolve_model(reference).state_dict())
    assert outcome.facts["serving"] == "top_k:2"
    assert outcome.controls["ordinary"] is model  # for whoever wants to compare with it undefended
    assert StingyTeacher(**small).cost(model, rows=101)["training_steps"] == 0
    alone = net()
    StingyTeacher(fit=small["fit"]).run(model=alone, data=few, run=make_run("alone"))
    plain = supervised(net, few, small["fit"], make_run("plain"))
    assert digest(alone.state_dict()) == digest(plain.state_dict())


def test_stingy_answers_keep_the_top_class_for_every_k(
    small: dict[str, Any], few: ImageSet, net: Net, make_run: MakeRun
) -> None:
    for k in range(1, 11):
        model = net()
        outcome = StingyTeacher(**small, k=k).run(model=model, data=few, run=make_run(f"k {k}"))
        raw = logits(model, few)
        chain = parse_class_defences(outcome.facts["serving"])
        served = serve(chain, raw, images=None, keys=torch.arange(101), seed=0, memory={})
        assert torch.equal(served.argmax(dim=1), raw.argmax(dim=1))
        assert ((served > 0).sum(dim=1) <= k).all()
        assert served.isfinite().all()


@pytest.mark.parametrize(("ratio", "classes", "kept"), [(0.2, 10, 2), (0.29, 100, 29), (0.1, 200, 20), (0.01, 10, 1)])
def test_stingy_ratios_are_rounded_down_but_for_binary_rounding(ratio: float, classes: int, kept: int) -> None:
    assert StingyTeacher(ratio=ratio).kept(classes) == kept


def test_impossible_numbers_of_stingy_classes_are_refused(
    small: dict[str, Any], few: ImageSet, net: Net, run: Run
) -> None:
    with pytest.raises(ConfigError, match="k is 11, and there are 10 classes"):
        StingyTeacher(**small, k=11).run(model=net(), data=few, run=run)
    for wrong in ({"k": 0}, {"ratio": 0.0}, {"ratio": 1.5}):
        with pytest.raises(ConfigError):
            StingyTeacher.checked(wrong, where="options")


def test_cmim_draws_the_answers_to_a_class_together(
    small: dict[str, Any], few: ImageSet, net: Net, make_run: MakeRun
) -> None:
    def spread(weight: float) -> float:
        model = net()
        CMIM(**small, weight=weight).run(model=model, data=few, run=make_run(f"weight {weight}"))
        raw = logits(model, few)
        means, _ = class_means(torch.softmax(raw, dim=1), few.labels)
        return float(conditional_mutual_information(raw, few.labels, means))

    assert spread(5.0) < 0.8 * spread(0.0)


def test_cmim_trains_a_control_only_where_it_is_wanted(
    small: dict[str, Any], few: ImageSet, net: Net, make_run: MakeRun
) -> None:
    run = make_run("without")
    method = CMIM(fit=small["fit"], control=False)
    assert method.run(model=net(), data=few, run=run).controls == {}
    assert {entry["phase"] for entry in run.events} == {"fit"}
    assert method.cost(net(), rows=101)["training_steps"] == 9
    assert CMIM(fit=small["fit"]).cost(net(), rows=101)["training_steps"] == 18
    outcome = CMIM(**small).run(model=net(), data=few, run=make_run("given"))
    assert "ordinary" in outcome.controls


def test_class_means_run_over_batches_and_stay_where_a_class_is_absent() -> None:
    """Against a slow record of every class."""
    generator = np.random.default_rng(2)
    means = Means((1.0, 4.0), classes=4, momentum=0.75, device=torch.device("cpu"))
    slow: dict[tuple[float, int], Any] = {}
    for _ in range(6):
        z = generator.normal(size=(5, 4)).astype(np.float32)
        labels = generator.integers(0, 3, size=5)
        found = means.move(torch.from_numpy(z), torch.from_numpy(labels))
        for place, temperature in enumerate((1.0, 4.0)):
            p = np.exp(z / temperature) / np.exp(z / temperature).sum(axis=1, keepdims=True)
            for label in set(labels.tolist()):
                mean = p[labels == label].mean(axis=0)
                before = slow.get((temperature, label))
                slow[temperature, label] = mean if before is None else 0.75 * before + 0.25 * mean
            for label in range(4):
                expected = slow.get((temperature, label), np.zeros(4))
                np.testing.assert_allclose(found[place, label].numpy(), expected, rtol=0, atol=1e-6)
    again = Means((1.0, 4.0), classes=4, momentum=0.75, device=torch.device("cpu"))
    again.restore(6, copy.deepcopy(means.state(6)))
    assert all(torch.equal(value, again.state(6)[name]) for name, value in means.state(6).items())


def test_the_misinformer_is_wrong(few: ImageSet, net: Net, run: Run, recipe: Recipe) -> None:
    model = net()
    outcome = Misinformer(fit=recipe.model_copy(update={"epochs": 10})).run(model=model, data=few, run=run)
    assert float((logits(model, few).argmax(dim=1) == few.labels).float().mean()) < 0.05
    assert outcome.facts["resistance"]["role"] == "misleader"
