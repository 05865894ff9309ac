"""Damaged, missing or misfitting input, through the command line: refused before the first step, by name."""

import io
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from understudy.models import load_model, save_model

Refused = Callable[..., str]


def _distil(refused: Refused, model: Path | str, *more: object) -> str:
    return refused("distil", "cake", "--teacher", model, "--student", "cnn", "--data", "digits", *more)


def _every_use(refused: Refused, model: Path | str) -> list[str]:
    """Return what is said of a model by each of the verbs that take one."""
    return [_distil(refused, model), refused("evaluate", model, "--data", "digits")]


class TestModelFolders:
    """A model that is not what was saved is never used."""

    @pytest.fixture
    def copy(self, teacher: Path, scratch: Path) -> Path:
        return Path(shutil.copytree(teacher / "model", scratch / "copy"))

    def test_missing(self, refused: Refused, scratch: Path) -> None:
        for message in _every_use(refused, "runs/nothing"):
            assert "model folder not found" in message
            assert "runs/nothing" in message
        assert list(scratch.iterdir()) == []

    def test_truncated(self, refused: Refused, copy: Path) -> None:
        weights = copy / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-100])
        for message in _every_use(refused, copy):
            assert "altered or cut short" in message
            assert "model.safetensors" in message

    def test_altered_by_one_byte(self, refused: Refused, copy: Path) -> None:
        weights = copy / "model.safetensors"
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(content)
        for message in _every_use(refused, copy):
            assert "SHA-256 mismatch" in message

    def test_a_record_that_is_cut_short(self, refused: Refused, copy: Path) -> None:
        (copy / "model.json").write_text('{"format": 1, ')
        for message in _every_use(refused, copy):
            assert "not readable as JSON" in message
            assert "model.json" in message

    def test_a_pickle_is_named_and_never_run(self, refused: Refused, scratch: Path) -> None:
        class Payload:
            def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
                return Path.touch, (Path("pwned"),)  # type: ignore[return-value]

        (scratch / "weights.pt").write_bytes(pickle.dumps(Payload()))
        (scratch / "model").mkdir()
        (scratch / "model" / "pytorch_model.bin").write_bytes(pickle.dumps(Payload()))
        for name in ("weights.pt", "./model"):
            for message in _every_use(refused, name):
                assert "pickles are never loaded" in message
        assert not (scratch / "pwned").exists()

    def test_weights_that_are_not_numbers(
        self, refused: Refused, teacher: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model = load_model(teacher)
        with torch.no_grad():
            next(model.net.parameters()).view(-1)[0] = float("nan")
        with monkeypatch.context() as patch:
            patch.setattr("understudy.models.store.check_finite", lambda model: None)  # noqa: ARG005
            save_model(model, scratch / "nan", about={})
        for message in _every_use(refused, scratch / "nan"):
            assert "NaN" in message or "not finite" in message


class TestData:
    """Data that cannot be what was meant."""

    @pytest.fixture
    def uses(self, refused: Refused, teacher: Path) -> Callable[[Path], list[str]]:
        def every_use(data: Path) -> list[str]:
            kd = ("distil", "kd", "--teacher", teacher, "--student", "cnn")
            return [
                refused("train", "--model", "cnn", "--data", data),
                refused(*kd, "--data", data),
                refused("evaluate", teacher, "--data", data),
            ]

        return every_use

    def test_missing(self, uses: Callable[[Path], list[str]], scratch: Path) -> None:
        for message in uses(scratch / "flowers"):
            assert "no such file or folder" in message
            assert "flowers" in message

    def test_a_corrupt_table(self, uses: Callable[[Path], list[str]], scratch: Path) -> None:
        for name in ("train", "test"):
            path = scratch / "set" / f"{name}.parquet"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"PAR1" + bytes(40))
        for message in uses(scratch / "set"):
            assert ".parquet" in message

    def test_a_corrupt_image(self, uses: Callable[[Path], list[str]], image_folder: Callable[..., Path]) -> None:
        folder = image_folder()
        for split in ("train", "test"):
            broken = folder / split / "03" / "1.png"
            broken.write_bytes(broken.read_bytes()[:40])
        for message in uses(folder):
            assert "03/1.png" in message

    def test_empty(self, uses: Callable[[Path], list[str]], scratch: Path) -> None:
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        table = pa.table({"image": pa.array([], type=kind), "label": pa.array([], type=pa.int64())})
        (scratch / "set").mkdir()
        for name in ("train", "test"):
            pq.write_table(table, scratch / "set" / f"{name}.parquet")
        for message in uses(scratch / "set"):
            assert "empty" in message

    def test_one_class(self, uses: Callable[[Path], list[str]], scratch: Path) -> None:
        file = io.BytesIO()
        Image.new("L", (8, 8)).save(file, format="PNG")
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        images = pa.array([{"bytes": file.getvalue(), "path": None}] * 4, type=kind)
        (scratch / "set").mkdir()
        for name in ("train", "test"):
            pq.write_table(pa.table({"image": images, "label": [0] * 4}), scratch / "set" / f"{name}.parquet")
        for message in uses(scratch / "set"):
            assert "class" in message

    def test_labels_outside_the_teachers_classes(
        self, refused: Refused, teacher: Path, image_folder: Callable[..., Path], scratch: Path
    ) -> None:
        data = image_folder(classes=12)
        for verb in (["distil", "kd"], ["distil", "cake"]):
            message = refused(*verb, "--teacher", teacher, "--student", "cnn", "--data", data)
            assert "label 11 lies outside the 10 classes" in message
        assert "label 11 lies outside the 10 classes" in refused("evaluate", teacher, "--data", data)
        assert not (scratch / "runs").exists()

    @pytest.mark.parametrize(("size", "channels", "shape"), [((6, 8), 1, "(1, 6, 8)"), ((8, 8), 3, "(3, 8, 8)")])
    def test_images_of_another_size_or_channel_count(
        self,
        refused: Refused,
        teacher: Path,
        image_folder: Callable[..., Path],
        scratch: Path,
        size: tuple[int, int],
        channels: int,
        shape: str,
    ) -> None:
        data = image_folder(size=size, channels=channels)
        for verb in (["distil", "kd"], ["distil", "cake"]):
            message = refused(*verb, "--teacher", teacher, "--student", "cnn", "--data", data)
            assert f"images of shape {shape} do not fit" in message
            assert "(1, 8, 8)" in message
        assert f"images of shape {shape} do not fit" in refused("evaluate", teacher, "--data", data)
        assert not (scratch / "runs").exists()


