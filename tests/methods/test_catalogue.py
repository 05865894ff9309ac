"""One contract for all methods: every name of the catalogue is run through it, before its author writes a line."""

import inspect
import json
import tomllib
from collections.abc import Callable
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import torch
from pydantic import BaseModel, ValidationError

from understudy import catalogue
from understudy.bank import Bank
from understudy.data import ImageSet
from understudy.errors import ConfigError
from understudy.methods.extractor import Extractor
from understudy.methods.method import Access, Method, Outcome
from understudy.models import Classifier, build_encoder, build_model, encoder_of, save_model
from understudy.runs.run import Run, without_none
from understudy.runs.tensors import digest
from understudy.targets import Endpoint, Ledger, ModuleTarget
from understudy.training import Recipe

MakeRun = Callable[..., Run]
Given = Callable[[str], dict[str, Any]]

EVERY = sorted(catalogue.METHODS)
# Methods on text take other things and are run through a contract of their own, in tests/methods/adapters.
NAMES = [name for name in EVERY if catalogue.METHODS[name].makes != "text"]

RECIPE = Recipe(epochs=5, batch_size=64, learning_rate=0.05)
ROBUST: dict[str, object] = {
    "epsilon": 0.1, "step_size": 0.05, "attack_steps": 2, "crop_padding": 0, "flip": False,
    "fit": Recipe(epochs=2, batch_size=128, learning_rate=0.1),
}  # fmt: skip
PROTECT: dict[str, object] = {"fit": Recipe(epochs=4, batch_size=64, learning_rate=0.05)}
ATTACK: dict[str, object] = {"crop_padding": 1, "held_out_frac": 0.1}
# What makes a method small enough to be run here; a new one may need a line of its own.
TINY: dict[str, dict[str, object]] = {
    "cake": {"sets": 4, "samples_per_set": 100, "steps": 10, "tv_weight": 1e3, "held_out_frac": 0.1},
    "bad_encoder": {"patch_size": 3, "patch_margin": 0},
    "rda": {"images": 128, "views": 2, "surrogate_views": 2, "no_query_control": False},
    **{name: {"images": 128, "no_query_control": False} for name in ("conventional", "stolen_encoder", "cont_steal")},
    "no_query": {"images": 512},
    "random_surrogate": {"images": 128},
    **{name: ROBUST for name, entry in catalogue.METHODS.items() if entry.family == "robust"},
    "iad": {**ROBUST, "warm_up": 1},
    **{name: PROTECT for name, entry in catalogue.METHODS.items() if entry.family == "resistance"},
    **{name: ATTACK for name, entry in catalogue.METHODS.items() if entry.family == "attackers"},
    "recovery": {**ATTACK, "regression_steps": 20},
    "adversarial_sparse_teacher": {**PROTECT, "attack_steps": 2, "step_size": 0.1},
}
IDLE = ("random_surrogate",)  # a control that trains nothing


def tiny(name: str) -> Any:
    return catalogue.load(name)(**{"fit": RECIPE, **TINY.get(name, {})})


@pytest.fixture(autouse=True, scope="module")
def _second_teacher(digits_teacher: Classifier, tmp_path_factory: pytest.TempPathFactory) -> None:
    """MTARD needs a natural teacher by name."""
    folder = tmp_path_factory.mktemp("natural") / "model"
    save_model(digits_teacher, folder, about={})
    TINY["mtard"] = {**ROBUST, "natural_teacher": str(folder)}


