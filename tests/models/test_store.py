import json
import math
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard

from understudy.errors import ConfigError, DivergenceError, IntegrityError, StorageError, UnderstudyError
from understudy.models import Classifier, load_model, model_digest, save_model
from understudy.runs.files import sha256_file
from understudy.runs.tensors import load_tensors, save_tensors


@pytest.fixture
def folder(make, tmp_path: Path) -> Path:
    """Return the folder of a small saved model."""
    save_model(make(), tmp_path / "saved", about={"accuracy": 0.97, "data": "digits"})
    return tmp_path / "saved"


def rewrite(folder: Path, *, record: dict | None = None, state: dict | None = None) -> None:
    """Forge a folder that is consistent with itself: fields and tensors changed, every digest made anew."""
    tensors, _ = load_tensors(folder / "model.safetensors")
    content = json.loads((folder / "model.json").read_text()) | (record or {})
    tensors = {name: tensor for name, tensor in (tensors | (state or {})).items() if tensor is not None}
    header = {key: value for key, value in content.items() if key not in ("sha256", "file_sha256")}
    content["sha256"] = save_tensors(folder / "model.safetensors", tensors, header)
    content["file_sha256"] = sha256_file(folder / "model.safetensors")
    (folder / "model.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("spec", "shape"),
    [
        ("cnn:widths=4-6", (1, 8, 8)),
        ("mlp:widths=4,norm=batch", (5,)),
        ("resnet18:width=2", (3, 8, 8)),
        ("resnet:depth=8,width=2", (3, 8, 8)),
        ("wide_resnet10_1", (3, 8, 8)),
        ("mobilenet_v2:width=0.1", (3, 8, 8)),
        ("vit:dim=8,depth=1,heads=2", (1, 8, 8)),
    ],
)
def test_what_is_saved_comes_back_to_the_bit(make, tmp_path: Path, spec: str, shape: tuple[int, ...]) -> None:
    model = make(spec, shape)
    save_model(model, tmp_path / "one", about={})
    loaded = load_model(tmp_path / "one")
    x = torch.rand(3, *shape)
    assert torch.equal(loaded(x), model(x))
    assert model_digest(loaded) == model_digest(model)
    assert (loaded.spec, loaded.input_shape, loaded.classes) == (model.spec, shape, 10)
    assert not loaded.training
    assert all(p.requires_grad == q.requires_grad for p, q in zip(loaded.parameters(), model.parameters(), strict=True))
    save_model(loaded, tmp_path / "two", about={})
    for name in ("model.safetensors", "model.json", "README.md"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_the_record_says_what_a_reader_wants_to_know(make, folder: Path) -> None:
    record = json.loads((folder / "model.json").read_text())
    assert record["format"] == 1
    assert record["spec"] == "cnn:widths=4-6"
    assert record["input_shape"] == [1, 8, 8]
    assert record["classes"] == 10
    assert record["std"] == [0.25]
    assert record["about"] == {"accuracy": 0.97, "data": "digits"}
    assert record["sha256"] == model_digest(make())
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "model.json", "model.safetensors"]


def test_the_card_is_one_the_hub_can_read(folder: Path) -> None:
    card = ModelCard.load(folder / "README.md")
    assert card.data.library_name == "understudy"
    assert card.data.pipeline_tag == "image-classification"
    assert "load_model(" in card.text
    assert "| accuracy | 0.97 |" in card.text


def test_a_fact_cannot_break_the_card(make, tmp_path: Path) -> None:
    save_model(make(), tmp_path / "model", about={"note": "a | b\n---\n# c", "{spec}": "{x}"})
    text = (tmp_path / "model" / "README.md").read_text()
    assert "| note | a \\| b --- # c |" in text
    assert "| {spec} | {x} |" in text


def test_a_run_folder_gives_its_model(make, tmp_path: Path) -> None:
    save_model(make(), tmp_path / "run" / "model", about={})
    assert model_digest(load_model(tmp_path / "run")) == model_digest(make())


def test_a_loaded_model_does_not_depend_on_its_file(folder: Path) -> None:
    model = load_model(folder)
    before = model_digest(model)
    with (folder / "model.safetensors").open("r+b") as file:
        file.write(b"\xff" * file.seek(0, 2))
    shutil.rmtree(folder)
    assert model_digest(model) == before


