"""What a run will ask and do, known beforehand; and the presets, which are configurations of the two repositories."""

from typing import Any

import pytest
import torch

from understudy.data import ImageSet, Views
from understudy.errors import ConfigError, DataError, ShapeError
from understudy.methods.extraction._plan import choose, control_rows
from understudy.methods.extraction._widths import check_widths, matched
from understudy.methods.extraction.cont_steal import ContSteal
from understudy.methods.extraction.conventional import Conventional
from understudy.methods.extraction.no_query import NoQuery
from understudy.methods.extraction.random_surrogate import RandomSurrogate
from understudy.methods.extraction.rda import RDA
from understudy.methods.extraction.stolen_encoder import StolenEncoder
from understudy.methods.extractor import RDA_RECIPE, Extractor, Plan
from understudy.models import build_encoder

RECIPE = RDA_RECIPE.model_copy(update={"epochs": 4, "batch_size": 50})


@pytest.mark.parametrize(
    ("method", "queries", "steps"),
    [
        (RDA(views=3, fit=RECIPE), 315, 8),
        (Conventional(fit=RECIPE), 105, 8),
        (StolenEncoder(fit=RECIPE), 105, 8),
        (ContSteal(fit=RECIPE), 400, 8),
        (ContSteal(cached_views=3, fit=RECIPE), 315, 8),
        (Conventional(cached=False, fit=RECIPE), 400, 8),
        (NoQuery(fit=RECIPE), 0, 8),
        (RandomSurrogate(fit=RECIPE), 0, 0),
    ],
)
def test_queries_of_each_method(method: Extractor, queries: int, steps: int) -> None:
    """Property 1: n·N, N, or E·B·⌊N/B⌋, at N = 105, n = 3, B = 50, E = 4."""
    plan = method.model_copy(update={"images": 105}).plan(3000, None)
    assert plan == Plan(images=105, queries=queries, steps=steps)


@pytest.mark.parametrize(
    ("method", "queries", "steps", "rows"),
    [
        (RDA.official_cifar10(), 25_000, 2_500, 1_250_000),
        (ContSteal.official_rda(), 250_000, 2_500, 250_000),
        (Conventional.official_rda(), 2_500, 2_500, 250_000),
        (StolenEncoder.official_rda(), 2_500, 2_500, 500_000),
        (RDA.official_imagenet(), 200_000, 50_000, 4_000_000),
        (RDA.official_clip(), 300_000, 75_000, 6_000_000),
        (NoQuery(), 0, 6_250, 1_250_000),
    ],
)
def test_official_settings_cost_what_the_specification_says(
    method: Extractor, queries: int, steps: int, rows: int
) -> None:
    """Section 5.2."""
    model = build_encoder("cnn:widths=4", input_shape=(1, 8, 8), mean=[0.5], std=[0.5], seed=0)
    cost = method.cost(model, rows=100_000)
    assert (cost["queries"], cost["training_steps"], cost["surrogate_rows"]) == (queries, steps, rows)
    assert cost["parameters"] == sum(weight.numel() for weight in model.parameters())


def test_a_budget_takes_images_from_who_caches_and_steps_from_who_does_not() -> None:
    """Property 3: never more rows than the budget, and a note that says what was cut."""
    rda = RDA(images=105, views=3, fit=RECIPE).plan(3000, 314)
    assert (rda.images, rda.queries) == (104, 312)
    assert rda.note == "the budget of 314 rows pays for 104 images at 3, not for 105"
    assert RDA(images=105, views=3, fit=RECIPE).plan(3000, 315).note is None
    steal = ContSteal(images=105, fit=RECIPE)
    cut = steal.plan(3000, 399)
    assert (cut.images, cut.queries, cut.steps) == (105, 350, 7)
    assert cut.note == "the budget of 399 rows pays for 7 steps of 50, not for 8"
    assert steal.plan(3000, 400) == steal.plan(3000, None)


