"""Whole runs of every method: what they ask, what they resume from, what their controls are, and that they copy."""

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from understudy.data import ImageSet
from understudy.errors import BudgetExhausted, ConfigError, ShapeError, TargetError
from understudy.evaluation.features import embed
from understudy.losses import row_cosine
from understudy.methods.extraction.cont_steal import ContSteal
from understudy.methods.extraction.conventional import Conventional
from understudy.methods.extraction.no_query import NoQuery
from understudy.methods.extraction.random_surrogate import RandomSurrogate
from understudy.methods.extraction.rda import RDA
from understudy.methods.extraction.stolen_encoder import StolenEncoder
from understudy.methods.extractor import DIGITS, Extractor
from understudy.models import Encoder
from understudy.runs.options import RunOptions
from understudy.runs.run import Run
from understudy.runs.tensors import digest
from understudy.training import Recipe

MakeRun = Callable[..., Run]

RECIPE = Recipe(epochs=3, batch_size=8, optimiser="adam", learning_rate=1e-3, weight_decay=1e-4, schedule="constant")
TINY: dict[str, Any] = {**DIGITS, "images": 20, "fit": RECIPE}
CALM: dict[str, Any] = {**TINY, "no_query_control": False}
METHODS: dict[str, Extractor] = {
    "rda": RDA(**CALM, views=3, surrogate_views=2),
    "rda of one view": RDA(**CALM, views=1, surrogate_views=1, loss="mse"),
    "conventional": Conventional(**CALM),
    "conventional uncached": Conventional(**CALM, cached=False, raw_answers=True),
    "stolen encoder": StolenEncoder(**CALM),
    "stolen encoder of its authors": StolenEncoder(**CALM, loss="norm", surrogate_views=2),
    "cont-steal": ContSteal(**CALM, surrogate_views=2),
    "cont-steal of its authors": ContSteal(**CALM, loss="nt_xent", shared_view=True),
    "cont-steal cached": ContSteal(**CALM, cached_views=2),
}


@pytest.fixture(scope="module")
def carry_out(watch: Any, open_endpoint: Any, new_surrogate: Any, pool: ImageSet) -> Callable[..., Any]:
    """Return a function that runs a method in a folder, from the same start, and gives outcome and endpoint."""

    def carry_out(
        method: Extractor,
        run: Run,
        *,
        target: Any = None,
        budget: int | None = None,
        width: int | None = 32,
        **options: Any,
    ) -> Any:
        endpoint = open_endpoint(method, target or watch(), run, budget, **options)
        return method.run(endpoint=endpoint, surrogate=new_surrogate(width), data=pool, run=run), endpoint

    return carry_out


@pytest.fixture(scope="module")
def whole(carry_out: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Any, Any, Run]]:
    """Return a function that gives the undisturbed run of a method of the table: outcome, endpoint and run."""

    @cache
    def whole(name: str) -> tuple[Any, Any, Run]:
        run = Run(tmp_path_factory.mktemp("whole") / "run", {}, RunOptions(device="cpu"))
        return (*carry_out(METHODS[name], run), run)

    return whole


def weights(outcome: Any) -> str:
    return digest(outcome.model.state_dict())


def log(run: Run) -> list[Any]:
    return [(entry["phase"], entry["step"], entry["metrics"]) for entry in run.events]


@pytest.mark.parametrize("name", METHODS)
def test_a_run_asks_what_it_planned_and_changes_the_surrogate_alone(
    name: str, whole: Any, new_surrogate: Any, pool: ImageSet
) -> None:
    """Property 1 on the ledger, and what goes into `result.json`."""
    method, images = METHODS[name], pool.images.clone()
    outcome, endpoint, run = whole(name)
    plan = method.plan(len(pool), None)
    assert endpoint.counts().rows == endpoint.target.rows == plan.queries
    rows = plan.steps * 8 * method.rows_per_image
    assert outcome.facts == {
        "images": 20, "queries": plan.queries, "partial": False, "note": None, "steps": 6, "surrogate_rows": rows,
    }  # fmt: skip
    start = digest(new_surrogate().state_dict())
    assert weights(outcome) != start
    assert list(outcome.controls) == ["random"]
    assert digest(outcome.controls["random"].state_dict()) == start
    for network in (outcome.model, outcome.controls["random"]):
        assert not any(module.training for module in network.modules())
    assert torch.equal(pool.images, images)
    last = log(run)[-1][2]
    wanted = {"loss", "cos_mean"} | ({"discriminate", "align", "amp_mean", "floored"} if "rda" in name else set())
    assert wanted <= last.keys()