def test_saving_replaces_a_model_and_nothing_else(make, folder: Path) -> None:
    save_model(make(seed=1), folder, about={})
    assert model_digest(load_model(folder)) == model_digest(make(seed=1))
    other = folder.parent / "photos"
    other.mkdir()
    (other / "holiday.txt").write_text("keep me")
    with pytest.raises(StorageError, match="holds no model, and saving would replace it"):
        save_model(make(), other, about={})
    assert (other / "holiday.txt").read_text() == "keep me"


def test_a_write_that_fails_leaves_the_old_model_whole(make, folder: Path, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("understudy.models.store.write_json", full)
    with pytest.raises(StorageError, match="No space left"):
        save_model(make(seed=1), folder, about={})
    assert model_digest(load_model(folder)) == model_digest(make())
    assert [path.name for path in folder.parent.iterdir()] == ["saved"]


def test_every_altered_byte_is_found(folder: Path) -> None:
    """All of model.json, and the weights' header, edges and a stride through their data."""
    for name, stride in (("model.json", 1), ("model.safetensors", 11)):
        whole = (folder / name).read_bytes()
        for place in [*range(0, len(whole), stride), len(whole) - 1]:
            altered = bytearray(whole)
            altered[place] ^= 1
            if name == "model.json" and not _means_otherwise(whole, altered):
                continue
            (folder / name).write_bytes(altered)
            with pytest.raises(IntegrityError):
                load_model(folder)
        (folder / name).write_bytes(whole)
    load_model(folder)


def _means_otherwise(whole: bytes, altered: bytearray) -> bool:
    """Return whether JSON reads differently: white space may change into other white space."""
    try:
        return json.loads(altered) != json.loads(whole)
    except ValueError:
        return True


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_truncated_weights_are_refused(folder: Path, share: float) -> None:
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(IntegrityError, match=r"SHA-256 mismatch\): altered or cut short"):
        load_model(folder)


def test_a_model_without_weights_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(IntegrityError, match="the model has no weights"):
        load_model(folder)


@pytest.mark.parametrize(
    ("field", "value"),
    [("spec", "cnn:widths=4-6,pool=flatten"), ("mean", [0.41]), ("about", {"accuracy": 0.99})],
)
def test_an_edited_record_is_refused(folder: Path, field: str, value: object) -> None:
    record = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(record | {field: value}))
    with pytest.raises(IntegrityError, match="not the one that was saved with these weights: altered"):
        load_model(folder)


