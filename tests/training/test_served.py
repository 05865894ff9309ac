"""Asking ahead: only for what is not on file, through a defence, by one process at a time, over kills."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from understudy.data import Augment, ImageSet
from understudy.data.batches import seen_as
from understudy.errors import ConfigError, DivergenceError, IntegrityError
from understudy.models import Classifier, build_model, freeze
from understudy.runs.run import Run
from understudy.targets.class_defences import parse_class_defences
from understudy.training import _defended, served
from understudy.training.served import Served, gather

MakeRun = Callable[..., Run]
AUGMENT = Augment(crop_padding=1, flip=True)  # 18 views
KEYS = torch.tensor([0, 5, 17, 18, 100, 300, 719])


def network(seed: int = 3) -> Classifier:
    return build_model("mlp:widths=8", input_shape=(1, 5, 5), classes=3, mean=[0.5], std=[0.5], seed=seed)


@pytest.fixture(scope="module")
def images() -> ImageSet:
    generator = torch.Generator().manual_seed(7)
    grey = torch.randint(0, 256, (40, 1, 5, 5), dtype=torch.uint8, generator=generator)
    return ImageSet("toy", "train", grey, torch.arange(40) % 3, ("a", "b", "c"))


class Asking:
    """A teacher that counts the rows it sees, and a folder of its answers."""

    def __init__(self, images: ImageSet, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.images, self.folder, self.teacher, self.seen = images, folder, network(), [0]
        real = served.freeze

        def counting(*given: Any, **more: Any) -> Any:
            frozen = real(*given, **more)
            frozen.register_forward_pre_hook(lambda _, inputs: self.seen.append(len(inputs[0])))
            return frozen

        monkeypatch.setattr(served, "freeze", counting)

    def __call__(self, run: Run, keys: Tensor = KEYS, defence: str = "none", **changes: Any) -> Served:
        given: dict[str, Any] = {"augment": AUGMENT, "folder": self.folder, "base": None, "phase": "ask"}
        teacher = changes.pop("teacher", self.teacher)
        data = changes.pop("data", self.images)
        return gather(teacher, data, keys, run=run, defence=parse_class_defences(defence), **{**given, **changes})

    def logits(self, keys: Tensor = KEYS) -> Tensor:
        """Return the answers of the teacher itself, one query at a time."""
        with torch.no_grad():
            rows = [freeze(self.teacher)(seen_as(self.images, key // 18, key % 18, AUGMENT)) for key in keys[:, None]]
        return torch.cat(rows)


@pytest.fixture
def asking(images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asking:
    return Asking(images, tmp_path / "answers", monkeypatch)


def test_it_asks_for_what_is_missing_and_then_never_again(asking: Asking, make_run: MakeRun) -> None:
    first = asking(make_run("one"), KEYS.flip(0))
    assert (asking.seen, first.asked, first.kind) == ([0, 7], 7, "logits")
    torch.testing.assert_close(first.all().values, asking.logits(), rtol=1e-3, atol=1e-3)  # in float16
    assert torch.equal(first.keys, KEYS)
    more = torch.cat([KEYS, torch.tensor([1, 718])])
    second = asking(make_run("two"), more)
    assert (asking.seen, second.asked, len(second)) == ([0, 7, 2], 2, 9)
    found = second.at(KEYS // 18, KEYS % 18)
    assert torch.equal(found.values, first.all().values)
    third = asking(make_run("three"), more, teacher=network())  # equal weights: the same teacher
    assert (asking.seen, third.asked) == ([0, 7, 2], 0)
    assert torch.equal(third.all().values, second.all().values)


def test_a_teacher_in_train_mode_answers_as_in_eval_mode(asking: Asking, make_run: MakeRun) -> None:
    facts: dict[str, Any] = {"input_shape": (1, 5, 5), "classes": 3, "mean": [0.5], "std": [0.5], "seed": 1}
    training = build_model("cnn:widths=4", **facts).train()
    before = {name: value.clone() for name, value in training.state_dict().items()}
    found = asking(make_run("train"), teacher=training, folder=asking.folder / "train")
    assert training.training
    assert all(torch.equal(value, before[name]) for name, value in training.state_dict().items())
    evaluated = asking(make_run("eval"), teacher=training.eval(), folder=asking.folder / "eval")
    assert torch.equal(found.all().values, evaluated.all().values)


def test_a_defence_is_computed_once_on_answers_that_are_shared(
    asking: Asking, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = _defended.serve, []

    def counting(*given: Any, **more: Any) -> Tensor:
        calls.append(len(given[1]))
        found: Tensor = real(*given, **more)
        return found

    monkeypatch.setattr(_defended, "serve", counting)
    plain = asking(make_run("plain"))
    first = asking(make_run("first"), defence="top_k:2+rounding:1")
    again = asking(make_run("again"), defence="top_k:k=2 + rounding:1")
    assert (calls, asking.seen, first.kind) == ([7], [0, 7], "probabilities")
    assert torch.equal(first.all().values, again.all().values)
    chain = parse_class_defences("top_k:2+rounding:1")
    logits = plain.all().values
    expected = real(chain, logits, images=None, keys=torch.arange(7), seed=0, memory={})
    assert torch.equal(first.all().values, expected)
    asking(make_run("fewer"), KEYS[:3], defence="top_k:2+rounding:1")
    asking(make_run("other"), defence="top_k:1")
    asking(make_run("seed", seed=1), defence="top_k:1")
    assert (calls, asking.seen) == ([7, 3, 7], [0, 7])


def test_only_a_defence_that_draws_is_computed_for_each_seed(asking: Asking, make_run: MakeRun) -> None:
    drawn = [asking(make_run(f"s{seed}", seed=seed), defence="noise:1").all().values for seed in (0, 1)]
    assert not torch.equal(*drawn)
    fixed = [asking(make_run(f"f{seed}", seed=seed), defence="rounding:2").all().values for seed in (0, 1)]
    assert torch.equal(*fixed)
    assert len(list(asking.folder.glob("served-*"))) == 3


def test_a_random_defence_answers_a_view_alike_however_it_is_numbered(asking: Asking, make_run: MakeRun) -> None:
    """An image as it is has another number under another padding; whoever asks so gets no second draw."""
    wider = Augment(crop_padding=2)
    rows = torch.arange(40)
    narrow = asking(make_run("narrow"), rows * 18 + AUGMENT.plain, "noise:epsilon=0.5")
    keys = rows * wider.views + wider.plain
    wide = asking(make_run("wide"), keys, "noise:epsilon=0.5", augment=wider, folder=asking.folder / "wide")
    assert not torch.equal(narrow.all().values, asking(make_run("none"), narrow.keys).all().values)
    assert torch.equal(narrow.all().values, wide.all().values)


def test_chunks_change_no_answer_of_a_defence_with_a_memory(
    asking: Asking, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = torch.arange(720)
    spec = "modelguard_s:epsilon=0.4"
    whole = asking(make_run("whole"), keys, spec).all().values
    for path in asking.folder.glob("served-*"):
        path.unlink()
    monkeypatch.setattr(_defended, "_AT_ONCE", 97)
    assert torch.equal(asking(make_run("chunks"), keys, spec).all().values, whole)


def test_a_damaged_file_of_a_defence_is_refused_and_made_again(asking: Asking, make_run: MakeRun) -> None:
    first = asking(make_run("first"), defence="top_k:2")
    (path,) = asking.folder.glob("served-*")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match="differs from what was written"):
        asking(make_run("second"), defence="top_k:2")
    path.unlink()
    assert torch.equal(asking(make_run("third"), defence="top_k:2").all().values, first.all().values)


def test_answers_of_others_are_refused(asking: Asking, make_run: MakeRun, images: ImageSet) -> None:
    asking(make_run("first"))
    with pytest.raises(ConfigError, match="another teacher"):
        asking(make_run("second"), teacher=network(4))
    with pytest.raises(ConfigError, match="other training images"):
        asking(make_run("third"), data=images.take(torch.arange(39, -1, -1)))
    with pytest.raises(ConfigError, match="other crops"):
        asking(make_run("fourth"), augment=Augment(2))
    with pytest.raises(ConfigError, match="another precision"):
        asking(make_run("fifth", precision="bf16"))


def test_labels_are_no_part_of_what_is_asked(asking: Asking, make_run: MakeRun, images: ImageSet) -> None:
    asking(make_run("first"))
    other = ImageSet("toy", "train", images.images, images.labels.flip(0), images.classes)
    asking(make_run("second"), data=other)
    assert asking.seen == [0, 7]


def test_an_answer_beyond_float16_stops_it(asking: Asking, make_run: MakeRun) -> None:
    with torch.no_grad():
        list(asking.teacher.parameters())[-1].fill_(1e6)
    with pytest.raises(DivergenceError, match="beyond what float16 holds"):
        asking(make_run("first"))
    assert not list(asking.folder.glob("*.safetensors"))


def test_progress_and_time_are_shown(asking: Asking, make_run: MakeRun) -> None:
    run = make_run("first")
    asking(run, defence="top_k:2")
    assert run.timing().keys() == {"ask", "defend"}


@pytest.fixture(scope="module")
def together() -> Iterator[Callable[..., list[int]]]:
    """Return a function that gathers in processes of their own, at once, and returns how each ended."""
    if not hasattr(os, "fork"):
        pytest.skip("this system has no fork and no SIGKILL")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    script = Path(__file__).with_name("killed_gather.py")
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, script], text=True, env=environment, **pipes) as server:

        def gathered(*jobs: dict[str, Any]) -> list[int]:
            server.stdin.write(json.dumps(jobs, default=str) + "\n")
            server.stdin.flush()
            codes: list[int] = json.loads(server.stdout.readline())
            return codes

        yield gathered


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


def rows_asked(log: Path) -> int:
    return sum(map(int, log.read_text().split()))


def test_killed_anywhere_it_ends_in_the_same_bytes_and_counts(
    together: Callable[..., list[int]], tmp_path: Path
) -> None:
    def job(name: str, **more: Any) -> dict[str, Any]:
        place = {"run": tmp_path / f"{name}-run", "folder": tmp_path / name, "asked": tmp_path / f"{name}.asked"}
        return {**place, "first": 0, "end": 720, "defence": "noise:epsilon=0.5", **more}

    assert together(job("alone")) == [0]
    moments = [
        ("within a segment", 2), ("after a segment", 2), ("before the manifest", 1), ("after the manifest", 1),
        ("defending", 3), ("within a defended file", 1),
    ]  # fmt: skip
    for moment, count in moments:
        assert together(job("killed", moment=moment, count=count)) == [-signal.SIGKILL], moment
    assert list((tmp_path / "killed").glob(".*.partial"))  # the last kill has left something half-written
    assert together(job("killed")) == [0]
    assert files(tmp_path / "killed") == files(tmp_path / "alone")
    assert sorted(files(tmp_path / "alone"))[:2] == [
        "manifest.json",
        "served-" + sorted(files(tmp_path / "alone"))[1][7:],
    ]
    results = [json.loads((tmp_path / f"{name}-run.json").read_text()) for name in ("alone", "killed")]
    assert results[0] == results[1]
    assert results[0][0] == rows_asked(tmp_path / "alone.asked") == 720
    assert rows_asked(tmp_path / "killed.asked") == 720 + 180  # the segment that was being written


def test_two_processes_ask_no_query_twice(together: Callable[..., list[int]], tmp_path: Path) -> None:
    def job(name: str, first: int, end: int) -> dict[str, Any]:
        shared = {"folder": tmp_path / "store", "asked": tmp_path / "asked", "defence": "top_k:2"}
        return {**shared, "run": tmp_path / name, "first": first, "end": end}

    assert together(job("one", 0, 500), job("two", 200, 720), job("three", 0, 500)) == [0, 0, 0]
    assert rows_asked(tmp_path / "asked") == 720
    asked = {name: json.loads((tmp_path / f"{name}.json").read_text())[0] for name in ("one", "two", "three")}
    assert sum(asked.values()) == 720
    assert len(list((tmp_path / "store").glob("served-*"))) == 2
    assert not list((tmp_path / "store").glob("segment-*"))
