import importlib
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from understudy.errors import ConfigError, DependencyError, DivergenceError, IntegrityError, ShapeError
from understudy.models import count_macs, freeze, load_model, model_digest, resolve_model, save_model

FACTORIES = """
import math, os
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, scale=1.0, classes=4):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten())
        self.layers.append(nn.Linear(108, classes))
        self.scale = scale
        for parameter in self.parameters():
            nn.init.constant_(parameter, 0.1)

    def forward(self, z):
        return self.layers(z) * self.scale

def bare():
    return Net()

def documented():
    net = Net()
    net.input_shape, net.classes, net.mean, net.std = (1, 8, 8), 4, (0.25,), torch.tensor([0.5])
    return net

class Drawn(nn.Module):
    input_shape = (1, 8, 8)
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(64, 4)
    def forward(self, z): return self.head(z.flatten(1))

def half(): return Drawn().bfloat16()
def diverging(): return Net(math.nan)
def embedding(): return nn.Flatten(1, 2)
def dictionary():
    class Dictionary(Net):
        def forward(self, z): return {"logits": super().forward(z)}
    return Dictionary()
def number(): return 3
def greedy(n): return Net()
def broken(): raise OSError("no licence")
system = os.system
"""


@pytest.fixture
def factories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a module of a user's own importable."""
    (tmp_path / "my_networks.py").write_text(FACTORIES)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("my_networks", None)


@pytest.mark.usefixtures("factories")
class TestPython:
    """Classifiers of a user's own code."""

    def test_the_module_may_say_all_itself(self) -> None:
        model = resolve_model("python:my_networks:documented")
        x = torch.rand(2, 1, 8, 8)
        torch.testing.assert_close(model(x), model.net((x - 0.25) / 0.5))
        assert (model.input_shape, model.classes, model.training) == ((1, 8, 8), 4, False)

    def test_the_caller_may_say_it(self) -> None:
        model = resolve_model("python:my_networks:bare", input_shape=(1, 8, 8), mean=[0.5], std=[0.5])
        assert (model.classes, model.normalise.mean.tolist()) == (4, [0.5])

    def test_without_statistics_the_input_is_taken_as_it_is(self) -> None:
        model = resolve_model("python:my_networks:Net", input_shape=(1, 8, 8))
        x = torch.rand(2, 1, 8, 8)
        torch.testing.assert_close(model(x), model.net(x))

    def test_it_is_saved_and_loaded_by_its_factory(self, tmp_path: Path) -> None:
        model = resolve_model("python:my_networks:documented")
        model.net.layers[0].weight.data.normal_()
        save_model(model, tmp_path / "model", about={})
        loaded = load_model(tmp_path / "model")
        assert model_digest(loaded) == model_digest(model)
        assert loaded.spec == "python:my_networks:documented"

    def test_it_cannot_be_loaded_without_its_code(self, tmp_path: Path, monkeypatch) -> None:
        save_model(resolve_model("python:my_networks:documented"), tmp_path / "model", about={})
        (tmp_path / "my_networks.py").unlink()
        monkeypatch.delitem(sys.modules, "my_networks")
        with pytest.raises(IntegrityError, match="the module cannot be imported"):
            load_model(tmp_path / "model")

    def test_it_freezes_and_folds(self) -> None:
        model = resolve_model("python:my_networks:documented")
        frozen = freeze(model)
        x = torch.rand(2, 1, 8, 8)
        assert frozen.notes == ("folded 1 of 1 BatchNorms",)
        torch.testing.assert_close(frozen(x), model(x))

    @pytest.mark.parametrize(
        ("name", "error", "message"),
        [
            ("", ConfigError, "the module or its factory is missing"),
            ("my_networks", ConfigError, "the module or its factory is missing"),
            ("no_such_module:f", ConfigError, "cannot be imported: No module named"),
            ("my_networks:bear", ConfigError, "did you mean 'bare'"),
            ("my_networks:system", ConfigError, "'system' is no factory"),
            ("my_networks:math", ConfigError, "'math' is no factory"),
            ("os:abort", ConfigError, "'abort' is no factory"),
            ("my_networks:number", ConfigError, "the factory returns a int"),
            ("my_networks:greedy", ConfigError, "the factory fails: TypeError"),
            ("my_networks:broken", ConfigError, "the factory fails: OSError: no licence"),
            ("my_networks:diverging", DivergenceError, "NaN or infinite"),
            ("my_networks:embedding", ShapeError, r"output for two inputs is \(2, 8, 8\)"),
            ("my_networks:dictionary", ShapeError, "output for two inputs is"),
        ],
    )
    def test_what_is_no_classifier_is_refused(self, name: str, error, message: str) -> None:
        with pytest.raises(error, match=message):
            resolve_model(f"python:{name}", input_shape=(1, 8, 8))

    def test_facts_that_do_not_fit_are_refused(self) -> None:
        with pytest.raises(ConfigError, match="input shape of this network is not known"):
            resolve_model("python:my_networks:bare")
        with pytest.raises(ShapeError, match="cannot take inputs of shape"):
            resolve_model("python:my_networks:bare", input_shape=(3, 8, 8))
        with pytest.raises(ShapeError, match=r"expected: logits of shape \(2, 7\)"):
            resolve_model("python:my_networks:bare", input_shape=(1, 8, 8), classes=7)


@pytest.fixture(scope="module", autouse=True)
def sound_torchvision() -> None:
    """Hide a torchvision that was built for another torch: nothing that needs it could be imported."""
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError):
        sys.modules["torchvision"] = None