def test_a_small_pool_is_used_whole_and_said_so() -> None:
    plan = RDA(images=105, views=3, fit=RECIPE).plan(30, None)
    assert (plan.images, plan.queries, plan.steps) == (30, 90, 4)
    assert plan.note == "the pool holds 30 images, not 105; a batch is all 30 images, not 50"
    steal = ContSteal(images=105, fit=RECIPE).plan(30, None)
    assert (steal.queries, steal.steps) == (120, 4)


@pytest.mark.parametrize(
    ("method", "budget"),
    [(RDA(views=3), 5), (RDA(views=3), 0), (RDA(), -1), (Conventional(), 1), (ContSteal(), 99), (ContSteal(), 0)],
)
def test_budgets_that_pay_for_nothing_are_refused(method: Extractor, budget: int) -> None:
    with pytest.raises(ConfigError, match=rf"budget of {budget} rows is too small"):
        method.plan(3000, budget)


def test_a_budget_that_may_not_be_cut_is_refused() -> None:
    method = RDA(images=105, views=3, fit=RECIPE)
    with pytest.raises(ConfigError, match="315 rows, or at least 6"):
        method.plan(3000, 314, over_budget="refuse")
    assert method.plan(3000, 315, over_budget="refuse").queries == 315
    with pytest.raises(ConfigError, match="400 rows, or at least 50"):
        ContSteal(images=105, fit=RECIPE).plan(3000, 399, over_budget="refuse")


def test_a_schedule_of_epochs_is_not_cut() -> None:
    recipe = RECIPE.model_copy(update={"schedule": "multi_step"})
    with pytest.raises(ConfigError, match="no whole epochs"):
        ContSteal(images=105, fit=recipe).plan(3000, 399)
    with pytest.raises(DataError, match="pool of 1 images"):
        RDA().plan(1, None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fit": {"batch_size": 1}}, "batch_size 1 leaves no image"),
        ({"keep_head": False}, "keep_head can be off with match linear"),
        ({"images": 1}, "images"),
        ({"crop_surrogate": 0.0}, "crop_surrogate"),
    ],
)
def test_values_that_cannot_be_meant_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RDA.checked(options, where="options")


def test_one_view_is_shared_by_two_encoders_alone() -> None:
    for options in ({"cached_views": 1}, {"surrogate_views": 2}):
        with pytest.raises(ConfigError, match="shared_view goes with"):
            ContSteal.checked({"shared_view": True, **options}, where="options")


def test_more_images_include_fewer(pool: ImageSet) -> None:
    """So that a larger budget asks for all that a smaller one did."""
    few, many = choose(pool, 10, seed=5), choose(pool, 30, seed=5)
    assert torch.equal(many.images[:10], few.images)
    assert not torch.equal(choose(pool, 10, seed=6).images, few.images)
    assert len({image.numpy().tobytes() for image in many.images}) == 30


def test_rows_of_the_control() -> None:
    assert control_rows(RECIPE, 105, epochs=4) == 2 * 50 * 2 * 4
    assert control_rows(RECIPE, 30, epochs=1) == 60


# Presets and views.


def test_views_are_those_of_the_two_repositories() -> None:
    rda, clip = RDA(), RDA.official_clip()
    assert rda.views_of_surrogate() == Views.extraction(0.75)
    assert rda.views_with(rda.crop_target, rda.target_augment) == Views.extraction(0.90)
    assert clip.views_with(clip.crop_target, clip.target_augment) == Views(crop_area=(0.9, 0.9))
    colour = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.2, "jitter": 0.8, "greyscale": 0.2}
    assert clip.views_of_surrogate() == Views(flip=0.5, **colour)
    assert StolenEncoder().views_of_surrogate() == Views.extraction(0.75)
    assert StolenEncoder.official_stolen_encoder().views_of_surrogate() == Views.stolen_encoder()
    assert ContSteal().views_of_surrogate() == Views.extraction(0.75)
    assert ContSteal.official_cont_steal().views_of_surrogate() == Views.randaugment_crop()
    assert RDA(surrogate_augment="none").views_of_surrogate() == Views()


