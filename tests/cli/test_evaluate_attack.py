"""`understudy evaluate --attack` as a user types it: the table, the verdict, the flags, and what it refuses."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from torch.nn import functional

import understudy.evaluation.robustness as robustness
from understudy.attacks._components import Effort
from understudy.data import as_float, load_images
from understudy.models import build_model, save_model

Refused = Callable[..., str]

_NETS = """
import torch
from torch import nn

class Net(nn.Module):
    input_shape, classes = (1, 8, 8), 10

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 10)
        draws = torch.Generator().manual_seed(0)
        self.layer.weight.data.copy_(torch.randn(10, 64, generator=draws))
        self.layer.bias.data.zero_()

    def forward(self, x):
        return self.layer(x.flatten(1))

class Probabilities(Net):
    def forward(self, x):
        return super().forward(x).softmax(1)

class Blind(Net):
    def forward(self, x):
        return super().forward(x).detach()
"""


@pytest.fixture(scope="session")
def able(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a network of digits that knows them."""
    data = load_images("digits", "train")
    model = build_model("mlp:widths=24", input_shape=data.shape, classes=10, mean=data.mean, std=data.std, seed=0)
    x, parameters = as_float(data.images), list(model.parameters())
    for _ in range(50):
        loss = functional.cross_entropy(model(x), data.labels, reduction="mean")
        with torch.no_grad():
            for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                parameter -= 0.5 * gradient
    folder = tmp_path_factory.mktemp("able") / "net"
    save_model(model.eval(), folder, about={})
    return folder


@pytest.fixture
def line(able: Path) -> list[object]:
    """A command line of two attacks on few images."""
    return [
        "evaluate", able, "--data", "digits", "--attack", "fgsm,pgd20", "--epsilon", "8/255", "--rows", 30,
        "--sweep", "8/255", "--run", "attacked",
    ]  # fmt: skip