@pytest.fixture(scope="module")
def hub_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a tiny ResNet of transformers with its image processor's file, as on the hub."""
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(
        num_channels=3, embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic", num_labels=5
    )
    folder = tmp_path_factory.mktemp("hub")
    transformers.ResNetForImageClassification(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        '{"image_processor_type": "ConvNextImageProcessor", "do_normalize": true, "do_rescale": true,'
        ' "image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6], "size": {"shortest_edge": 32}}'
    )
    return folder


class TestTransformers:
    """Classifiers of Hugging Face transformers, from a local folder."""

    def test_a_local_folder_is_a_classifier(self, hub_folder: Path) -> None:
        from transformers import AutoModelForImageClassification

        model = resolve_model(f"hf:{hub_folder}")
        assert (model.input_shape, model.classes) == ((3, 32, 32), 5)
        x = torch.rand(2, 3, 32, 32)
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6]))
        theirs = AutoModelForImageClassification.from_pretrained(hub_folder).eval()
        torch.testing.assert_close(model(x), theirs(pixel_values=(x - mean) / std).logits)

    def test_it_is_frozen_counted_saved_and_loaded(self, hub_folder: Path, tmp_path: Path) -> None:
        model = resolve_model(f"hf:{hub_folder}")
        x = torch.rand(2, 3, 32, 32)
        frozen = freeze(model)
        torch.testing.assert_close(frozen(x), model(x))
        assert frozen.notes[0].startswith(("folded", "not folded"))
        assert count_macs(model) > 0
        save_model(model, tmp_path / "model", about={})
        assert model_digest(load_model(tmp_path / "model")) == model_digest(model)

    def test_a_transformer_is_taken_too(self, tmp_path: Path) -> None:
        transformers = pytest.importorskip("transformers")
        config = transformers.ViTConfig(
            image_size=16, patch_size=8, num_channels=1, hidden_size=8, num_hidden_layers=1,
            num_attention_heads=2, intermediate_size=8, num_labels=3,
        )  # fmt: skip
        transformers.ViTForImageClassification(config).save_pretrained(tmp_path)
        model = resolve_model(f"hf:{tmp_path}")
        assert (model.input_shape, model.classes) == ((1, 16, 16), 3)
        assert model.normalise.std.tolist() == [1.0]
        assert freeze(model).notes == ("no BatchNorm to fold",)

    def test_pickled_weights_are_refused(self, hub_folder: Path, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_bytes((hub_folder / "config.json").read_bytes())
        torch.save(resolve_model(f"hf:{hub_folder}").net.model.state_dict(), tmp_path / "pytorch_model.bin")
        with pytest.raises(ConfigError, match="cannot be loaded"):
            resolve_model(f"hf:{tmp_path}")

    def test_a_head_that_was_never_trained_is_refused(self, hub_folder: Path, tmp_path: Path) -> None:
        from transformers import ResNetModel

        ResNetModel.from_pretrained(hub_folder).save_pretrained(tmp_path)
        with pytest.raises(ConfigError, match="they would be random"):
            resolve_model(f"hf:{tmp_path}")

    def test_a_folder_that_holds_no_model_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="cannot be loaded"):
            resolve_model(f"hf:{tmp_path}")


class TestTimm:
    """Classifiers of timm, with the download replaced by a local file."""

    def test_weights_come_as_safetensors_with_their_statistics(self, tmp_path: Path, monkeypatch) -> None:
        timm = pytest.importorskip("timm")
        from safetensors.torch import save_file

        theirs: nn.Module = timm.create_model("test_vit.r160_in1k").eval()
        save_file(theirs.state_dict(), tmp_path / "model.safetensors")

        def download(repository: str, filename: str) -> str:
            assert (repository, filename) == ("timm/test_vit.r160_in1k", "model.safetensors")
            return str(tmp_path / filename)

        monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
        model = resolve_model("timm:test_vit.r160_in1k")
        assert (model.input_shape, model.classes) == ((3, 160, 160), 1000)
        x = torch.rand(1, 3, 160, 160)
        torch.testing.assert_close(model(x), theirs(model.normalise(x)))

    def test_an_unknown_name_lists_the_near_ones(self) -> None:
        pytest.importorskip("timm")
        with pytest.raises(ConfigError, match=r"timm has no model 'resnet19'[\s\S]*'resnet18'"):
            resolve_model("timm:resnet19")


@pytest.mark.parametrize(("spec", "package", "extra"), [("hf:x", "transformers", "hf"), ("timm:x", "timm", "vision")])
def test_a_missing_package_is_named_with_its_extra(monkeypatch, spec: str, package: str, extra: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DependencyError, match=rf"{package} cannot be imported[\s\S]*understudy\[{extra}\]"):
        resolve_model(spec)


@pytest.mark.usefixtures("factories")
def test_first_weights_are_a_function_of_the_seed_and_draw_from_no_one_else() -> None:
    before = torch.random.get_rng_state()
    first, again, other = (model_digest(resolve_model("python:my_networks:Drawn", seed=seed)) for seed in (1, 1, 2))
    assert first == again != other
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.usefixtures("factories")
def test_a_network_in_half_precision_answers_in_single() -> None:
    model = resolve_model("python:my_networks:half")
    x = torch.rand(3, 1, 8, 8)
    assert model(x).dtype == torch.float32
    assert torch.allclose(freeze(model)(x), model(x), atol=1e-5)
