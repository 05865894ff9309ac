"""An evaluation under attack from start to end: what it finds, how it goes on, and what it refuses."""

import json
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from understudy.data import as_float, load_images
from understudy.errors import ConfigError, DataError, IntegrityError, ShapeError
from understudy.evaluation.red_flags import Check
from understudy.models import Classifier, build_model, load_model, save_model
from understudy.runs.interrupts import Interrupted
from understudy.study import robustness as study
from understudy.study.robustness import check_acknowledged, make_robustness, run_robustness
from understudy.study.robustness_verdict import verdict, withheld

Make = Callable[..., study.Robustness]
COMMON = {"data": "digits", "attacks": "fgsm,cw", "epsilon": "0.06", "rows": 60, "batch_size": 25, "sweep": "0,0.03"}


def _trained(*, steps: int, seed: int) -> Classifier:
    data = load_images("digits", "train")
    model = build_model("mlp:widths=24", input_shape=data.shape, classes=10, mean=data.mean, std=data.std, seed=seed)
    x, parameters = as_float(data.images), list(model.parameters())
    for _ in range(steps):
        loss = functional.cross_entropy(model(x), data.labels, reduction="mean")
        with torch.no_grad():
            for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                parameter -= 0.5 * gradient
    return model.eval()


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a last and a best checkpoint, and a teacher's."""
    folder = tmp_path_factory.mktemp("nets")
    save_model(_trained(steps=60, seed=1), folder / "student" / "model", about={"method": "kd"})
    save_model(_trained(steps=40, seed=1), folder / "student" / "control" / "best" / "model", about={"method": "kd"})
    save_model(_trained(steps=60, seed=2), folder / "teacher", about={})
    return folder


@pytest.fixture(scope="module", autouse=True)
def _no_page() -> Iterator[None]:
    """The page has tests of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "write_robustness_report", lambda folder: (folder / study.PAGE).write_text("page"))
        yield


@pytest.fixture(scope="module")
def make(nets: Path) -> Make:
    """Return a function that resolves the evaluation of these tests with some values changed."""
    return lambda **changes: make_robustness({"model": str(nets / "student"), **COMMON, **changes})


@pytest.fixture(scope="module")
def done(make: Make, nets: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The whole evaluation: two checkpoints, another network and the teacher."""
    job = make(against=str(nets / "teacher"), teacher=str(nets / "teacher"))
    return run_robustness(job, tmp_path_factory.mktemp("robustness") / "run")


def _same(found: dict[str, Any]) -> dict[str, Any]:
    """What must not depend on how an evaluation came about."""
    text = json.dumps({key: value for key, value in found.items() if key not in ("folder", "date")})

    def without(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: without(item) for key, item in value.items() if key not in ("seconds", "command")}
        return [without(item) for item in value] if isinstance(value, list) else value

    return without(json.loads(text))  # type: ignore[no-any-return]