@pytest.fixture
def given(digits: tuple[ImageSet, ImageSet], digits_teacher: Classifier, tmp_path: Path) -> Given:
    """Return a function that gives a method what its entry says it needs: fresh networks, and data where it may."""
    ledgers = count()

    def endpoint(method: Extractor) -> Endpoint:
        target = ModuleTarget(digits_teacher)
        ledger = Ledger(tmp_path / f"ledger-{next(ledgers)}.sqlite", target=target.identity, width=target.width)
        return Endpoint(target, ledger, normalise=method.normalise_answers, replay=method.replay)

    def given(name: str) -> dict[str, Any]:
        entry, data = catalogue.entry(name), digits[0]
        facts: dict[str, Any] = {"input_shape": data.shape, "mean": data.mean, "std": data.std, "seed": 1}
        found: dict[str, Any] = {"data": data.take(torch.arange(640))} if entry.data else {}
        if entry.verb == "extract":
            width = encoder_of(digits_teacher).width
            surrogate = build_encoder("cnn:widths=4-8", width=width, **facts)
            return {**found, "endpoint": endpoint(tiny(name)), "surrogate": surrogate}
        if entry.makes == "encoder":
            return {**found, "model": build_encoder("cnn:widths=4-8", **facts)}
        network = build_model("cnn:widths=4-8", classes=10, **facts)
        if entry.verb in ("train", "protect"):
            return {**found, "model": network}
        return {**found, "teacher": digits_teacher, "student": network}

    return given


def trained_network(things: dict[str, Any]) -> Any:
    """Return the network that a method is to train, whatever it calls it."""
    return next(things[role] for role in ("model", "student", "surrogate") if role in things)


@pytest.mark.parametrize("name", NAMES)
def test_the_entry_tells_the_truth(name: str) -> None:
    entry, cls = catalogue.entry(name), catalogue.load(name)
    assert issubclass(cls, Method)
    assert cls.fidelity == entry.fidelity
    assert cls.needs_data is entry.data
    if entry.verb == "extract":
        assert cls.requires.value == "embeddings"
    elif entry.verb == "distil":
        asks = getattr(cls, "asks", True)  # a control may ask no teacher at all
        assert entry.access == (cls.requires.name.lower().replace("_", "-") if asks else "none")
    assert isinstance(cls.requires, Access)
    assert entry.summary.endswith(".")
    assert f".{entry.family}." in f"{cls.__module__}."
    roles = {
        "train": {"model"},
        "protect": {"model"},
        "distil": {"teacher", "student"},
        "extract": {"endpoint", "surrogate"},
    }
    wanted = roles[entry.verb] | ({"data"} if entry.data else set())
    assert wanted | {"run"} <= inspect.signature(cls.run).parameters.keys()


@pytest.mark.parametrize("name", EVERY)
def test_source_and_fidelity_are_written_down(name: str) -> None:
    cls = catalogue.load(name)
    module = inspect.getdoc(import_module(cls.__module__)) or ""
    assert f"Fidelity: {cls.fidelity}" in module
    paper = catalogue.entry(name).paper.rpartition("arXiv ")[2]
    assert paper in module
    assert paper in (inspect.getdoc(cls) or "")


@pytest.mark.parametrize("name", EVERY)
def test_hyperparameters_are_explained_frozen_and_closed(name: str) -> None:
    cls = catalogue.load(name)
    method = cls()
    for field, info in cls.model_fields.items():
        assert info.description, f"{field} has no docstring"
        assert not info.is_required(), f"{field} has no default"
    with pytest.raises(ValidationError, match="frozen"):
        setattr(method, next(iter(cls.model_fields)), 1)
    with pytest.raises(ConfigError, match="is no option here"):
        cls.checked({"no_such_option": 1}, where="options")


@pytest.mark.parametrize("name", EVERY)
def test_numbers_are_bounded(name: str) -> None:
    """No number may be NaN, nor a minus million, unless a field says that any value makes sense."""
    cls = catalogue.load(name)
    free = {"start_mean"}
    for field, info in cls.model_fields.items():
        default = info.default
        if isinstance(default, bool | str | tuple | BaseModel) or field in free:
            continue
        for wrong in (float("nan"), -1e6):
            with pytest.raises(ConfigError, match=field):
                cls.checked({field: wrong}, where="options")