@pytest.mark.parametrize(("size", "target_side", "surrogate_side"), [(32, 30, 28), (224, 213, 194)])
def test_the_target_sees_more_of_an_image_than_the_surrogate(size: int, target_side: int, surrogate_side: int) -> None:
    """Property 14: the sides of the two crops."""
    method, generator = RDA(), torch.Generator().manual_seed(0)
    for views, side in (
        (method.views_with(method.crop_target, method.target_augment), target_side),
        (method.views_of_surrogate(), surrogate_side),
    ):
        boxes = views.draw(50, (3, size, size), generator).boxes
        assert bool((boxes[:, 2:] == side).all())
        assert len(boxes[:, :2].unique(dim=0)) > 1


def test_recipes_are_those_of_the_repositories() -> None:
    authors = StolenEncoder.official_stolen_encoder()
    assert (authors.loss, authors.augmented_weight, authors.surrogate_views) == ("norm", 20, 1)
    recipe = authors.fit
    assert (recipe.optimiser, recipe.learning_rate, recipe.momentum, recipe.weight_decay) == ("sgd", 1e-3, 0.9, 5e-4)
    assert (recipe.batch_size, recipe.epochs, recipe.schedule) == (64, 100, "constant")
    steal = ContSteal.official_cont_steal()
    assert (steal.loss, steal.temperature, steal.shared_view) == ("nt_xent", 0.5, True)
    for recipe in (steal.fit, Conventional.official_cont_steal().fit):
        assert (recipe.optimiser, recipe.learning_rate, recipe.weight_decay) == ("adam", 3e-4, 0)
        assert (recipe.batch_size, recipe.epochs, recipe.schedule) == (32, 100, "constant")
    recipe = RDA().fit
    assert (recipe.optimiser, recipe.learning_rate, recipe.momentum, recipe.weight_decay) == ("adam", 1e-3, 0.9, 1e-4)
    assert (recipe.batch_size, recipe.epochs, recipe.schedule) == (100, 100, "constant")


def test_endpoints_are_to_be_made_as_the_methods_need_them() -> None:
    assert RDA().normalise_answers
    assert ContSteal().normalise_answers
    assert not Conventional.official_cont_steal().normalise_answers
    assert [method.replay for method in (RDA(), ContSteal(), Conventional(cached=False))] == [False, False, False]
    assert [method.replay for method in (StolenEncoder(), Conventional())] == [True, True]


# Widths.


@pytest.mark.parametrize(
    ("answers", "surrogate", "match", "fixes"),
    [
        (2048, 512, "none", ("linear", "pooled")),
        (2048, 512, "linear", ("linear", "pooled")),
        (128, 512, "none", ("linear",)),
        (128, 512, "pooled", ("linear",)),
    ],
)
def test_widths_that_differ_are_refused_with_what_can_be_done(
    answers: int, surrogate: int, match: Any, fixes: tuple[str, ...]
) -> None:
    with pytest.raises(ShapeError, match=f"{answers} numbers and the surrogate gives {surrogate}") as caught:
        check_widths(answers, surrogate, match)
    advice = str(caught.value).partition("to do:")[2]
    assert ("--match linear" in advice, "--match pooled" in advice) == ("linear" in fixes, "pooled" in fixes)


def test_widths_that_agree_pass() -> None:
    for match in ("none", "pooled", "linear"):
        check_widths(64, 64, match)
    check_widths(65, 64, "pooled")


def test_pooled_answers_are_means_of_blocks_at_their_old_length() -> None:
    """Of unit answers, what RDA's repository has: the pooled output, then brought to unit length."""
    raw = torch.randn(5, 12, generator=torch.Generator().manual_seed(0))
    unit = raw / raw.norm(dim=1, keepdim=True)
    blocks = raw.view(5, 4, 3).mean(dim=2)
    expected = blocks / blocks.norm(dim=1, keepdim=True)
    assert torch.allclose(matched(unit, 4), expected, atol=1e-6)
    assert torch.allclose(matched(3 * unit, 4), 3 * expected, atol=1e-6)
    assert matched(unit, 12) is unit
    assert torch.isfinite(matched(torch.tensor([[1.0, -1.0]]), 1)).all()