class TestWhatIsFound:
    """The record of a finished evaluation."""

    def test_the_networks_and_the_attacks(self, done: dict[str, Any], nets: Path) -> None:
        assert list(done["models"]) == list(done["scores"]) == ["last", "best", "against", "teacher"]
        assert done["models"]["last"]["name"] == "student, last checkpoint"
        assert done["models"]["best"]["name"] == "student, best checkpoint"
        assert done["models"]["last"]["trained_by"] == "kd"
        assert done["models"]["last"]["fidelity"] == "paper"
        assert done["models"]["teacher"]["trained_by"] is None
        assert done["models"]["last"]["parameters"] == sum(p.numel() for p in load_model(nets / "student").parameters())
        assert [attack["name"] for attack in done["attacks"]] == ["pgd20", "fgsm", "cw"]  # the checks need pgd20
        cw = done["attacks"][2]
        assert (cw["steps"], cw["restarts"], cw["start"]) == (30, 1, "uniform")
        assert cw["step"] == pytest.approx(0.06 * 0.003 * 255 / 8)
        assert done["threat"] == {"norm": "linf", "epsilon": 0.06, "text": "0.06"}
        assert done["data"] == {
            "source": "digits", "split": "test", "rows": 60, "of": 500, "classes": [str(n) for n in range(10)],
        }  # fmt: skip

    def test_scores_agree_with_one_another(self, done: dict[str, Any]) -> None:
        for scores in done["scores"].values():
            each = [one["robust"]["value"] for one in scores["attacks"].values()]
            assert scores["worst"]["value"] <= min(each) <= max(each) <= scores["clean"]["value"]
            for row, total in (("clean", scores["clean"]), ("worst", scores["worst"])):
                counted = sum(one[row]["value"] * one["rows"] for one in scores["per_class"])
                assert counted == pytest.approx(total["value"] * 60)

    def test_pairs_add_up_to_the_scores(self, done: dict[str, Any]) -> None:
        assert {(row["a"], row["b"]) for row in done["paired"]} == {
            ("last", "best"), ("last", "against"), ("best", "against"),
        }  # fmt: skip
        assert {row["attack"] for row in done["paired"]} == {"clean", "pgd20", "fgsm", "cw", "worst"}
        for row in done["paired"]:
            assert row["both"] + row["only_a"] + row["only_b"] + row["neither"] == 60
            for key, alone in (("a", "only_a"), ("b", "only_b")):
                scores = done["scores"][row[key]]
                name = row["attack"]
                score = scores["attacks"][name]["robust"] if name in scores["attacks"] else scores[name]
                assert row["both"] + row[alone] == pytest.approx(score["value"] * 60)

    def test_the_curve_ends_where_nothing_can_stand(self, done: dict[str, Any]) -> None:
        for key in ("last", "best", "against"):
            points = done["sweep"][key]["points"]
            assert [point["epsilon"] for point in points] == [0, 0.03, 0.06, 1]
            assert points[0]["robust"] == done["scores"][key]["clean"]
            assert points[-1]["robust"]["value"] == 0
        assert "teacher" not in done["sweep"]

    def test_teacher_and_student(self, done: dict[str, Any]) -> None:
        assert done["transfer"]["transferred"]["value"] >= done["transfer"]["white_box"]["value"]
        assert done["transfer"]["white_box"] == done["scores"]["last"]["attacks"]["pgd20"]["robust"]
        parted = done["parting"]
        assert parted["attack"] == "the worst of pgd20, fgsm, cw"
        assert parted["both_right"] + parted["student_only"] == done["scores"]["last"]["worst"]["value"] * 60
        assert parted["both_right"] + parted["teacher_only"] == done["scores"]["teacher"]["worst"]["value"] * 60

    def test_no_flag_and_a_verdict_that_says_what_is_claimed(self, done: dict[str, Any]) -> None:
        assert done["flags"] == []
        assert all(check["passed"] for check in done["checks"])
        assert {check["model"] for check in done["checks"]} == {"last", "best", "against", "teacher"}
        text = done["verdict"]
        assert text.startswith("student, last checkpoint (mlp:widths=24, trained by kd) names the right class for ")
        assert "of 60 test images of digits when every pixel may change by at most 0.06 of the range" in text
        assert "the worst of PGD-20, FGSM and CW∞, which see all of its weights" in text
        assert "This is an upper bound" in text
        assert "weaker than AutoAttack" in text
        assert "Its best checkpoint, chosen on held-out training images: " in text
        assert "McNemar's exact test" in text
        assert "60 of the 500 images" in done["notes"][0]

    def test_examples_are_images_that_fell(self, done: dict[str, Any], nets: Path) -> None:
        images = load_file(Path(done["folder"]) / "examples.safetensors")
        test, model = load_images("digits", "test"), load_model(nets / "student")
        assert 1 <= len(done["examples"]) == len(images["clean"]) == len(images["adversarial"]) <= 10
        assert (images["adversarial"] - images["clean"]).abs().max() <= 0.06 + 1e-6
        for number, one in enumerate(done["examples"]):
            assert torch.equal(images["clean"][number], as_float(test.images[one["row"]].unsqueeze(0))[0])
            assert one["label"] == int(test.labels[one["row"]]) == one["clean"] != one["adversarial"]
            assert int(model(images["adversarial"][number : number + 1]).argmax(1)) == one["adversarial"]
            assert one["teacher_clean"] is not None
        assert len({one["label"] for one in done["examples"]}) > 1

    def test_the_same_images_whoever_is_evaluated(self, make: Make) -> None:
        few, more = study.prepare(make(rows=40)).positions, study.prepare(make(rows=100)).positions
        assert set(few.tolist()) < set(more.tolist())
        assert more.tolist() == sorted(more.tolist())
        assert study.prepare(make(rows=10_000)).positions.tolist() == list(range(500))

    def test_its_configuration_is_on_file_and_makes_the_same_evaluation(self, done: dict[str, Any]) -> None:
        config = tomllib.loads((Path(done["folder"]) / "config.toml").read_text())
        again = make_robustness({**config["evaluate"], "run": config["run"]})
        lines: list[str] = []
        assert run_robustness(again, Path(done["folder"]), announce=lines.append) == done
        assert lines == []
        assert "--attack pgd20,fgsm,cw --epsilon 0.06" in done["settings"]["command"]


