"""A grid of attackers from start to end: what it finds, what it shares, how it goes on, and what it refuses."""

import json
import signal
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import torch

from understudy.data import load_images
from understudy.errors import ConfigError, DivergenceError, IntegrityError, UnderstudyError
from understudy.models import build_model, save_model
from understudy.study import resistance as study
from understudy.study.resistance import make_resistance, plan_resistance, run_resistance

STUDENT = "mlp:widths=8"
VALUES: dict[str, Any] = {
    "data": "digits[0:200]",
    "students": [STUDENT],
    "attacks": ["no_teacher:smoothing=0|0.1", "kd:temperature=1", "hard_label"],
    "regimes": ["labelled", "unlabelled"],
    "seeds": [0, 1],
    "options": {"fit": {"epochs": 2, "batch_size": 32, "learning_rate": 0.1}},
    "run": {"device": "cpu", "log_every": 2},
}
Make = Callable[..., study.Resistance]
CELLS = 2 * ((2 + 3 * 2) + 3 * 2)


def _network(seed: int, classes: int = 10, shape: tuple[int, ...] = (1, 8, 8)) -> Any:
    return build_model("mlp:widths=12", input_shape=shape, classes=classes, mean=[0.3], std=[0.4], seed=seed).eval()


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with teachers of two seeds, untrained: what they say is no use, and that is no matter here."""
    folder = tmp_path_factory.mktemp("teachers")
    for seed in (0, 1):
        save_model(_network(seed), folder / f"t{seed}", about={})
    return folder


@pytest.fixture(scope="module")
def make(teachers: Path) -> Make:
    """Return a function that resolves the study of these tests with some values changed."""
    path = f"{teachers}/t{{seed}}"
    given = {"ordinary": path, "same": f"{path}+none", "stingy": f"{path}+top_k:2"}
    return lambda **changes: make_resistance({"teachers": given, **VALUES, **changes})


@pytest.fixture(scope="module")
def done(make: Make, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The study of these tests, carried out."""
    return run_resistance(make(), tmp_path_factory.mktemp("study") / "run")


SMALL: dict[str, Any] = {"seeds": [1], "attacks": VALUES["attacks"][:2]}
"""A part of the study of these tests, of eight trainings."""


