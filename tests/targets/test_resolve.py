"""Target specs of the command line."""

import sys
from pathlib import Path

import pytest
import torch

from understudy.errors import AccessError, ConfigError, IntegrityError
from understudy.models import build_encoder, build_model, save_model
from understudy.targets import Access, ModuleTarget, StoredTarget, Target, resolve_target, store_answers

SHAPE = (1, 8, 8)
FACTS = {"input_shape": SHAPE, "mean": [0.5], "std": [0.5], "seed": 0}


@pytest.fixture
def classifier(tmp_path: Path) -> str:
    save_model(build_model("cnn:widths=4-6", classes=10, **FACTS), tmp_path / "classifier", about={})
    return str(tmp_path / "classifier")


@pytest.fixture
def encoder(tmp_path: Path) -> str:
    save_model(build_encoder("cnn:widths=4-6", **FACTS), tmp_path / "encoder", about={})
    return str(tmp_path / "encoder")


def test_folders_of_classifiers_and_encoders(classifier: str, encoder: str) -> None:
    for spec in (classifier, encoder):
        target = resolve_target(spec)
        assert isinstance(target, ModuleTarget)
        assert (target.name, target.access, target.input_shape) == (spec, Access.EMBEDDINGS, SHAPE)
    assert resolve_target(classifier, access="logits").width == 10
    shown = resolve_target(classifier, access=Access.TOP_K, k=3).answer(torch.rand(2, *SHAPE))
    assert (shown > 0).sum(dim=1).tolist() == [3, 3]
    with pytest.raises(ConfigError, match="encoder"):
        resolve_target(encoder, access="logits")


def test_files_of_answers(tmp_path: Path) -> None:
    path = tmp_path / "answers.safetensors"
    store_answers(path, torch.zeros(1, *SHAPE), torch.ones(1, 4), access="logits")
    target = resolve_target(f"stored:{path}", access="logits")
    assert isinstance(target, StoredTarget)
    assert target.name == f"stored:{path}"
    with pytest.raises(AccessError, match="holds logits, not embeddings"):
        resolve_target(f"stored:{path}")


def test_onnx_files_and_their_outputs(known, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[object] = []

    def opened(*arguments: object, **named: object) -> Target:
        given.append((arguments, named))
        return known

    monkeypatch.setattr("understudy.targets.resolve.OnnxTarget", opened)
    resolve_target("onnx:folder/encoder.onnx#pooled")
    resolve_target("onnx:encoder.onnx", access="logits", k=2)
    (first, one), (second, two) = given
    assert (first, one["output"], one["name"]) == (
        ("folder/encoder.onnx",),
        "pooled",
        "onnx:folder/encoder.onnx#pooled",
    )
    assert (second, two["output"], two["access"], two["k"]) == (("encoder.onnx",), None, Access.LOGITS, 2)


def test_modules_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import torch\n"
        "def make():\n"
        "    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))\n"
        "    net.input_shape = (1, 8, 8)\n"
        "    return net\n"
    )
    (tmp_path / "understudy_test_factory.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    assert resolve_target("python:understudy_test_factory:make").width == 3
    assert resolve_target("python:understudy_test_factory:make", access="logits").width == 3
    sys.modules.pop("understudy_test_factory")


def test_names_of_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="not found"):
        resolve_target(str(tmp_path / "nothing"))
    with pytest.raises(ConfigError, match="no trained encoder"):
        resolve_target("resnet18")
    with pytest.raises(ConfigError, match="did you mean 'embeddings'"):
        resolve_target("resnet18", access="embedding")