class TestGoingOn:
    """The same call goes on, and changes nothing that is done."""

    def test_a_finished_evaluation_is_read(self, make: Make, tmp_path: Path) -> None:
        lines: list[str] = []
        first = run_robustness(make(), tmp_path / "run", announce=lines.append)
        assert [line.partition(":")[0] for line in lines] == ["model", "best checkpoint"]
        again = run_robustness(make(), tmp_path / "run", announce=lines.append)
        assert again == first
        assert len(lines) == 2

    @pytest.mark.parametrize("stop", [2, 11, 20])
    def test_stopped_and_called_again(
        self, make: Make, stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = run_robustness(make(), tmp_path / "whole")
        left = iter(range(stop))
        with monkeypatch.context() as patch:
            patch.setattr("understudy.evaluation._batches.asked_to_stop", lambda: next(left, None) is None)
            with pytest.raises(Interrupted):
                run_robustness(make(), tmp_path / "run")
        assert not (tmp_path / "run" / "robustness.json").exists()
        assert _same(run_robustness(make(), tmp_path / "run")) == _same(whole)

    def test_another_configuration_is_refused(self, make: Make, tmp_path: Path) -> None:
        run_robustness(make(), tmp_path / "run")
        with pytest.raises(ConfigError, match=r"another configuration: evaluate\.epsilon"):
            run_robustness(make(epsilon="8/255"), tmp_path / "run")

    def test_a_network_that_has_changed_is_refused(self, nets: Path, tmp_path: Path) -> None:
        save_model(load_model(nets / "student"), tmp_path / "net", about={})
        job = make_robustness({"model": str(tmp_path / "net"), **COMMON})
        run_robustness(job, tmp_path / "run")
        save_model(load_model(nets / "teacher"), tmp_path / "net", about={})
        with pytest.raises(ConfigError, match="begun with another"):
            run_robustness(job, tmp_path / "run")

    def test_a_damaged_record_is_refused(self, make: Make, tmp_path: Path) -> None:
        run_robustness(make(), tmp_path / "run")
        (tmp_path / "run" / "robustness.json").write_text("{")
        with pytest.raises(IntegrityError, match="not readable as JSON"):
            run_robustness(make(), tmp_path / "run")

    def test_the_page_is_written_again_where_it_is_missing(self, make: Make, tmp_path: Path) -> None:
        run_robustness(make(), tmp_path / "run")
        (tmp_path / "run" / "robustness.html").unlink()
        run_robustness(make(), tmp_path / "run")
        assert (tmp_path / "run" / "robustness.html").exists()


class TestFlags:
    """A red flag stops the verdict until it is acknowledged."""

    @pytest.fixture
    def masked(self, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
        def examine(*_: object) -> list[Check]:
            return [Check("zero_gradients", False, "at 9 of 60 images")]

        monkeypatch.setattr(study, "examine", examine)
        return lambda *names: run_robustness(make(), tmp_path / "run", acknowledged=names)

    def test_no_verdict_and_what_to_do(self, masked: Callable[..., dict[str, Any]]) -> None:
        found = masked()
        assert found["verdict"] is None
        assert [(flag["name"], flag["model"]) for flag in found["flags"]] == [
            ("zero_gradients", "last"), ("zero_gradients", "best"),
        ]  # fmt: skip
        line = withheld(found)[0]
        assert line.startswith(
            "zero_gradients (student, last checkpoint): gradients are exactly zero: at 9 of 60 images."
        )
        assert "To do: replace rounding" in line
        assert found["scores"]["last"]["worst"]["n"] == 60  # the numbers are there all the same

    def test_acknowledged_it_lets_the_verdict_through_and_stays_on_the_record(
        self, masked: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = masked()
        for name in ("fgsm", "pgd20"):  # nothing is attacked again
            assert (Path(first["folder"]) / "outcomes" / "last" / name).is_dir()
        monkeypatch.setattr("understudy.evaluation._batches.save_tensors", None)
        found = masked("zero_gradients")
        assert "acknowledged, so the number may be too high: zero_gradients" in found["verdict"]
        assert all(flag["acknowledged"] for flag in found["flags"])
        assert withheld(found) == []
        assert masked("order")["verdict"] is None  # another one does not help
        assert masked()["verdict"] is None  # nor does an earlier call

    def test_a_flag_of_any_network_stops_it(self) -> None:
        record = {"flags": [{"name": "square", "model": "against", "acknowledged": False}]}
        assert verdict(record) is None

    def test_names_are_checked(self) -> None:
        assert check_acknowledged("square, order,square") == ("square", "order")
        assert check_acknowledged(None) == ()
        with pytest.raises(ConfigError, match="did you mean 'square'"):
            check_acknowledged("squares")


def test_the_run_s_own_model_may_be_its_best(nets: Path, tmp_path: Path) -> None:
    save_model(load_model(nets / "student"), tmp_path / "run" / "model", about={"method": "kd"})
    save_model(load_model(nets / "teacher"), tmp_path / "run" / "control" / "last" / "model", about={"method": "kd"})
    ready = study.prepare(make_robustness({"model": str(tmp_path / "run"), **COMMON}))
    assert ready.specs == {"last": str(tmp_path / "run" / "control" / "last"), "best": str(tmp_path / "run")}


class TestRefusals:
    """What cannot be evaluated is said before anything is written."""

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"epsilon": "8"}, r"did you mean 8/255\?"),
            ({"epsilon": 8}, r"did you mean 8/255\?"),
            ({"sweep": "0,4"}, r"did you mean 4/255\?"),
            ({"epsilon": "eight"}, "'eight' is no radius"),
            ({"epsilon": "-0.1"}, "not below 0"),
            ({"epsilon": "0"}, "epsilon 0 is no attack"),
            ({"norm": "l2", "epsilon": None}, "--epsilon is missing"),
            ({"attacks": "fgsm,pdg20"}, "did you mean 'pgd20'"),
            ({"attacks": ","}, "no attack is named"),
            ({"attacks": "fgsm,n-fgsm"}, "for training"),
            ({"rows": 0}, "greater than 0"),
            ({"model": None}, "MODEL is missing"),
            ({"data": None}, "--data is missing"),
        ],
    )
    def test_settings(self, make: Make, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            make(**changes)

    def test_a_radius_of_l2_may_exceed_1(self, make: Make) -> None:
        assert make(norm="l2", epsilon="2.5", sweep=None).sweep == (0.0, 0.625, 1.25, 2.5, 5.0, 10.0)

    def test_a_teacher_with_other_classes(self, make: Make, tmp_path: Path) -> None:
        model = build_model("mlp:widths=4", input_shape=(1, 8, 8), classes=12, mean=[0.0], std=[1.0], seed=0)
        save_model(model, tmp_path / "teacher", about={})
        with pytest.raises(ConfigError, match="the teacher tells 12 classes apart, the model 10"):
            run_robustness(make(teacher=str(tmp_path / "teacher")), tmp_path / "run")
        assert not (tmp_path / "run").exists()

    def test_a_network_of_other_images_or_fewer_classes(self, tmp_path: Path) -> None:
        for name, shape, classes in (("wide", (1, 9, 9), 10), ("few", (1, 8, 8), 5)):
            model = build_model("mlp:widths=4", input_shape=shape, classes=classes, mean=[0.0], std=[1.0], seed=0)
            save_model(model, tmp_path / name, about={})
        with pytest.raises(ShapeError, match="do not fit the model"):
            study.prepare(make_robustness({"model": str(tmp_path / "wide"), **COMMON}))
        with pytest.raises(DataError, match="lies outside the 5 classes of the model"):
            study.prepare(make_robustness({"model": str(tmp_path / "few"), **COMMON}))
