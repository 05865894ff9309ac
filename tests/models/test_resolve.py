from pathlib import Path

import pytest

from understudy.errors import ConfigError, IntegrityError, ShapeError
from understudy.models import build_model, model_digest, resolve_model, save_model


def test_a_spec_builds_a_network_for_the_data() -> None:
    model = resolve_model("cnn:widths=4", input_shape=(1, 8, 8), classes=3, mean=[0.2], std=[0.3], seed=5)
    same = build_model("cnn:widths=4", input_shape=(1, 8, 8), classes=3, mean=[0.2], std=[0.3], seed=5)
    assert model_digest(model) == model_digest(same)


def test_without_statistics_a_new_network_takes_inputs_as_they_are() -> None:
    model = resolve_model("mlp:widths=4", input_shape=(2,), classes=2)
    assert model.normalise.mean.tolist() == [0.0, 0.0]
    assert model.normalise.std.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("inner", ["run/model", "run"])
def test_a_folder_gives_its_model_and_its_own_statistics(make, tmp_path: Path, inner: str) -> None:
    save_model(make(), tmp_path / inner, about={})
    model = resolve_model(tmp_path / "run", input_shape=(1, 8, 8), classes=10, mean=[0.9], std=[0.9])
    assert model_digest(model) == model_digest(make())


def test_a_bare_folder_name_is_a_folder(make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_model(make(), tmp_path / "teacher", about={})
    monkeypatch.chdir(tmp_path)
    assert model_digest(resolve_model("teacher")) == model_digest(make())


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"input_shape": (1, 28, 28)}, r"shape \(1, 8, 8\), the data has \(1, 28, 28\)"),
        ({"input_shape": (3, 8, 8)}, "the data has"),
        ({"classes": 7}, "10 classes, the data has 7"),
    ],
)
def test_a_trained_network_must_fit_the_data(make, tmp_path: Path, facts: dict, message: str) -> None:
    save_model(make(), tmp_path / "model", about={})
    with pytest.raises(ShapeError, match=message):
        resolve_model(tmp_path / "model", **facts)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("cnn", ConfigError, "needs the input shape and the number of classes"),
        ("cmn", ConfigError, "needs the input shape"),
        ("runs/missing", IntegrityError, "model folder not found"),
        ("teacher.pt", IntegrityError, "pickles are never loaded"),
    ],
)
def test_what_names_nothing_is_refused(text: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        resolve_model(text)


def test_a_mistyped_name_lists_the_near_ones() -> None:
    with pytest.raises(ConfigError, match=r"no architecture is called 'resnet81'[\s\S]*did you mean 'resnet18'"):
        resolve_model("resnet81:width=2.5", input_shape=(1, 8, 8), classes=3)
