"""What every test shares: one thread, and small runs in folders of their own."""

from collections.abc import Callable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
import torch

from understudy.runs.options import RunOptions
from understudy.runs.progress import ProgressSink
from understudy.runs.run import Run

MakeRun = Callable[..., Run]


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    """Tiny tensors are faster without a team of threads, and test machines have few cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def text_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random encoder that knows the words of the embedded reviews: good for nothing, and quick."""
    from understudy.data.reviews import review_words
    from understudy.models.text.tiny import build_tiny

    return build_tiny(review_words(), tmp_path_factory.mktemp("encoder") / "bert", hidden=32, seed=0)


@pytest.fixture(scope="session")
def records() -> ModuleType:
    """The module of resistance studies whose numbers are made up: `records.made_up(...)`."""
    return _beside("resistance_records")


@pytest.fixture(scope="session")
def studies() -> ModuleType:
    """The module of text classifiers under attack whose numbers are made up: `studies.made_up(...)`."""
    return _beside("adapter_records")


def _beside(name: str) -> ModuleType:
    spec = spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Return a function that opens a run on the CPU, in a folder of the test's own."""

    def make_run(
        name: str = "run",
        *,
        config: dict[str, object] | None = None,
        progress: ProgressSink | None = None,
        **options: object,
    ) -> Run:
        resolved = RunOptions.model_validate({"device": "cpu", **options})
        return Run(tmp_path / name, {"name": name} if config is None else config, resolved, progress=progress)

    return make_run


@pytest.fixture
def run(make_run: MakeRun) -> Run:
    """A run with default options and seed 0."""
    return make_run()