class Payload:
    """Writes a file if it is ever unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.proof,)


@pytest.mark.parametrize("name", ["model.pt", "model.pth", "model.pkl", "pytorch_model.bin", "last.ckpt"])
def test_a_pickle_is_never_loaded(tmp_path: Path, name: str) -> None:
    proof = tmp_path / "proof"
    path = tmp_path / "model" / name
    path.parent.mkdir()
    path.write_bytes(pickle.dumps(Payload(proof)))
    with pytest.raises(IntegrityError, match=f"only {name}; pickles are never loaded"):
        load_model(path.parent)
    with pytest.raises(IntegrityError, match="pickles are never loaded: they can run any code"):
        load_model(path)
    assert not proof.exists()


def test_a_pickle_in_place_of_the_weights_is_never_loaded(folder: Path, tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    (folder / "model.safetensors").write_bytes(pickle.dumps(Payload(proof)))
    record = json.loads((folder / "model.json").read_text())
    record["file_sha256"] = sha256_file(folder / "model.safetensors")
    (folder / "model.json").write_text(json.dumps(record))
    with pytest.raises(IntegrityError, match="not a whole safetensors file"):
        load_model(folder)
    assert not proof.exists()


def test_what_is_no_model_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="model folder not found"):
        load_model(tmp_path / "missing")
    with pytest.raises(IntegrityError, match=r"model\.json is missing"):
        load_model(tmp_path)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(IntegrityError, match="a file, not a model folder"):
        load_model(tmp_path / "notes.txt")


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"net.head.bias": None}, "1 tensors are missing, 'net.head.bias' first"),
        ({"net.extra": torch.zeros(1)}, "1 tensors are unknown, 'net.extra' first"),
        ({"net.head.bias": torch.zeros(9)}, r"'net.head.bias' has shape \(9,\), not \(10,\)"),
        ({"net.head.bias": torch.zeros(10).half()}, "dtype torch.float16, not torch.float32"),
        ({"net.head.bias": torch.full((10,), math.nan)}, "NaN or infinite"),
        ({"net.blocks.0.1.running_var": torch.full((4,), math.inf)}, "NaN or infinite"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(folder: Path, state: dict, message: str) -> None:
    rewrite(folder, state=state)
    with pytest.raises(IntegrityError, match=message):
        load_model(folder)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"format": 2}, "format 2, which this understudy does not know yet"),
        ({"format": "1"}, "field 'format' of the record is wrong"),
        ({"format": 0}, "field 'format' of the record is wrong"),
        ({"spec": 3}, "field 'spec'"),
        ({"spec": "cnm"}, "no architecture is called 'cnm'"),
        ({"spec": "cnn:widths=4-8"}, "the weights do not fit"),
        ({"spec": "python:os:abort"}, "'abort' is no factory"),
        ({"spec": "mlp", "input_shape": [2**31] * 3}, "smaller network or smaller inputs"),
        ({"input_shape": "1x8x8"}, "field 'input_shape'"),
        ({"input_shape": [1, -8, 8]}, "field 'input_shape.1'"),
        ({"input_shape": [1, 8]}, "is no input shape"),
        ({"classes": True}, "field 'classes'"),
        ({"classes": 10.0}, "field 'classes'"),
        ({"classes": 1}, "field 'classes'"),
        ({"mean": [math.nan]}, "field 'mean.0'"),
        ({"mean": ["0.5"]}, "field 'mean.0'"),
        ({"mean": []}, "mean has 0 values"),
        ({"std": [0.0]}, "every std above 0"),
        ({"std": None}, "field 'std'"),
        ({"parameters": -1}, "field 'parameters'"),
        ({"about": []}, "field 'about'"),
        ({"extra": 1}, "field 'extra'"),
    ],
)
def test_a_record_with_bad_fields_is_refused(folder: Path, record: dict, message: str) -> None:
    rewrite(folder, record=record)
    with pytest.raises(IntegrityError, match=message):
        load_model(folder)


def test_an_enormous_network_is_refused_before_memory_is_taken(folder: Path) -> None:
    rewrite(folder, record={"spec": "mlp:widths=4096", "input_shape": [1, 2**20, 2**20]})
    with pytest.raises(IntegrityError, match="do not fit"):
        load_model(folder)


@pytest.mark.parametrize("content", ["", "[]", "null", "{", "\x00", '"text"'])
def test_a_record_that_is_no_record_is_refused(folder: Path, content: str) -> None:
    (folder / "model.json").write_text(content)
    with pytest.raises(IntegrityError):
        load_model(folder)


@pytest.mark.parametrize("field", ["format", "spec", "input_shape", "classes", "sha256", "file_sha256"])
def test_a_record_without_a_field_is_refused(folder: Path, field: str) -> None:
    record = json.loads((folder / "model.json").read_text())
    del record[field]
    (folder / "model.json").write_text(json.dumps(record))
    with pytest.raises(IntegrityError, match=f"field '{field}' of the record is wrong"):
        load_model(folder)


def _nan(model: Classifier) -> None:
    model.net.head.weight.data.fill_(math.nan)


def _rebuilt_by_another_spec(model: Classifier) -> None:
    model.spec = "cnn:widths=4-8"


def _double(model: Classifier) -> None:
    model.double()


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (_nan, DivergenceError, "NaN or infinite"),
        (_rebuilt_by_another_spec, ConfigError, "not what its spec builds"),
        (_double, ConfigError, "dtype torch.float64, not torch.float32"),
    ],
)
def test_what_could_not_be_loaded_is_not_saved(make, tmp_path: Path, spoil, error, message: str) -> None:
    model = make()
    spoil(model)
    with pytest.raises(error, match=message):
        save_model(model, tmp_path / "model", about={})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("about", [{"x": math.nan}, {"x": object()}, {"x": torch.zeros(1)}])
def test_facts_that_are_not_json_are_refused(make, tmp_path: Path, about: dict) -> None:
    with pytest.raises(ConfigError, match="not JSON") as caught:
        save_model(make(), tmp_path / "model", about=about)
    assert isinstance(caught.value, UnderstudyError)
    assert not list(tmp_path.iterdir())
