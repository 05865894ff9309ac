"""The BadEncoder watermark: its terms, what it leaves alone, what it refuses, and that it can be found again."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.autograd import gradcheck

from understudy.data import ImageSet, load_images
from understudy.errors import ConfigError, DataError
from understudy.evaluation.watermark import attack_success, load_watermark
from understudy.methods.extraction.bad_encoder import BadEncoder, bad_encoder_terms
from understudy.models import Encoder, build_encoder, build_model, encoder_of, model_digest
from understudy.runs.run import Run
from understudy.runs.seeds import stream
from understudy.training import Recipe, fit

MakeRun = Callable[..., Run]
QUICK = Recipe(epochs=6, batch_size=64, learning_rate=0.05, weight_decay=0, schedule="constant")
ONCE = QUICK.model_copy(update={"epochs": 1, "batch_size": 32})
DIGITS = {"patch_size": 3, "patch_margin": 0, "flip": 0, "greyscale": 0}


@pytest.fixture(scope="module")
def digits() -> tuple[ImageSet, ImageSet]:
    return load_images("digits", "train"), load_images("digits", "test")


@pytest.fixture(scope="module")
def trained(digits: tuple[ImageSet, ImageSet], tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    """A small supervised encoder with BatchNorm, without its head."""
    from understudy.methods.baseline.supervised import Supervised
    from understudy.runs.options import RunOptions

    data = digits[0]
    model = build_model("cnn:widths=8-16-32", input_shape=data.shape, classes=10, mean=data.mean, std=data.std, seed=0)
    run = Run(tmp_path_factory.mktemp("clean") / "run", {}, RunOptions(device="cpu"))
    Supervised(fit=Recipe(epochs=6, batch_size=64, learning_rate=0.05)).run(model=model, data=data, run=run)
    return encoder_of(model)


@pytest.fixture
def clean(trained: Encoder) -> Encoder:
    return copy.deepcopy(trained)


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def drawn(*sizes: int, seed: int = 0) -> list[torch.Tensor]:
    """Rows for the six arguments of the terms, in float64: three of images, three of references."""
    generator = stream(seed, "rows")
    return [torch.randn(size, 4, generator=generator, dtype=torch.float64) for size in sizes]


def test_the_terms_against_a_slow_version() -> None:
    rows = drawn(5, 5, 5, 2, 2, 2)
    marked, plain, before, references, views, kept = (part.tolist() for part in rows)
    terms = bad_encoder_terms(*rows)
    assert float(terms["l0"]) == pytest.approx(-mean([cosine(a, b) for a in marked for b in references]), abs=1e-12)
    assert float(terms["l1"]) == pytest.approx(-mean([cosine(*pair) for pair in zip(views, kept, strict=True)]))
    assert float(terms["l2"]) == pytest.approx(-mean([cosine(*pair) for pair in zip(plain, before, strict=True)]))


def test_the_terms_by_hand() -> None:
    x, y = torch.tensor([[3.0, 4.0]]), torch.tensor([[2.0, 0.0]])
    terms = bad_encoder_terms(x, x, y, y, y, x)
    assert [round(float(term), 6) for term in terms.values()] == [-0.6, -0.6, -0.6]


@given(seed=st.integers(0, 100), scale=st.floats(0.01, 100))
@settings(max_examples=20, deadline=None)
def test_the_terms_look_at_directions_alone(seed: int, scale: float) -> None:
    rows = drawn(3, 3, 3, 2, 2, 2, seed=seed)
    terms, scaled = bad_encoder_terms(*rows), bad_encoder_terms(*(scale * part for part in rows))
    for name, term in terms.items():
        assert -1 <= float(term) <= 1
        assert float(scaled[name]) == pytest.approx(float(term), abs=1e-12)


def test_gradients_of_the_terms() -> None:
    rows = [part.requires_grad_() for part in drawn(2, 2, 2, 1, 1, 1)]
    assert gradcheck(lambda *parts: sum(bad_encoder_terms(*parts).values()), rows)


def test_the_mark_is_found_in_the_marked_encoder_and_not_in_the_clean_one(
    run: Run, digits: tuple[ImageSet, ImageSet], clean: Encoder
) -> None:
    train, test = digits
    marked = copy.deepcopy(clean)
    outcome = BadEncoder(fit=QUICK, **DIGITS).run(model=marked, data=train, run=run)
    assert outcome.model is marked
    watermark = load_watermark(run.folder)
    assert watermark.clean_sha256 == model_digest(clean)
    found = attack_success(marked, watermark, train, test, clean=clean)
    rates = found["encoders"]
    assert found["found"]
    assert rates["suspect"]["asr"]["value"] > 0.9
    assert rates["suspect"]["untriggered"]["value"] < 0.05
    assert rates["clean"]["asr"]["value"] < 0.2
    assert rates["suspect"]["accuracy"]["value"] > rates["clean"]["accuracy"]["value"] - 0.04
    innocent = attack_success(clean, watermark, train, test, clean=clean, marked=marked)
    assert not innocent["found"]
    assert "the marked encoder has" in innocent["verdict"]


def test_batch_norm_is_left_as_it_was_and_the_rest_is_trained(
    run: Run, digits: tuple[ImageSet, ImageSet], clean: Encoder
) -> None:
    marked = copy.deepcopy(clean)
    BadEncoder(fit=ONCE, **DIGITS).run(model=marked, data=digits[0].take(torch.arange(128)), run=run)
    assert not any(module.training for module in marked.modules())
    assert all(parameter.requires_grad for parameter in marked.parameters())
    after = dict(marked.named_modules())
    norms = [name for name, module in clean.named_modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    for name, module in clean.named_modules():
        for kind, tensor in module.state_dict(keep_vars=False).items():
            if "." in kind or name.startswith("normalise"):
                continue
            same = torch.equal(tensor, after[name].state_dict()[kind])
            assert same == (name in norms), f"{name}.{kind}"


def test_weights_reach_the_loss(make_run: MakeRun, digits: tuple[ImageSet, ImageSet], clean: Encoder) -> None:
    """Without the term for utility embeddings move further; the logged loss is the weighted sum."""
    ends = []
    for index, weight in enumerate((1.0, 0.0)):
        run = make_run(f"run {index}")
        method = BadEncoder(fit=ONCE, utility_weight=weight, reference_weight=0.5, **DIGITS)
        method.run(model=copy.deepcopy(clean), data=digits[0].take(torch.arange(320)), run=run)
        values = list(run.events)[-1]["metrics"]
        expected = values["l0"] + 0.5 * values["l1"] + weight * values["l2"]
        assert values["loss"] == pytest.approx(expected, abs=1e-5)
        ends.append(values["l2"])
    assert ends[0] < ends[1]


def test_equal_runs_end_in_equal_weights(make_run: MakeRun, digits: tuple[ImageSet, ImageSet], clean: Encoder) -> None:
    ends = []
    for index, seed in enumerate((0, 0, 1)):
        model = copy.deepcopy(clean)
        data = digits[0].take(torch.arange(128))
        BadEncoder(fit=ONCE, **DIGITS).run(model=model, data=data, run=make_run(f"run {index}", seed=seed))
        ends.append(model_digest(model))
    assert ends[0] == ends[1] != ends[2]


def test_a_stopped_run_goes_on_to_the_same_weights(
    make_run: MakeRun, digits: tuple[ImageSet, ImageSet], clean: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from understudy.methods.extraction import bad_encoder

    data, method = digits[0].take(torch.arange(128)), BadEncoder(fit=ONCE, **DIGITS)
    whole, parts = copy.deepcopy(clean), copy.deepcopy(clean)
    method.run(model=whole, data=data, run=make_run("whole"))

    def dies(module: nn.Module, *, batch_at: Callable[[int], object], **rest: object) -> None:
        def until(step: int) -> object:
            if step == 2:
                raise KeyboardInterrupt
            return batch_at(step)

        fit(module, batch_at=until, **rest)

    eager = make_run("parts", checkpoint_seconds=1e-9)
    with monkeypatch.context() as patch:
        patch.setattr(bad_encoder, "fit_network", dies)
        with pytest.raises(KeyboardInterrupt):
            method.run(model=parts, data=data, run=eager)
    assert all(parameter.requires_grad for parameter in parts.parameters())
    again = copy.deepcopy(clean)
    method.run(model=again, data=data, run=eager)
    assert model_digest(again) == model_digest(whole)
    with pytest.raises(ConfigError, match="began with another encoder"):
        method.run(model=again, data=data, run=eager)


def images(size: int, channels: int = 3, classes: int = 10) -> ImageSet:
    pixels = torch.randint(0, 200, (40, channels, size, size), dtype=torch.uint8, generator=stream(0, "pixels"))
    return ImageSet("noise", "train", pixels, torch.arange(40) % classes, tuple(f"c{i}" for i in range(classes)))


def test_the_official_patch_covers_rows_and_columns_21_to_30() -> None:
    watermark = BadEncoder()._watermark(images(32), torch.tensor([9]), clean_sha256="")
    covered = (watermark.mask[0] == 0).nonzero()
    assert covered.amin(dim=0).tolist() == [21, 21]
    assert covered.amax(dim=0).tolist() == [30, 30]
    assert int((watermark.patch == 255).sum()) == 3 * 100
    assert int((watermark.patch == 0).sum()) == 3 * (32 * 32 - 100)


@pytest.mark.parametrize(
    ("corner", "first"),
    [("top-left", [1, 1]), ("top-right", [1, 5]), ("bottom-left", [5, 1]), ("bottom-right", [5, 5])],
)
def test_the_patch_lies_in_its_corner(corner: str, first: list[int]) -> None:
    method = BadEncoder(patch_size=2, patch_corner=corner, patch_level=77)
    watermark = method._watermark(images(8), torch.tensor([9]), clean_sha256="")
    assert (watermark.mask[0] == 0).nonzero()[0].tolist() == first
    assert set(watermark.patch.unique().tolist()) == {0, 77}


def test_the_references_are_the_most_typical_images_of_the_class() -> None:
    data = images(8)
    rows = (data.labels == 4).nonzero()[:, 0]
    features = torch.randn(40, 2, generator=stream(0, "features"))
    features[rows] = torch.tensor([[1.0, 0.0], [1.0, 0.6], [5.0, 1.0], [0.0, 2.0]])
    chosen = BadEncoder(reference_class=4, references=2)._choose(features, data)
    # Unit rows at 0, 31, 11 and 90 degrees have their mean at 32 degrees.
    assert chosen.tolist() == [int(rows[1]), int(rows[2])]


def test_images_without_labels_have_no_references() -> None:
    data = replace(images(8), labels=torch.zeros(40, dtype=torch.int64), classes=("unlabelled",))
    with pytest.raises(DataError, match="without labels"):
        BadEncoder(reference_class=0)._choose(torch.ones(40, 2), data)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"reference_class": 10}, ConfigError, r"no class 10[\s\S]*0 to 9"),
        ({"references": 5}, DataError, r"4 images of class 'c9'[\s\S]*at least the 5"),
        ({"patch_size": 8}, ConfigError, r"patch of 8 pixels with a margin of 1[\s\S]*at most 8"),
    ],
)
def test_what_cannot_be_marked_is_refused_before_anything_is_on_file(
    run: Run, changes: dict[str, int], error: type[Exception], message: str
) -> None:
    data = images(8)
    model = build_encoder("cnn:widths=4", input_shape=data.shape, mean=data.mean, std=data.std, seed=0)
    with pytest.raises(error, match=message):
        BadEncoder(**{"patch_size": 3, "fit": ONCE, **changes}).run(model=model, data=data, run=run)
    assert not (run.folder / "watermark.safetensors").exists()


def test_cost_counts_every_row_that_the_encoder_sees(
    run: Run, digits: tuple[ImageSet, ImageSet], clean: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    forward = Encoder.forward
    monkeypatch.setattr(
        Encoder,
        "forward",
        lambda self, x: (seen.append(len(x)) if torch.is_grad_enabled() else None, forward(self, x))[1],
    )
    data = replace(digits[0], images=digits[0].images[:100], labels=digits[0].labels[:100])
    method = BadEncoder(fit=ONCE, references=2, reference_views=3, **DIGITS)
    method.run(model=clean, data=data, run=run)
    cost = method.cost(clean, rows=100)
    assert cost["training_steps"] == len(seen) == 3
    assert cost["rows_seen"] == sum(seen) == 3 * (2 * 32 + 2 * 4)
