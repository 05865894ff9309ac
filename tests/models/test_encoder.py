"""Encoders: architectures without their last layer, with and without a head of another width."""

from pathlib import Path

import pytest
import torch
from torch import nn

from understudy.errors import ConfigError, IntegrityError, ShapeError
from understudy.models import (
    Encoder,
    build_encoder,
    build_model,
    encoder_of,
    freeze,
    load_encoder,
    load_model,
    model_digest,
    resolve_encoder,
    save_model,
)

SHAPE, MEAN, STD = (3, 8, 8), [0.4, 0.5, 0.6], [0.2, 0.3, 0.25]
NATURAL = {
    "cnn:widths=4-6": 6,
    "mlp:widths=7": 7,
    "resnet18:width=2": 16,
    "resnet:depth=8,width=3": 12,
    "vit:patch=4,dim=8,depth=1,heads=2": 8,
}


def encoder(spec: str = "cnn:widths=4-6", *, width: int | None = None, seed: int = 0) -> Encoder:
    return build_encoder(spec, input_shape=SHAPE, width=width, mean=MEAN, std=STD, seed=seed)


@pytest.mark.parametrize(("spec", "width"), NATURAL.items())
def test_the_natural_width_is_what_the_last_layer_sees(spec: str, width: int) -> None:
    model = encoder(spec).eval()
    assert (model.width, model.head) == (width, False)
    assert model(torch.rand(2, *SHAPE)).shape == (2, width)


def test_a_residual_encoder_gives_pooled_maps_that_are_not_negative() -> None:
    assert encoder("resnet18:width=2").eval()(torch.rand(4, *SHAPE)).min() >= 0


def test_another_width_adds_a_linear_head_and_leaves_the_trunk_as_it_is() -> None:
    plain, headed = encoder(), encoder(width=9)
    assert (headed.width, headed.head) == (9, True)
    x = torch.rand(3, *SHAPE)
    bare = headed.without_head()
    assert (bare.width, bare.head) == (6, False)
    assert torch.equal(bare.eval()(x), plain.eval()(x))
    assert encoder(width=6).head is False


def test_equal_seeds_give_equal_weights_and_leave_the_global_state_alone() -> None:
    before = torch.get_rng_state()
    assert model_digest(encoder(seed=3)) == model_digest(encoder(seed=3)) != model_digest(encoder(seed=4))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_encoder_of_a_classifier_is_what_is_under_its_last_layer() -> None:
    model = build_model("cnn:widths=4-6", input_shape=SHAPE, classes=5, mean=MEAN, std=STD, seed=1).eval()
    before = model_digest(model)
    x = torch.rand(3, *SHAPE)
    features = encoder_of(model)(x)
    head = model.net.get_submodule("head")
    assert isinstance(head, nn.Linear)
    assert torch.allclose(head(features), model(x), atol=1e-6)
    assert model_digest(model) == before


@pytest.mark.parametrize("width", [None, 9])
def test_a_saved_encoder_comes_back_the_same(tmp_path: Path, width: int | None) -> None:
    model = encoder(width=width).eval()
    save_model(model, tmp_path / "saved", about={"seed": 0})
    back = load_encoder(tmp_path / "saved")
    assert (back.width, back.head, back.spec) == (model.width, model.head, model.spec)
    x = torch.rand(2, *SHAPE)
    assert torch.equal(back(x), model(x))
    assert "An encoder of width" in (tmp_path / "saved" / "README.md").read_text()


def test_a_classifier_on_disk_serves_as_an_encoder_and_not_the_other_way_round(tmp_path: Path) -> None:
    model = build_model("cnn:widths=4-6", input_shape=SHAPE, classes=5, mean=MEAN, std=STD, seed=1).eval()
    save_model(model, tmp_path / "classifier", about={})
    assert load_encoder(tmp_path / "classifier").width == 6
    save_model(encoder(), tmp_path / "encoder", about={})
    with pytest.raises(ConfigError, match="this is an encoder"):
        load_model(tmp_path / "encoder")


def test_a_record_that_is_neither_kind_is_refused(tmp_path: Path) -> None:
    save_model(encoder(), tmp_path / "saved", about={})
    record = tmp_path / "saved" / "model.json"
    record.write_text(record.read_text().replace('"width": 6', '"classes": 6'))
    with pytest.raises(IntegrityError, match="field 'width'"):
        load_encoder(tmp_path / "saved")


def test_a_frozen_encoder_answers_as_the_encoder_does() -> None:
    model = encoder("resnet:depth=8,width=3").eval()
    x = torch.rand(5, *SHAPE)
    assert torch.allclose(freeze(model)(x), model(x), atol=1e-4)


def test_resolving_takes_specs_folders_and_factories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_model(encoder(), tmp_path / "saved", about={})
    assert resolve_encoder(tmp_path / "saved").width == 6
    assert resolve_encoder("cnn:widths=4-6", input_shape=SHAPE, width=9).width == 9
    (tmp_path / "embeds.py").write_text(
        "from torch import nn\n\n\ndef make():\n    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 11))\n"
        "    net.input_shape = (3, 8, 8)\n    return net\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    found = resolve_encoder("python:embeds:make")
    assert (found.width, found.input_shape) == (11, SHAPE)


def test_what_cannot_be_resolved_says_why(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no trained encoder"):
        resolve_encoder("cnn")
    save_model(encoder(), tmp_path / "saved", about={})
    with pytest.raises(ShapeError, match="takes inputs of shape"):
        resolve_encoder(tmp_path / "saved", input_shape=(1, 8, 8))
    with pytest.raises(ConfigError, match="width of 1 or more"):
        encoder(width=0)