@pytest.fixture
def own_nets(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (scratch / "nets_of_the_user.py").write_text(_NETS)
    monkeypatch.syspath_prepend(scratch)


def test_it_prints_a_table_a_verdict_and_where_the_page_lies(cli, line: list[object], scratch: Path) -> None:
    done = cli(*line)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[-2:] == ["report: attacked/robustness.html", "run:    attacked"]
    first = [row.split()[0] for row in lines if row.strip() and "%" in row][:4]
    assert first == ["no", "fgsm", "pgd20", "worst"]
    assert "linf 8/255" in done.out
    assert "every pixel may change by at most 8/255" in done.out
    assert "This is an upper bound" in done.out
    assert "model: " in done.err
    assert (scratch / "attacked" / "robustness.html").exists()

    again = cli(*line, "--json", "--out", "x/scores.json")
    assert again.err == ""
    assert again.json["folder"] == "attacked"
    assert json.loads((scratch / "x" / "scores.json").read_text()) == again.json
    assert again.json["threat"]["epsilon"] == 8 / 255

    other = cli(*line, "--seed", 1)
    assert other.code == 2
    assert "another configuration: run.seed" in other.err
    fresh = cli(*line, "--seed", 1, "--fresh", "--json")
    assert fresh.json["folder"] == "attacked-2"


def test_without_a_folder_it_names_one(cli, able: Path) -> None:
    done = cli("evaluate", able, "--data", "digits", "--attack", "pgd1", "--rows", 5, "--sweep", "8/255", "--json")
    assert done.code == 0, done.err
    assert done.json["folder"].startswith("runs/robustness-net-")
    assert [attack["name"] for attack in done.json["attacks"]] == ["pgd20", "pgd1"]


@pytest.mark.usefixtures("own_nets")
def test_a_red_flag_stops_the_verdict_and_exits_2(cli) -> None:
    line = [
        "evaluate", "python:nets_of_the_user:Probabilities", "--data", "digits", "--attack", "pgd20", "--rows", 40,
        "--sweep", "8/255", "--run", "attacked",
    ]  # fmt: skip
    done = cli(*line)
    assert done.code == 2
    assert "worst case" in done.out  # the numbers are shown
    assert "This is an upper bound" not in done.out
    assert "error: no verdict: there are signs that these numbers cannot be believed" in done.err
    assert "probabilities (Probabilities): answers are probabilities, not logits" in done.err
    assert "To do: evaluate the network without its softmax layer." in done.err
    assert "Traceback" not in done.err
    names = done.err.rpartition("--acknowledge ")[2].strip()
    assert "probabilities" in names.split(",")

    told = cli(*line, "--json")
    assert told.code == 2
    assert told.json["verdict"] is None

    through = cli(*line, "--acknowledge", names)
    assert through.code == 0, through.err
    assert "acknowledged red flag probabilities (last)" in through.out
    assert "Red flags were found and acknowledged, so the number may be too high" in through.out


class TestRefusals:
    """What cannot be is said before anything is attacked or written."""

    @pytest.fixture(autouse=True)
    def _nothing_is_written(self, scratch: Path) -> Iterator[None]:
        yield
        assert [path.name for path in scratch.iterdir() if path.suffix != ".py" and path.name != "__pycache__"] == []

    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            (("--epsilon", "8"), "did you mean 8/255?"),
            (("--epsilon", "8.0"), "did you mean 8/255?"),
            (("--epsilon", "much"), "'much' is no radius"),
            (("--epsilon", "nan"), "finite and not below 0"),
            (("--sweep", "0,16"), "did you mean 16/255?"),
            (("--attack", "pdg20"), "did you mean 'pgd20'"),
            (("--attack", "fgsm,fgsm"), "named twice"),
            (("--norm", "linff"), 'Did you mean "linf"?'),
            (("--rows", "0"), "greater than 0"),
            (("--rows", "1.5"), "'1.5' is no whole number"),
            (("--batch-size", "0"), "batch size 0"),
            (("--acknowledge", "squares"), "did you mean 'square'"),
            (("--against", "nowhere/run"), "nowhere/run"),
            (("--teacher", "nowhere/run"), "nowhere/run"),
        ],
    )
    def test_flags(self, refused: Refused, line: list[object], flags: tuple[str, str], message: str) -> None:
        at = line.index(flags[0]) if flags[0] in line else len(line)
        assert message in refused(*line[:at], *line[at + 2 :], *flags)

    def test_the_radius_of_l2_must_be_given(self, refused: Refused, able: Path) -> None:
        said = refused("evaluate", able, "--data", "digits", "--attack", "pgd20", "--norm", "l2")
        assert "--epsilon is missing" in said

    @pytest.mark.parametrize(
        "flag", ["--epsilon", "--rows", "--against", "--sweep", "--run", "--acknowledge", "--seed"]
    )
    def test_flags_of_an_attack_without_one(self, refused: Refused, able: Path, flag: str) -> None:
        said = refused("evaluate", able, "--data", "digits", flag, "1")
        assert f"{flag} is for an evaluation under attack" in said
        assert "--attack" in said

    def test_a_teacher_with_other_classes(self, refused: Refused, line: list[object], scratch: Path) -> None:
        model = build_model("mlp:widths=4", input_shape=(1, 8, 8), classes=11, mean=[0.0], std=[1.0], seed=0)
        save_model(model, scratch.parent / "eleven", about={})
        assert "tells 11 classes apart" in refused(*line, "--teacher", scratch.parent / "eleven")

    def test_autoattack_that_is_not_installed(
        self, refused: Refused, line: list[object], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import sys

        monkeypatch.setitem(sys.modules, "pyautoattack", None)
        assert "understudy[attacks]" in refused(*line[:5], "pgd20,autoattack", *line[6:])


@pytest.mark.usefixtures("own_nets")
def test_a_network_without_gradients_is_refused_in_plain_words(cli) -> None:
    done = cli("evaluate", "python:nets_of_the_user:Blind", "--data", "digits", "--attack", "pgd20", "--rows", 5)
    assert done.code == 2
    assert "error: the model's answers carry no gradient" in done.err
    assert "a differentiable model" in done.err
    assert "Traceback" not in done.err


def test_two_classes_fall_back_with_a_note(
    cli, image_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    less = Effort(iterations=3, targets=1, queries=20)
    monkeypatch.setattr(robustness, "auto_attack", partial(robustness.auto_attack, effort=less))
    data = image_folder(classes=2, each=4)
    trained = cli("train", "--data", data, "--model", "mlp:widths=4", "--epochs", 1, "--run", "two", "--json")
    assert trained.code == 0, trained.err
    done = cli(
        "evaluate", "two", "--data", data, "--attack", "pgd20,autoattack", "--epsilon", 0.001, "--run", "attacked",
        "--acknowledge", "chance,sweep,normalisation", "--sweep", 0.001, "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert any("2 classes: the targeted DLR loss needs four" in note for note in done.json["notes"])
    assert done.json["scores"]["last"]["attacks"]["autoattack"]["robust"]["n"] == 8