@pytest.fixture(scope="module")
def small(make: Make, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """That part, carried out."""
    return run_resistance(make(**SMALL), tmp_path_factory.mktemp("study") / "small")


def _lasting(found: dict[str, Any]) -> dict[str, Any]:
    """What a study has found, without its times and the place where it lies."""
    cells = [{**cell, "seconds": 0} for cell in found["cells"]]
    answers = {**found["answers"], "gather_s": 0, "fit_s": 0}
    moving = ("folder", "name", "date", "command", "machine")
    return {**{key: value for key, value in found.items() if key not in moving}, "cells": cells, "answers": answers}


class TestWhatIsFound:
    """The record of a finished study."""

    def test_every_training_has_its_cell(self, done: dict[str, Any]) -> None:
        assert len(done["cells"]) == CELLS
        assert done["failures"] == []
        keys = {
            tuple(cell[name] for name in ("teacher", "student", "regime", "attack", "variant", "seed"))
            for cell in done["cells"]
        }
        assert len(keys) == CELLS
        assert all(0 <= cell["accuracy"] <= 1 for cell in done["cells"])
        assert {cell["teacher"] for cell in done["cells"] if cell["attack"] == "no_teacher"} == {None}

    def test_a_defence_that_does_nothing_protects_from_nothing_exactly(self, done: dict[str, Any]) -> None:
        zero = {"value": 0.0, "low": 0.0, "high": 0.0, "n": 2}
        for regime in done["summary"]["same"]["regimes"].values():
            student = regime["students"][STUDENT]
            assert [one["protection"] for one in student["attacks"].values()] == [zero, zero]
            assert student["plain"]["protection"] == student["best"]["protection"] == zero
        assert done["summary"]["same"]["cost"] == {**zero, "over": "seeds"}

    def test_students_of_a_seed_start_alike_and_the_labels_of_the_class_are_as_the_defence_leaves_them(
        self, done: dict[str, Any]
    ) -> None:
        hard = {
            (cell["teacher"], cell["seed"], cell["regime"]): cell["accuracy"]
            for cell in done["cells"]
            if cell["attack"] == "hard_label"
        }
        for seed in (0, 1):
            for regime in VALUES["regimes"]:
                assert hard["stingy", seed, regime] == hard["ordinary", seed, regime]

    def test_teachers_are_asked_once_for_all_students(self, done: dict[str, Any]) -> None:
        assert done["answers"]["asked"] == 2 * 200
        assert done["answers"]["served"] > 10 * done["answers"]["asked"]

    def test_what_is_served_is_what_the_teacher_is_scored_by(self, done: dict[str, Any]) -> None:
        ordinary, stingy = done["teacher_scores"]["ordinary"], done["teacher_scores"]["stingy"]
        assert stingy["accuracy"] == ordinary["accuracy"]
        assert ordinary["l1"] is None
        assert stingy["l1"]["value"] > 0.1
        assert stingy["top1_kept"]["value"] == 1.0
        assert stingy["entropy"]["20"]["high"] <= 0.6940 < ordinary["entropy"]["20"]["value"]

    def test_regimes_say_what_attackers_have(self, done: dict[str, Any]) -> None:
        labelled, unlabelled = done["regimes"]
        assert (labelled["images"], labelled["labels"], labelled["held_out"]) == (180, 180, 20)
        assert (unlabelled["images"], unlabelled["labels"], unlabelled["held_out"]) == (180, 0, 20)
        by = {(cell["regime"], cell["validation"]["by"]) for cell in done["cells"]}
        assert by == {("labelled", "labels"), ("unlabelled", "answers")}

    def test_what_a_worst_case_lacks_is_noted(self, done: dict[str, Any]) -> None:
        assert any("centred" in note and "cake" in note for note in done["notes"])
        assert any("fresh ones (--queries)" in note for note in done["notes"])
        assert any("Fewer than three seeds" in note for note in done["notes"])

    def test_finished_cells_keep_no_weights(self, done: dict[str, Any]) -> None:
        cells = Path(done["folder"]) / "cells"
        assert list(cells.rglob("*.safetensors")) == []
        assert len(list(cells.rglob("result.json"))) == CELLS

    def test_its_configuration_runs_it_again(self, done: dict[str, Any], tmp_path: Path) -> None:
        config = tomllib.loads((Path(done["folder"]) / "config.toml").read_text(encoding="utf-8"))
        again = make_resistance(config)
        lines: list[str] = []
        assert run_resistance(again, Path(done["folder"]), announce=lines.append) == done
        assert lines == []
        cost = plan_resistance(again, tmp_path / "new")["cost"]
        assert cost == {"trainings": CELLS, "done": 0, "training_steps": CELLS * 10, "teacher_answers_at_most": 400}
        assert plan_resistance(again, Path(done["folder"]))["cost"]["done"] == CELLS

    def test_other_queries_are_asked_where_no_label_is_known(self, make: Make, tmp_path: Path) -> None:
        job = make(queries="digits[200:300]", seeds=[0], attacks=["kd", "hard_label"], regimes=["unlabelled"])
        found = run_resistance(job, tmp_path / "run")
        assert found["queries"] == {"source": "digits[200:300]", "rows": 100, "labelled": False}
        assert found["answers"]["asked"] == 100
        assert found["headline_missing"] != []  # plain KD at temperature 1 is not among the attackers
        assert found["summary"]["stingy"]["verdict"]["case"] == "no_headline"


def test_attackers_without_data_have_a_regime_of_their_own(make: Make, tmp_path: Path) -> None:
    cake = {
        "sets": 3, "samples_per_set": 20, "sets_at_once": 1, "steps": 2, "fit": {"epochs": 1, "batch_size": 16},
    }  # fmt: skip
    job = make(attacks=["cake"], seeds=[0], regimes=["labelled"], options_of={"cake": cake})
    found = run_resistance(job, tmp_path / "run")
    assert [(cell["regime"], cell["teacher"]) for cell in found["cells"]] == [
        ("data_free", "ordinary"),
        ("data_free", "same"),
        ("data_free", "stingy"),
    ]
    assert found["regimes"][-1]["images"] == 0
    assert found["cells"][0]["accuracy"] == found["cells"][1]["accuracy"]
    assert found["cells"][0]["validation"]["by"] == "answers"


def test_a_run_that_says_how_it_is_served_is_served_so(make: Make, teachers: Path, tmp_path: Path) -> None:
    save_model(_network(7), tmp_path / "stingy" / "model", about={"method": "stingy_teacher"})
    result = {"method": "stingy_teacher", "fidelity": "official", "serving": "top_k:3", "resistance": {"ratio": 0.3}}
    (tmp_path / "stingy" / "result.json").write_text(json.dumps(result))
    given = {"ordinary": f"{teachers}/t0", "stingy": f"{tmp_path}/stingy+rounding:1"}
    job = make(teachers=given, seeds=[0], attacks=["kd:temperature=1"], regimes=["labelled"])
    found = run_resistance(job, tmp_path / "run")
    ordinary, stingy = found["teachers"]
    assert (stingy["serving"], stingy["method"], stingy["about"]) == (
        "top_k:3+rounding:1",
        "stingy_teacher",
        {"ratio": 0.3},
    )
    assert (ordinary["serving"], ordinary["keeps_top1"], ordinary["ordinary"]) == ("none", None, True)
    assert any("One network of" in note for note in found["notes"]) is False  # one seed has one network


def test_one_run_of_protect_brings_its_ordinary_teacher_along(make: Make, tmp_path: Path) -> None:
    save_model(_network(7), tmp_path / "nasty" / "model", about={})
    save_model(_network(8), tmp_path / "nasty" / "control" / "ordinary" / "model", about={"control": "ordinary"})
    job = make(teachers={"nasty": f"{tmp_path}/nasty"})
    assert job.ordinary == "ordinary"
    assert list(job.teachers) == ["ordinary", "nasty"]
    assert job.teachers["ordinary"] == f"{tmp_path}/nasty/control/ordinary"


def test_a_training_that_fails_is_put_on_record_and_tried_again(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: dict[str, Any]
) -> None:
    real = study.run_cell

    def broken(grid: Any, cell: Any, folder: Path, **more: Any) -> dict[str, Any]:
        if (cell.teacher, cell.attack) == ("stingy", "kd"):
            raise DivergenceError("the loss became NaN", where="step 3")
        return real(grid, cell, folder, **more)

    lines: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(study, "run_cell", broken)
        found = run_resistance(make(**SMALL), tmp_path / "run", announce=lines.append)
    assert len(found["cells"]) == len(small["cells"]) - 2
    assert [(one["teacher"], one["regime"], one["seed"]) for one in found["failures"]] == [
        ("stingy", "labelled", 1),
        ("stingy", "unlabelled", 1),
    ]
    assert "became NaN" in found["failures"][0]["error"]
    assert lines[-1].startswith("failed: the loss became NaN")
    assert found["summary"]["stingy"]["regimes"]["labelled"]["students"] == {}

    lines.clear()
    again = run_resistance(make(**SMALL), tmp_path / "run", announce=lines.append)
    assert len(lines) == 2  # the others are not repeated
    assert _lasting(again) == _lasting(small)


def _wait_until(there: Callable[[], bool], process: Any) -> None:
    deadline = time.monotonic() + 300
    while not there() and not process.ended:
        assert time.monotonic() < deadline, process.log.read_text()
        time.sleep(0.01)


def test_killed_and_stopped_it_goes_on_to_the_same_record(
    start, place: Path, make: Make, small: dict[str, Any]
) -> None:
    """SIGKILL in the middle of a training, then Ctrl-C, then to the end."""
    folder, config = place / "killed-study", place / "study.toml"
    values = {**make(**SMALL).config(), "run": VALUES["run"]}
    config.write_text(
        tomli_w.dumps({key: value for key, value in values.items() if value is not None}), encoding="utf-8"
    )
    line = ("resist", "--config", config, "--run", folder)

    def finished() -> list[Path]:
        return sorted(folder.glob("cells/**/result.json"))

    process = start(*line, cwd=place)
    _wait_until(lambda: len(finished()) >= 2, process)
    process.kill(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    before = {path: path.stat().st_mtime_ns for path in finished()}
    assert 2 <= len(before) < len(small["cells"])
    assert not (folder / "resistance.json").exists()

    process = start(*line, cwd=place)
    _wait_until(lambda: len(finished()) > len(before), process)
    process.kill(signal.SIGINT)
    assert process.wait() == 130, process.log.read_text()
    said = process.log.read_text()
    assert f"stopped. What was done is on file in {folder}; run the same command again to go on." in said
    assert "Traceback" not in said

    process = start(*line, cwd=place)
    assert process.wait() == 0, process.log.read_text()
    assert {path: path.stat().st_mtime_ns for path in before} == before
    found = json.loads((folder / "resistance.json").read_text(encoding="utf-8"))
    assert _lasting(found) == _lasting(small)


class TestRefusals:
    """Nothing is asked, and nothing written, for a study that cannot be."""

    @pytest.fixture(autouse=True)
    def _nothing_is_written(self, tmp_path: Path) -> Iterator[None]:
        yield
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"data": None}, "--data is missing"),
            ({"teachers": {}}, "--teachers is missing"),
            ({"teachers": {"one": "mlp:widths=8"}}, "there is one teacher, 'one', and nothing to compare it with"),
            ({"teachers": {"one": "runs/missing"}}, "no such folder\n  where:    runs/missing"),
            ({"teachers": {"a": "runs/a", "b c": "runs/b"}}, "'b c' is no name of a teacher"),
            ({"teachers": {"a": "runs/a", "b": "+top_k:2"}}, "'b' has no run folder"),
            ({"teachers": {"a": "runs/a", "b": "runs/b+topk:2"}}, "there is no defence 'topk'"),
            ({"teachers": {"a": "runs/a", "b": "runs/b+top_k:0"}}, "top_k"),
            ({"ordinary": "ordinry"}, "there is no teacher 'ordinry'"),
            ({"students": []}, "--students is missing"),
            ({"regimes": ["labeled"]}, "did you mean 'labelled'"),
            ({"regimes": ["partial"]}, "no share of the labels in 'partial'"),
            ({"regimes": ["partial:0"]}, "no share of the labels in 'partial:0'"),
            ({"regimes": ["partial:1.5"]}, "no share of the labels in 'partial:1.5'"),
            ({"regimes": ["partial:some"]}, "no share of the labels in 'partial:some'"),
            ({"regimes": ["data_free"]}, "data_free is no regime to choose"),
            ({"regimes": ["unlabelled"]}, "no_teacher needs labels, and in no regime there are any"),
            ({"attacks": ["kd:alpha=2"]}, "alpha"),
            ({"attacks": ["kdd"]}, "there is no attack 'kdd'"),
            ({"seeds": [-1]}, "greater than or equal to 0"),
            ({"held_out": 0.0}, "held_out"),
            ({"margin": -0.1}, "margin"),
            ({"options": {"temperature": 4}}, "'temperature' is no option of every attacker"),
            ({"options": {"labels_frac": 0.5}}, "'labels_frac' is no option of every attacker"),
            ({"options": {"fit": {"epochs": 0}}}, "epochs"),
            ({"options_of": {"centred": {}}}, "options for centred, which is not among the attacks"),
            ({"options_of": {"kd": {"defence": "labels"}}}, "defence follows from the study"),
            ({"preset": "nothing"}, "has no preset 'nothing'"),
            ({"colour": "red"}, "'colour' is no option here"),
        ],
    )
    def test_by_its_words(self, make: Make, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(ConfigError) as caught:
            make(**changes)
        assert message in str(caught.value)
        assert "\n" in str(caught.value)  # where, what was expected, or what to do

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"data": "./nowhere"}, "nowhere"),
            ({"students": ["mlpp"]}, "mlpp"),
            ({"queries": "nowhere.parquet"}, "nowhere.parquet"),
            ({"teachers": {"a": "nowhere/a", "b": "nowhere/b"}}, "nowhere/a"),
        ],
    )
    def test_by_what_it_meets(self, make: Make, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
        job = make(**changes)
        for call in (plan_resistance, run_resistance):
            with pytest.raises(UnderstudyError) as caught:
                call(job, tmp_path / "run")
            assert message in str(caught.value)

    @pytest.mark.parametrize(
        ("spec", "message"),
        [
            ("{more}", "'more' has 12"),
            ("{wide}", "do not fit the teacher 'b'"),
            ("{good}+top_k:11", "11"),
        ],
    )
    def test_a_teacher_of_other_classes_or_inputs(
        self, make: Make, tmp_path: Path, teachers: Path, spec: str, message: str
    ) -> None:
        save_model(_network(0, classes=12), tmp_path / "more", about={})
        save_model(_network(0, shape=(1, 9, 9)), tmp_path / "wide", about={})
        places = {"more": tmp_path / "more", "wide": tmp_path / "wide", "good": teachers / "t0"}
        job = make(teachers={"a": f"{teachers}/t0", "b": spec.format(**places)})
        with pytest.raises(UnderstudyError) as caught:
            run_resistance(job, tmp_path / "run")
        assert message.replace("'more'", "'b'") in str(caught.value)

    def test_several_processes(self, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WORLD_SIZE", "2")
        with pytest.raises(ConfigError, match="one process"):
            run_resistance(make(), tmp_path / "run")

    def test_an_ordinary_teacher_behind_a_defence(self, make: Make, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="the ordinary teacher 'stingy' is served through a defence"):
            run_resistance(make(ordinary="stingy"), tmp_path / "run")

    def test_runs_of_one_name_that_are_served_in_different_ways(
        self, make: Make, tmp_path: Path, teachers: Path
    ) -> None:
        for seed, serving in ((0, "top_k:2"), (1, "top_k:3")):
            save_model(_network(seed), tmp_path / f"s{seed}" / "model", about={})
            (tmp_path / f"s{seed}" / "result.json").write_text(json.dumps({"serving": serving}))
        given = {"ordinary": f"{teachers}/t0", "b": f"{tmp_path}/s{{seed}}"}
        with pytest.raises(ConfigError, match="the runs of 'b' are served in different ways: top_k:2, top_k:3"):
            run_resistance(make(teachers=given), tmp_path / "run")


def test_a_folder_of_another_study_is_refused(done: dict[str, Any], make: Make) -> None:
    with pytest.raises(ConfigError, match="another configuration"):
        run_resistance(make(seeds=[0]), Path(done["folder"]))


def test_other_weights_behind_the_same_path_are_refused(make: Make, tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_model(_network(1), tmp_path / name, about={})
    job = make(teachers={"a": f"{tmp_path}/a", "b": f"{tmp_path}/b+labels"}, seeds=[0], attacks=["hard_label"])
    run_resistance(job, tmp_path / "run")
    (tmp_path / "run" / "resistance.json").unlink()
    for path in (tmp_path / "b").iterdir():
        path.unlink()
    save_model(_network(2), tmp_path / "b", about={})
    with pytest.raises(ConfigError, match="another teacher b, seed 0"):
        run_resistance(job, tmp_path / "run")


def test_a_cell_that_was_altered_is_refused(make: Make, tmp_path: Path) -> None:
    job = make(seeds=[0], attacks=["hard_label"], regimes=["labelled"])
    found = run_resistance(job, tmp_path / "run")
    (tmp_path / "run" / "resistance.json").unlink()
    (tmp_path / "run" / found["cells"][0]["folder"] / "result.json").write_text("{}")
    with pytest.raises(IntegrityError, match="no result of a cell"):
        run_resistance(job, tmp_path / "run")


def test_lists_are_brought_into_order(make: Make) -> None:
    job = make(seeds=[2, 2, 0], students=[STUDENT, STUDENT], regimes=["partial:0.10", "partial:0.1", "labelled"])
    assert job.seeds == (2, 0)
    assert job.students == (STUDENT,)
    assert job.regimes == ("partial:0.1", "labelled")


def test_the_labels_of_unlabelled_images_are_never_read(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, done: dict[str, Any]
) -> None:
    def shuffled(source: str, split: str) -> Any:
        images = load_images(source, split)
        if split == "train":
            order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
            images.labels.copy_(images.labels[order])
        return images

    monkeypatch.setattr("understudy.study.resistance_grid.load_images", shuffled)
    job = make(regimes=["unlabelled"], attacks=["kd:temperature=1", "hard_label"])
    found = run_resistance(job, tmp_path / "run")
    kept = [{**cell, "seconds": 0, "answers": 0} for cell in done["cells"] if cell["regime"] == "unlabelled"]
    assert [{**cell, "seconds": 0, "answers": 0} for cell in found["cells"]] == kept
