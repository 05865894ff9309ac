"""The command line, called in this process in a scratch folder, and tiny things to feed it."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from understudy.cli.app import run

_TRAIN = ("train", "--data", "digits", "--model", "cnn:widths=4-8", "--epochs", "1")
_CAKE = (
    "distil", "cake", "--student", "cnn:widths=4", "--data", "digits", "--sets", "3", "--samples-per-set", "20",
    "--sets-at-once", "1", "--steps", "4", "--epochs", "1", "--batch-size", "16", "--log-every", "1",
)  # fmt: skip


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, which must be one JSON object and nothing else."""
        return json.loads(self.out)


Cli = Callable[..., Said]


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder at 80 columns, and do not spend a second on each throughput."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("understudy.study.measure.throughput", lambda model, shape: 1.0)  # noqa: ARG005
    return tmp_path


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run a command line in this process."""

    def call(*tokens: object) -> Said:
        capsys.readouterr()
        code = run([str(token) for token in tokens])
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return call


@pytest.fixture
def refused(cli: Cli) -> Callable[..., str]:
    """Run a command line that must be refused as every one is, and return its message."""

    def call(*tokens: object) -> str:
        said = cli(*tokens)
        assert said.code == 2
        assert said.out == ""
        assert said.err.startswith("error: ")
        assert "Traceback" not in said.err
        return said.err

    return call


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a finished run of `train`: a teacher of 10 classes and 1 x 8 x 8 pixels."""
    folder = tmp_path_factory.mktemp("teacher") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("understudy.study.measure.throughput", lambda model, shape: 1.0)  # noqa: ARG005
        assert run([*_TRAIN, "--json", "--run", str(folder)]) == 0
    return folder


@pytest.fixture
def train_line(tmp_path: Path) -> list[str]:
    """A command line that trains a tiny classifier in well under a second, into `run`."""
    return [*_TRAIN, "--run", str(tmp_path / "run")]


@pytest.fixture
def cake_line(tmp_path: Path, teacher: Path) -> list[str]:
    """A command line that distils the teacher in well under a second, into `run`."""
    return [*_CAKE, "--teacher", str(teacher), "--run", str(tmp_path / "run")]


@pytest.fixture
def image_folder(tmp_path: Path) -> Callable[..., Path]:
    """Write `train/CLASS/*.png` and `test/CLASS/*.png` of noise."""

    def write(*, classes: int = 10, size: tuple[int, int] = (8, 8), channels: int = 1, each: int = 3) -> Path:
        folder = tmp_path / f"images-{classes}-{size[0]}x{size[1]}-{channels}"
        random = np.random.default_rng(0)
        for split in ("train", "test"):
            for label in range(classes):
                place = folder / split / f"{label:02d}"
                place.mkdir(parents=True)
                for row in range(each):
                    shape = size if channels == 1 else (*size, channels)
                    pixels = random.integers(0, 256, shape, dtype=np.uint8)
                    Image.fromarray(pixels).save(place / f"{row}.png")
        return folder

    return write


@pytest.fixture
def snapshot() -> Callable[[Path], dict[str, tuple[int, bytes]]]:
    """Return modification time and content of every file below a folder."""

    def take(folder: Path) -> dict[str, tuple[int, bytes]]:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}

    return take