@pytest.mark.parametrize("name", EVERY)
def test_presets_are_valid_and_survive_a_configuration_file(name: str) -> None:
    cls = catalogue.load(name)
    presets = cls.presets()
    common = "reviews" if catalogue.entry(name).makes == "text" else "digits"
    assert common in presets
    for title, make in presets.items():
        method = make()
        assert inspect.getdoc(make), f"{title} has no docstring"
        text = tomli_w.dumps(without_none(method.model_dump(mode="json")))
        assert cls.checked(tomllib.loads(text), where="config.toml") == method
    with pytest.raises(ConfigError, match=f"did you mean '{common}'"):
        cls.preset(f"{common[:-1]}z")


@pytest.mark.parametrize("name", NAMES)
def test_costs_are_known_before_a_run(name: str, given: Given) -> None:
    cost = tiny(name).cost(trained_network(given(name)), rows=640)
    assert {"training_steps", "parameters"} <= cost.keys()
    assert all(isinstance(value, int) and value >= 0 for value in cost.values())
    assert (cost["training_steps"] > 0) is (name not in IDLE)


@pytest.mark.parametrize("name", NAMES)
def test_a_run_learns_and_touches_nothing_else(
    name: str, make_run: MakeRun, given: Given, digits_teacher: Classifier
) -> None:
    """The network given is the one that is trained; teacher, data and the global random stream stay as they were."""
    things, run = given(name), make_run("run", log_every=2)
    network = trained_network(things)
    before, teacher = digest(network.state_dict()), digest(digits_teacher.state_dict())
    images = things["data"].images.clone() if "data" in things else None
    torch.manual_seed(11)
    state = torch.random.get_rng_state()
    outcome = tiny(name).run(run=run, **things)
    assert isinstance(outcome, Outcome)
    assert outcome.model is network
    assert (digest(network.state_dict()) != before) is (name not in IDLE)
    assert not any(module.training for module in network.net.modules())
    assert digest(digits_teacher.state_dict()) == teacher
    assert torch.equal(torch.random.get_rng_state(), state)
    if images is not None:
        assert torch.equal(things["data"].images, images)
    if name in IDLE:
        return
    entries = [entry for entry in run.events if entry["phase"] == "fit"]
    assert entries[-1]["metrics"]["loss"] < entries[0]["metrics"]["loss"]
    json.dumps(outcome.facts, allow_nan=False)


@pytest.mark.parametrize("name", NAMES)
def test_seeds_decide_everything(name: str, make_run: MakeRun, given: Given) -> None:
    def trained(folder: str, seed: int) -> str:
        return digest(tiny(name).run(run=make_run(folder, seed=seed), **given(name)).model.state_dict())

    assert trained("one", 0) == trained("two", 0)
    assert (trained("one-more", 0) != trained("three", 1)) is (name not in IDLE)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in IDLE])
def test_stopped_in_training_and_resumed_is_the_same(
    name: str, make_run: MakeRun, given: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = make_run("whole"), make_run("cut", checkpoint_seconds=1e-9)
    expected = tiny(name).run(run=whole, **given(name))
    real, calls = torch.optim.SGD.step, []

    def power_cut(self: torch.optim.SGD, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.SGD, "step", power_cut)
        with pytest.raises(KeyboardInterrupt):
            tiny(name).run(run=cut, **given(name))
    resumed = tiny(name).run(run=cut, **given(name))
    assert digest(resumed.model.state_dict()) == digest(expected.model.state_dict())
    logs = [[(e["phase"], e["step"], e["metrics"]) for e in each.events] for each in (cut, whole)]
    assert logs[0] == logs[1]


def test_methods_without_data_keep_a_bank_of_what_they_drew(run: Run, given: Given) -> None:
    for name in NAMES:
        if catalogue.entry(name).family == "data_free":
            tiny(name).run(run=run, **given(name))
            assert len(Bank(run.folder / "bank")) == tiny(name).cost(given(name)["student"], rows=None)["samples"]


def test_names_that_are_not_there_list_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'cake'"):
        catalogue.entry("cakes")
    with pytest.raises(ConfigError, match="use `understudy distil cake`"):
        catalogue.entry("cake", verb="train")