_NAN_TEACHER = """
import torch
from torch import nn

class Net(nn.Module):
    input_shape, classes, mean, std = (1, 8, 8), 10, [0.0], [1.0]

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(64, 10)

    def forward(self, x):
        return self.layer(x.flatten(1)) + torch.sqrt(LIMIT - x.abs().amax())
"""


@pytest.mark.parametrize(("limit", "step"), [(8.0, None), (0.5, 0)])
def test_a_teacher_that_answers_nan_while_samples_are_drawn(
    refused: Refused, scratch: Path, monkeypatch: pytest.MonkeyPatch, limit: float, step: int | None
) -> None:
    module = f"nan_teacher_{step}"
    (scratch / f"{module}.py").write_text(_NAN_TEACHER.replace("LIMIT", str(limit)))
    monkeypatch.syspath_prepend(scratch)
    line = ["distil", "cake", "--student", "cnn:widths=4", "--sets", 2, "--samples-per-set", 20, "--steps", 40]
    message = refused(*line, "--teacher", f"python:{module}:Net", "--run", "run", "--step-size", 1)
    assert "NaN" in message
    assert "set 0" in message
    assert "step" in message
    if step == 0:
        assert "the teacher's answer to a finite input" in message
        assert "check the teacher" in message
    else:
        assert "lower the step size" in message
    assert list((scratch / "run").rglob("shard-*")) == []
    assert not (scratch / "run" / "result.json").exists()


class TestRunFolders:
    """A folder that cannot be the run's own is left as it is."""

    def test_of_another_configuration(
        self, cli, refused: Refused, train_line: list[str], scratch: Path, snapshot
    ) -> None:
        assert cli(*train_line, "--json").code == 0
        before = snapshot(scratch / "run")
        message = refused(*train_line, "--label-smoothing", 0.1, "--seed", 3)
        assert "another configuration" in message
        assert "options.label_smoothing (there 0.0, now 0.1)" in message
        assert "run.seed (there 0, now 3)" in message
        assert "--fresh" in message
        assert snapshot(scratch / "run") == before

    def test_of_another_method(self, cli, refused: Refused, train_line: list[str], cake_line: list[str]) -> None:
        assert cli(*train_line, "--json").code == 0
        assert "method (there 'supervised', now 'cake')" in refused(*cake_line)

    def test_with_foreign_files(self, refused: Refused, train_line: list[str], scratch: Path, snapshot) -> None:
        (scratch / "run").mkdir()
        (scratch / "run" / "thesis.tex").write_text("dear to me")
        before = snapshot(scratch / "run")
        for more in ([], ["--dry-run"]):
            message = refused(*train_line, *more)
            assert "the folder holds other files and no run" in message
            assert "thesis.tex" in message
            assert "--run" in message
        assert snapshot(scratch / "run") == before

    def test_with_a_configuration_that_cannot_be_read(
        self, refused: Refused, train_line: list[str], scratch: Path
    ) -> None:
        (scratch / "run").mkdir()
        (scratch / "run" / "config.toml").write_text("= 3")
        assert "not readable as TOML" in refused(*train_line)

    def test_below_a_regular_file(self, refused: Refused, train_line: list[str], scratch: Path) -> None:
        (scratch / "file").write_text("keep")
        for place in ("file", "file/run"):
            message = refused(*train_line[:-1], place)
            assert "cannot write: Not a directory" in message
            assert "choose another folder" in message
        assert (scratch / "file").read_text() == "keep"

    def test_with_a_damaged_checkpoint(self, cli, refused: Refused, train_line: list[str], scratch: Path) -> None:
        assert cli(*train_line, "--json").code == 0
        (scratch / "run" / "result.json").unlink()
        checkpoint = scratch / "run" / "checkpoint" / "fit.safetensors"
        content = bytearray(checkpoint.read_bytes())
        content[-3] ^= 1
        checkpoint.write_bytes(content)
        message = refused(*train_line)
        assert "fit.safetensors" in message
        assert "SHA-256 mismatch" in message

    def test_with_a_damaged_bank(self, cli, refused: Refused, cake_line: list[str], scratch: Path) -> None:
        assert cli(*cake_line, "--json").code == 0
        (scratch / "run" / "result.json").unlink()
        shard = scratch / "run" / "bank" / "shard-00001.safetensors"
        shard.write_bytes(shard.read_bytes()[:-1])
        message = refused(*cake_line)
        assert "shard-00001.safetensors" in message
