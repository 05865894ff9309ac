"""Save and load classifiers and encoders: a folder of safetensors, JSON and a model card, whole or not there.

`model.safetensors` holds the weights and, in its header, the record that `model.json` shows; `model.json`
adds the SHA-256 of that file. So a byte that changes in either is found. Pickles are never read.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from understudy.errors import ConfigError, IntegrityError, StorageError, UnderstudyError
from understudy.models._card import model_card
from understudy.models._record import FORMAT, read_record
from understudy.models.build import empty_model
from understudy.models.classifier import Classifier
from understudy.models.cost import count_parameters
from understudy.models.encoder import Encoder, empty_encoder, encoder_of, foreign_encoder
from understudy.models.foreign import Facts, is_foreign, load_foreign
from understudy.models.frozen import check_finite
from understudy.models.network import Network
from understudy.runs.files import folder_aside, read_json, sha256_file, write_json, write_text
from understudy.runs.tensors import load_tensors, save_tensors

_WEIGHTS = "model.safetensors"
_RECORD = "model.json"
_CARD = "README.md"
_PICKLES = frozenset({".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt", ".joblib"})
_RESTORE = "restore the folder from a copy, or make the model again"


def save_model(model: Network, folder: str | Path, *, about: Mapping[str, object]) -> None:
    """Write a model folder: `model.safetensors`, `model.json`, `README.md`; a valid hub repository by itself.

    Args:
        model: on any device; its spec must rebuild it, and its weights are finite.
        folder: is made, or takes the place of a model folder that is there.
        about: facts for people, JSON-able: what it was trained on, its accuracy, the command.

    Raises:
        ConfigError: the model is not what its spec builds, or `about` is not JSON.
        DivergenceError: a weight is NaN or infinite.
        StorageError: the disk refuses, or the folder holds something else. What was there stays.
    """
    folder = Path(folder)
    _check_place(folder)
    check_finite(model)
    state = _unshared(model.state_dict())
    record = {
        "format": FORMAT,
        **({"kind": "encoder", "head": model.head} if isinstance(model, Encoder) else {}),
        "spec": model.spec,
        "input_shape": list(model.input_shape),
        "width" if isinstance(model, Encoder) else "classes": model.outputs,
        "mean": model.normalise.mean.tolist(),
        "std": model.normalise.std.tolist(),
        "parameters": count_parameters(model),
        "about": _jsonable(about),
    }
    if fault := _misfit(state, _rebuild(record).state_dict()):
        raise ConfigError(
            f"the model is not what its spec builds, so it could not be loaded again: {fault}",
            where=f"spec {model.spec!r}",
        )
    with folder_aside(folder) as aside:
        record["sha256"] = save_tensors(aside / _WEIGHTS, state, record)
        record["file_sha256"] = sha256_file(aside / _WEIGHTS)
        write_json(aside / _RECORD, record)
        write_text(aside / _CARD, model_card(record))


def load_model(folder: str | Path) -> Classifier:
    """Return the classifier in a folder of `save_model`, in eval mode on the CPU; see `load_network`.

    Raises:
        ConfigError: the folder holds an encoder.
        IntegrityError: as `load_network`.
    """
    model = load_network(folder)
    if isinstance(model, Encoder):
        raise ConfigError(
            "this is an encoder, which gives embeddings and no classes",
            where=folder,
            fix="name a classifier here; encoders are targets of `understudy extract`",
        )
    return model


def load_encoder(folder: str | Path) -> Encoder:
    """Return the encoder in a folder, in eval mode on the CPU; of a classifier, what is under its last layer.

    Raises:
        IntegrityError: as `load_network`.
    """
    model = load_network(folder)
    return model if isinstance(model, Encoder) else encoder_of(model)


def load_network(folder: str | Path) -> Classifier | Encoder:
    """Return the classifier or encoder in a folder of `save_model`, in eval mode on the CPU.

    A model of a `python:` spec is rebuilt by its factory, which must be importable: load such a folder only
    if you trust that package. The folder itself never holds code.

    Args:
        folder: a model folder, or a run folder (its `model` folder is taken).

    Raises:
        IntegrityError: there is no model, or it is not what was saved: altered, cut short, of a newer format,
        with
            missing, unknown, misshapen or non-finite tensors. A pickle is never read.
    """
    folder = _find(Path(folder))
    record = read_record(folder / _RECORD)
    weights = folder / _WEIGHTS
    if not weights.is_file():
        raise IntegrityError("the model has no weights", where=weights, fix="copy the whole folder again")
    if sha256_file(weights) != record.file_sha256:
        raise IntegrityError(
            "the weights are not those that model.json records (SHA-256 mismatch): altered or cut short",
            where=weights,
            fix=_RESTORE,
        )
    tensors, header = load_tensors(weights, verify=False)  # every byte has just been verified
    if header != record.model_dump(exclude={"file_sha256"}, exclude_unset=True):
        raise IntegrityError(
            "model.json is not the one that was saved with these weights: altered",
            where=folder / _RECORD,
            fix=_RESTORE,
        )
    try:
        model = _rebuild(header)
        fault = _misfit(tensors, model.state_dict())
    except UnderstudyError as error:
        raise IntegrityError(f"the network cannot be rebuilt: {error}", where=folder) from error
    if fault:
        raise IntegrityError(f"the weights do not fit {record.spec!r}: {fault}", where=weights)
    # Copies: a memory-mapped weight would change, or vanish, with the file under it.
    copies = {name: tensor.clone() for name, tensor in tensors.items()}
    model.load_state_dict(copies, assign=not is_foreign(record.spec))
    try:
        check_finite(model)
    except UnderstudyError as error:
        raise IntegrityError(f"the model is of no use: {error}", where=weights) from error
    return model.eval()


def read_about(model: str | Path) -> dict[str, Any]:
    """Return what is on file of how a model was made: what its card says, and over it its run's `result.json`.

    Args:
        model: a model or run folder. Of any other spec nothing is on file; nor is it of a control, whose card names
            the method of the run beside which it stands.

    Raises:
        IntegrityError: there is no model in the folder, or a file is not as it was written.
    """
    folder = Path(model)
    if not folder.is_dir():
        return {}
    about = read_record(_find(folder) / _RECORD).about
    path = folder / "result.json"
    result = read_json(path) if path.is_file() else {}
    if not isinstance(result, dict):
        raise IntegrityError("not the result of a run", where=path, expected="a JSON object", fix=_RESTORE)
    return {} if about.get("control") else {**about, **result}


def _find(folder: Path) -> Path:
    """Return the folder that has the record: this one, or `model` in a run folder."""
    advice = "give a folder that understudy saved, with model.safetensors and model.json"
    if folder.suffix.lower() in _PICKLES and not folder.is_dir():
        raise IntegrityError("pickles are never loaded: they can run any code", where=folder, fix=advice)
    if not folder.is_dir():
        what = "this is a file, not a model folder" if folder.exists() else "model folder not found"
        raise IntegrityError(what, where=folder, fix=advice)
    for candidate in (folder, folder / "model"):
        if (candidate / _RECORD).is_file():
            return candidate
    if pickles := sorted(file.name for file in folder.iterdir() if file.suffix.lower() in _PICKLES):
        raise IntegrityError(
            f"there is no model.json, only {', '.join(pickles)}; pickles are never loaded",
            where=folder,
            fix=advice,
        )
    raise IntegrityError("the folder holds no model: model.json is missing", where=folder, fix=advice)


def _misfit(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    """Return what is wrong with the names, shapes or dtypes of tensors; nothing if they fit."""
    if missing := sorted(expected.keys() - found.keys()):
        return f"{len(missing)} tensors are missing, {missing[0]!r} first"
    if unknown := sorted(found.keys() - expected.keys()):
        return f"{len(unknown)} tensors are unknown, {unknown[0]!r} first"
    for name, tensor in found.items():
        other = expected[name]
        if tensor.shape != other.shape:
            return f"tensor {name!r} has shape {tuple(tensor.shape)}, not {tuple(other.shape)}"
        if tensor.dtype != other.dtype:
            return f"tensor {name!r} has dtype {tensor.dtype}, not {other.dtype}"
    return ""


def _rebuild(record: Mapping[str, Any]) -> Classifier | Encoder:
    """Return the network of a record for its names, shapes and dtypes; ours have no values yet."""
    spec, shape, mean, std = (record[key] for key in ("spec", "input_shape", "mean", "std"))
    if record.get("kind") == "encoder":
        if is_foreign(spec):
            return foreign_encoder(spec, Facts(shape, None, mean, std))
        width = record["width"] if record["head"] else None
        return empty_encoder(spec, input_shape=shape, width=width, mean=mean, std=std)
    if is_foreign(spec):
        return load_foreign(spec, Facts(shape, record["classes"], mean, std))
    return empty_model(spec, input_shape=shape, classes=record["classes"], mean=mean, std=std)


def _unshared(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors, with copies of those that share memory: safetensors writes each by itself."""
    seen: set[int] = set()
    result = {}
    for name, tensor in state.items():
        address = tensor.untyped_storage().data_ptr()
        result[name] = tensor.clone() if address in seen else tensor
        seen.add(address)
    return result


def _check_place(folder: Path) -> None:
    """Refuse to replace a folder that holds anything but a model."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / _RECORD).is_file():
        raise StorageError(
            "the folder is not empty and holds no model, and saving would replace it",
            where=folder,
            fix="choose another folder",
        )


def _jsonable(about: Mapping[str, object]) -> dict[str, Any]:
    try:
        result: dict[str, Any] = json.loads(json.dumps(dict(about), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the facts about the model are not JSON: {error}", where="about") from error
    return result
