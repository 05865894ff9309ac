"""`understudy resist` as a user types it: the table, the plan, the exit codes, and what it refuses."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from understudy.cli.resist import resist as command
from understudy.data import load_images
from understudy.errors import DivergenceError
from understudy.models import build_model, save_model
from understudy.study import resistance as study

Refused = Callable[..., str]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = load_images("digits", "train")
    model = build_model("mlp:widths=12", input_shape=data.shape, classes=10, mean=data.mean, std=data.std, seed=5)
    folder = tmp_path_factory.mktemp("teacher") / "network"
    save_model(model.eval(), folder, about={})
    return folder


def _without(line: list[object], flag: str) -> list[object]:
    """A command line without a flag and its values."""
    if flag not in line:
        return line
    at = line.index(flag)
    end = next((place for place in range(at + 1, len(line)) if str(line[place]).startswith("--")), len(line))
    return line[:at] + line[end:]


@pytest.fixture
def line(network: Path) -> list[object]:
    """A command line of one defended teacher and the fewest attackers that give a headline, without seeds."""
    return [
        "resist", "--data", "digits[0:100]", "--teachers", f"ordinary={network}", f"stingy={network}+top_k:2",
        "--students", "mlp:widths=8", "--attacks", "no_teacher:smoothing=0|0.1,kd:temperature=1,hard_label",
        "--epochs", 1, "--batch-size", 32, "--run", "study",
    ]  # fmt: skip


def test_it_prints_a_table_the_verdict_and_where_the_page_lies_and_goes_on(
    cli, line: list[object], scratch: Path
) -> None:
    done = cli(*line, "--seeds", 2)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[-2:] == ["report: study/resistance.html", "run:    study"]
    assert any(row.split()[:1] == ["stingy"] for row in lines)
    assert any(row.startswith("stingy: ") and "The owner loses 0.0 points of accuracy." in row for row in lines)
    assert "1 of 12: no_teacher (smoothing=0), mlp:widths=8, labelled, seed 0" in done.err
    assert (scratch / "study" / "resistance.html").exists()

    again = cli(*line, "--seeds", "0,1", "--json")
    assert again.code == 0
    assert again.err == ""
    assert again.json["folder"] == "study"
    assert len(again.json["cells"]) == 12

    other = cli(*line, "--seeds", 3)
    assert other.code == 2
    assert "another configuration: seeds" in other.err

    rewritten = cli("resist", "--config", "study/config.toml", "--run", "study", "--json")
    assert rewritten.json == again.json


def test_the_plan_is_printed_and_nothing_is_written(cli, line: list[object], scratch: Path) -> None:
    planned = cli(*line, "--regimes", "labelled,partial:0.5", "--dry-run")
    assert planned.code == 0, planned.err
    for row in ("trainings: 36", "done: 0", "folder: study (new)", 'stingy = "'):
        assert row in planned.out
    assert list(scratch.iterdir()) == []
    assert cli(*line, "--dry-run", "--json").json["cost"]["teacher_answers_at_most"] == 100


def test_flags_stand_over_the_file(cli, network: Path, scratch: Path) -> None:
    (scratch / "study.toml").write_text(
        'data = "digits"\nordinary = "plain"\nstudents = ["mlp:widths=8"]\nattacks = ["kd:temperature=1"]\n'
        f'[teachers]\nplain = "{network}"\nother = "{network}+labels"\n[options]\nflip = true\n'
        "[options.fit]\nepochs = 5\n",
        encoding="utf-8",
    )
    line = ("resist", "--config", "study.toml", "--dry-run", "--json")
    config = cli(*line, "--epochs", 2, "--students", "mlp:widths=8,cnn:widths=4-8,pool=global").json["config"]
    assert config["options"] == {"flip": True, "fit": {"epochs": 2}}
    assert config["students"] == ["mlp:widths=8", "cnn:widths=4-8,pool=global"]
    assert config["ordinary"] == "plain"
    config = cli(*line, "--teachers", f"x={network}", f"y={network}+labels").json["config"]
    assert list(config["teachers"]) == ["x", "y"]
    assert config["ordinary"] == "x"
    config = cli(*line, "--teachers", f"x={network}", "--teachers", f"ordinary={network}").json["config"]
    assert config["ordinary"] == "ordinary"


def test_a_training_that_fails_is_shown_last_and_exits_2(
    cli, line: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = study.run_cell

    def broken(grid: Any, cell: Any, folder: Path, **more: Any) -> dict[str, Any]:
        if (cell.teacher, cell.attack) == ("stingy", "hard_label"):
            raise DivergenceError("the loss became NaN", where="step 3")
        return real(grid, cell, folder, **more)

    monkeypatch.setattr(study, "run_cell", broken)
    done = cli(*line, "--seeds", 1)
    assert done.code == 2
    assert "No headline" in done.out
    assert "report: study/resistance.html" in done.out
    assert "error: 1 of the study's trainings could not be finished; the first: the loss became NaN" in done.err
    assert "run the same command again" in done.err
    assert "Traceback" not in done.err


def test_the_help_says_what_a_regime_is() -> None:
    assert command.__doc__ is not None
    assert "partial:0.1" in command.__doc__


class TestRefusals:
    """What cannot be is said before anything is asked or written."""

    @pytest.fixture(autouse=True)
    def _nothing_is_written(self, scratch: Path) -> Iterator[None]:
        yield
        assert [path for path in scratch.iterdir() if path.suffix != ".toml"] == []

    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            (("--teachers", "nowhere/run"), "cannot read 'nowhere/run' as a teacher"),
            (("--teachers", "=nowhere/run"), "cannot read '=nowhere/run' as a teacher"),
            (("--teachers", "a=x", "a=y"), "two teachers are named 'a'"),
            (("--teachers", "a=x"), "no such folder"),
            (("--teachers", "a=nowhere/run", "b=y"), "nowhere/run"),
            (("--teachers", "a=x", "b=y+top_k:none"), "cannot be 'none'"),
            (("--ordinary", "stingi"), "did you mean 'stingy'"),
            (("--students", "mlpp"), "no architecture is called 'mlpp'"),
            (("--students", "mlp,,cnn"), "an empty word"),
            (("--students", "mlp:width=8"), "did you mean 'widths'"),
            (("--attacks", "kdd"), "there is no attack 'kdd'"),
            (("--attacks", "kd,"), "an empty attack"),
            (("--attacks", "kd:temperature=0|4"), "greater than 0"),
            (("--regimes", "all"), "there is no regime 'all'"),
            (("--regimes", "partial:2"), "no share of the labels in 'partial:2'"),
            (("--seeds", "0"), "0 seeds"),
            (("--seeds", "-1"), "seeds"),
            (("--seeds", "1.5"), "'1.5' is no whole number"),
            (("--seeds", "0,"), "an empty word in '0,'"),
            (("--seeds", "0,-1"), "greater than or equal to 0"),
            (("--queries", "./nowhere.parquet"), "nowhere.parquet"),
            (("--data", "./nowhere.parquet"), "nowhere.parquet"),
            (("--epochs", "0"), "epochs"),
            (("--batch-size", "1.5"), "no whole number"),
            (("--learning-rate", "-1"), "learning_rate"),
            (("--held-out", "1"), "held_out"),
            (("--margin", "2"), "margin"),
            (("--preset", "nothing"), "has no preset 'nothing'"),
            (("--config", "nowhere.toml"), "cannot read the configuration"),
            (("--device", "abacus"), "abacus"),
            (("--colour", "red"), "--colour"),
        ],
    )
    def test_by_name(self, refused: Refused, line: list[object], flags: tuple[str, ...], message: str) -> None:
        assert message in refused(*_without(line, flags[0]), *flags)

    @pytest.mark.parametrize("flag", ["--data", "--teachers", "--students"])
    def test_what_is_missing(self, refused: Refused, line: list[object], flag: str) -> None:
        message = refused(*_without(line, flag))
        assert f"{flag} is missing" in message
        assert "expected:" in message

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("data = ", "the configuration is no TOML"),
            ('colour = "red"', "'colour' is no option here"),
            ("teachers = 3", "a section [teachers]"),
            ("[teachers]\na = 3", 'lines NAME = "RUN" under [teachers]'),
            ('seeds = "3"', "a list: seeds = ['3']"),
            ("attacks = [1]", "a list of texts in quotes"),
            ("[options]\ntemperature = 3", "'temperature' is no option of every attacker"),
        ],
    )
    def test_a_file_that_cannot_be(
        self, refused: Refused, line: list[object], scratch: Path, text: str, message: str
    ) -> None:
        (scratch / "bad.toml").write_text(text, encoding="utf-8")
        assert message in refused(*line, "--config", "bad.toml")