@pytest.mark.parametrize("name", [name for name in METHODS if " of " not in name])
def test_stopped_in_training_it_ends_in_the_same_weights_and_pays_nothing_twice(
    name: str, make_run: MakeRun, carry_out: Any, whole: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Property 17, and the ledger's promise: a step that was asked about before is answered from file."""
    method, cut = METHODS[name], make_run("cut", checkpoint_seconds=1e-9)
    expected, _, undisturbed = whole(name)
    real, calls = torch.optim.Adam.step, []

    def power_cut(self: torch.optim.Adam, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.Adam, "step", power_cut)
        with pytest.raises(KeyboardInterrupt):
            carry_out(method, cut)
    found, endpoint = carry_out(method, cut, budget=expected.facts["queries"])
    assert weights(found) == weights(expected)
    assert found.facts == expected.facts
    assert log(cut) == log(undisturbed)
    assert endpoint.counts().rows == expected.facts["queries"]


@pytest.mark.parametrize("name", ["rda", "conventional uncached", "cont-steal"])
def test_a_target_that_fails_can_be_gone_on_with(
    name: str, make_run: MakeRun, carry_out: Any, whole: Any, watch: Any
) -> None:
    method, cut, expected = METHODS[name], make_run("cut"), whole(name)[0]
    with pytest.raises(TargetError, match="no power"):
        carry_out(method, cut, target=watch(raises=OSError("no power"), at=3))
    found, endpoint = carry_out(method, cut, budget=expected.facts["queries"])
    assert weights(found) == weights(expected)
    assert endpoint.counts().rows == expected.facts["queries"]


@pytest.mark.parametrize("name", ["rda", "conventional", "stolen encoder", "cont-steal cached"])
def test_training_does_not_need_the_target(
    name: str, make_run: MakeRun, carry_out: Any, whole: Any, watch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Property 2: after gathering, a target that raises at its first call changes nothing."""
    method, cut, expected = METHODS[name], make_run("cut"), whole(name)[0]
    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.Adam, "step", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            carry_out(method, cut)
    found, _ = carry_out(method, cut, target=watch(raises=AssertionError("asked in training")))
    assert weights(found) == weights(expected)


@pytest.mark.parametrize("cls", [RDA, Conventional, StolenEncoder, ContSteal])
def test_the_function_that_trains_on_a_bank_is_not_given_the_endpoint(cls: type[Extractor]) -> None:
    assert "endpoint" not in inspect.signature(cls.train).parameters


@pytest.mark.parametrize("name", ["rda", "cont-steal"])
def test_seeds_decide_everything(name: str, make_run: MakeRun, carry_out: Any, whole: Any) -> None:
    """Property 17: prototypes, log and weights of one seed are the same bytes; those of another are others."""
    first, _, run = whole(name)
    runs = [run, make_run("same"), make_run("other", seed=1)]
    found = [weights(first), *(weights(carry_out(METHODS[name], run)[0]) for run in runs[1:])]
    assert found[0] == found[1] != found[2]
    assert log(runs[0]) == log(runs[1]) != log(runs[2])
    if name == "rda":
        shards = [(run.folder / "prototypes" / "shard-00000.safetensors").read_bytes() for run in runs]
        assert shards[0] == shards[1] != shards[2]


def test_no_view_is_both_sent_and_trained_on(
    run: Run, carry_out: Any, watch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Property 14; and where one view is shared, every view is both."""
    seen: list[Tensor] = []
    real = Encoder.forward

    def forward(self: Encoder, x: Tensor) -> Tensor:
        if self.training:
            seen.append(x.detach().clone())
        return real(self, x)

    monkeypatch.setattr(Encoder, "forward", forward)

    def shared(method: Extractor, folder: str) -> tuple[int, int]:
        seen.clear()
        target = watch()
        carry_out(method, Run(run.folder.with_name(folder), {}, run.options), target=target)
        sent, trained = ({image.numpy().tobytes() for image in torch.cat(part)} for part in (target.sent, seen))
        return len(sent & trained), len(trained)

    for name in ("rda", "cont-steal"):
        both, trained = shared(METHODS[name].model_copy(update={"jitter": 1.0}), name)
        assert both == 0
        assert trained == 96
    both, trained = shared(METHODS["cont-steal of its authors"].model_copy(update={"jitter": 1.0}), "authors")
    assert both == trained == 48


# Budgets.


def test_a_smaller_budget_asks_for_fewer_images(run: Run, carry_out: Any) -> None:
    outcome, endpoint = carry_out(METHODS["rda"], run, budget=59)
    assert endpoint.counts().rows == 57
    assert outcome.facts["images"] == 19
    assert not outcome.facts["partial"]
    assert "pays for 19 images" in outcome.facts["note"]


def test_a_budget_that_may_not_be_cut_stops_before_the_first_query(run: Run, carry_out: Any, watch: Any) -> None:
    target = watch()
    with pytest.raises(ConfigError, match="budget of 59 rows is too small"):
        carry_out(METHODS["rda"], run, target=target, budget=59, over_budget="refuse")
    assert target.rows == 0


def test_a_budget_cuts_the_steps_of_who_asks_at_every_step(run: Run, carry_out: Any) -> None:
    outcome, endpoint = carry_out(METHODS["cont-steal"], run, budget=39)
    assert endpoint.counts().rows == 32
    assert (outcome.facts["steps"], outcome.facts["partial"]) == (4, False)
    assert log(run)[-1][1] == 4


@pytest.mark.parametrize("name", ["rda", "cont-steal"])
def test_a_crash_before_an_exact_budget_leaves_a_partial_result(
    name: str, make_run: MakeRun, carry_out: Any, watch: Any
) -> None:
    """A request of 4 rows was lost: what it paid for is missing, and the rest is as it would have been."""
    method, run = METHODS[name], make_run("cut")
    budget = method.plan(60, None).queries
    with pytest.raises(KeyboardInterrupt):
        carry_out(method, run, budget=budget, target=watch(raises=KeyboardInterrupt(), at=2))
    outcome, endpoint = carry_out(method, run, budget=budget)
    assert budget - 3 < endpoint.counts().rows <= budget  # an image takes 3
    assert outcome.facts["partial"]
    assert (outcome.facts["images"], outcome.facts["steps"]) == {"rda": (18, 6), "cont-steal": (20, 5)}[name]
    again, _ = carry_out(method, run, budget=budget, target=watch(raises=AssertionError("asked again")))
    assert weights(again) == weights(outcome)
    if name == "cont-steal":  # five steps, as a budget of five would have had it
        short = make_run("short")
        expected, _ = carry_out(method, short, budget=40)
        assert weights(expected) == weights(outcome)


def test_a_crash_that_leaves_one_image_is_an_error(run: Run, carry_out: Any, watch: Any) -> None:
    method = METHODS["conventional"].model_copy(update={"images": 9})
    with pytest.raises(KeyboardInterrupt):
        carry_out(method, run, budget=9, target=watch(raises=KeyboardInterrupt()))
    with pytest.raises(BudgetExhausted, match="1 of 9 images"):
        carry_out(method, run, budget=9)


# Controls, widths and refusals.


def test_the_control_without_queries_starts_where_the_surrogate_did(
    make_run: MakeRun, carry_out: Any, new_surrogate: Any
) -> None:
    """It is NoQuery on the same images, for as many rows as the method had, or half an epoch more."""
    method = RDA(**TINY, views=2, surrogate_views=3)
    outcome, endpoint = carry_out(method, make_run("rda"))
    assert outcome.facts["surrogate_rows"] == 3 * 2 * 8 * 3
    assert outcome.facts["control_rows"] == 5 * 2 * 8 * 2
    assert endpoint.counts().rows == 40
    entries = [entry for entry in make_run("rda").events if entry["phase"] == "fit_no_query"]
    assert entries[-1]["step"] == 10
    control = outcome.controls["no_query"]
    start = digest(new_surrogate().state_dict())
    assert digest(control.state_dict()) not in (start, weights(outcome))
    assert list(outcome.controls) == ["no_query", "random"]
    none, _ = carry_out(
        method.model_copy(update={"no_query_control": False, "random_control": False}), make_run("none")
    )
    assert none.controls == {}
    assert weights(none) == weights(outcome)


def test_controls_as_methods_of_their_own_ask_nothing(
    make_run: MakeRun, carry_out: Any, watch: Any, new_surrogate: Any
) -> None:
    target, start = watch(raises=AssertionError("asked")), digest(new_surrogate().state_dict())
    for method, steps in ((NoQuery(**CALM), 6), (RandomSurrogate(**CALM), 0)):
        outcome, endpoint = carry_out(method, make_run(type(method).__name__), target=target, budget=1)
        assert (outcome.facts["queries"], outcome.facts["steps"], endpoint.counts().rows) == (0, steps, 0)
        assert not outcome.facts["partial"]
        assert (weights(outcome) == start) is (steps == 0)


def test_widths_are_brought_together_by_choice(make_run: MakeRun, carry_out: Any) -> None:
    """The target gives 32 numbers, and the surrogate 8 without a head."""
    with pytest.raises(ShapeError, match="32 numbers and the surrogate gives 8"):
        carry_out(METHODS["rda"], make_run("none"), width=None)
    pooled, _ = carry_out(METHODS["rda"].model_copy(update={"match": "pooled"}), make_run("pooled"), width=None)
    assert pooled.model.width == 8
    linear = METHODS["rda"].model_copy(update={"match": "linear"})
    kept, _ = carry_out(linear, make_run("kept"))
    dropped, _ = carry_out(linear.model_copy(update={"keep_head": False}), make_run("dropped"))
    assert (kept.model.width, dropped.model.width) == (32, 8)
    assert digest(dropped.model.state_dict()) == digest(kept.model.without_head().state_dict())
    for name in ("cont-steal", "cont-steal cached"):
        method = METHODS[name].model_copy(update={"match": "pooled"})
        outcome, _ = carry_out(method, make_run(f"pooled {name}"), width=None)
        assert outcome.model.width == 8


def test_images_of_another_size_are_refused_before_the_first_query(
    run: Run, watch: Any, open_endpoint: Any, new_surrogate: Any, pool: ImageSet
) -> None:
    method, target = METHODS["rda"], watch()
    small = ImageSet(pool.name, "train", pool.images[:, :, :6, :6].contiguous(), pool.labels, pool.classes)
    with pytest.raises(ShapeError, match="do not fit the target"):
        method.run(endpoint=open_endpoint(method, target, run), surrogate=new_surrogate(), data=small, run=run)
    assert target.rows == 0


def test_several_processes_are_refused(run: Run, carry_out: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "world", 2)
    with pytest.raises(ConfigError, match="an extraction over 2 processes"):
        carry_out(METHODS["conventional"], run)


def test_a_target_of_one_answer_neither_breaks_nor_teaches(
    run: Run, script: Any, open_endpoint: Any, new_surrogate: Any, pool: ImageSet
) -> None:
    """Property 18: all prototypes are one, of length one, where the released code meets log 0."""
    method = RDA(**{**CALM, "fit": RECIPE.model_copy(update={"epochs": 20})}, views=2, surrogate_views=1)
    target = script(lambda x: torch.ones(len(x), 32), 32)
    surrogate = new_surrogate()
    with torch.no_grad():
        for part in surrogate.modules():  # an embedding that is constant too: the pair is matched to the last bit
            if isinstance(part, nn.Linear):
                part.weight.zero_()
                part.bias.fill_(1)
    outcome = method.run(endpoint=open_endpoint(method, target, run), surrogate=surrogate, data=pool, run=run)
    assert all(bool(weight.isfinite().all()) for weight in outcome.model.parameters())
    assert max(entry["metrics"].get("floored", 0) for entry in run.events) > 0
    entries = [entry["metrics"] for entry in run.events if entry["phase"] == "gather"]
    assert entries[0]["length_min"] == pytest.approx(1, abs=1e-6)


def test_every_method_copies_more_than_a_random_surrogate_has(
    make_run: MakeRun, carry_out: Any, digits: tuple[ImageSet, ImageSet], target_network: Encoder
) -> None:
    """Fidelity on held-out digits. RDA's is above that of the control, which learnt without a query."""
    held_out = digits[1].take(torch.arange(200))
    truth = embed(target_network, held_out)

    def fidelity(network: nn.Module) -> float:
        return float(row_cosine(embed(network, held_out), truth).mean())

    quick = RECIPE.model_copy(update={"epochs": 6, "batch_size": 10, "learning_rate": 0.02})
    shared = {**CALM, "images": 60, "fit": quick}
    rda, _ = carry_out(RDA(**{**shared, "no_query_control": True}, views=3, surrogate_views=2), make_run("rda"))
    control, random = (fidelity(rda.controls[name]) for name in ("no_query", "random"))
    assert fidelity(rda.model) > max(random, control) + 0.5
    for method in (Conventional(**shared), StolenEncoder(**shared), ContSteal(**shared)):
        outcome, _ = carry_out(method, make_run(type(method).__name__))
        assert fidelity(outcome.model) > max(random, control) + 0.4
