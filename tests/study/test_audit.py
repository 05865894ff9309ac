"""A grid of extractions from start to end: what it finds, what it shares, how it goes on, and what it refuses."""

import json
import signal
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tomli_w

import understudy.study.measure
from understudy.data import load_images
from understudy.errors import AccessError, ConfigError, ShapeError, TargetError, UnderstudyError
from understudy.models import build_encoder, save_model
from understudy.study import audit as study
from understudy.study.audit import make_audit, plan_audit, run_audit

VALUES: dict[str, Any] = {
    "surrogate": "cnn:widths=4-8",
    "data": "digits[600:700]",
    "probe": ["digits"],
    "methods": ["rda", "conventional"],
    "budgets": [12, 24],
    "defences": ["none", "rounding:1", "topk:3"],
    "options": {"images": 24, "fit": {"epochs": 2, "batch_size": 4}},
    "options_of": {"rda": {"views": 2}},
    "terms": {"owner": "us", "authorised_by": "me", "price": 1.5},
    "probes": {"knn": False, "draws": 2, "train_rows": 100},
    "run": {"device": "cpu", "log_every": 1},
}
Make = Callable[..., study.Audit]


@pytest.fixture(scope="module", autouse=True)
def nothing_beside_the_point() -> Iterator[None]:
    """Spend no time on throughputs, and none on the pages of single runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("understudy.study.extraction.write_extraction_report", lambda folder: None)  # noqa: ARG005
        patch.setattr(understudy.study.measure, "throughput", lambda *_: 1.0)
        yield


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = load_images("digits", "train")
    model = build_encoder("cnn:widths=4-8", input_shape=data.shape, mean=data.mean, std=data.std, seed=5).eval()
    folder = tmp_path_factory.mktemp("target") / "encoder"
    save_model(model, folder, about={})
    return folder


@pytest.fixture(scope="module")
def make(encoder: Path) -> Make:
    """Return a function that resolves the audit of these tests with some values changed."""
    return lambda **changes: make_audit({"target": str(encoder), **VALUES, **changes})


@pytest.fixture(scope="module")
def done(make: Make, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The audit of these tests, carried out."""
    return run_audit(make(), tmp_path_factory.mktemp("audit") / "run")


def _result(found: dict[str, Any], folder: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((Path(found["folder"]) / folder / "result.json").read_text())
    return result


SMALL = {"methods": ["conventional"], "defences": ["none", "topk:3"], "options_of": {}}
"""A part of the audit of these tests, of seven runs; its controls see fewer rows."""


def _copies(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The cells of the small audit in a record, as far as they do not depend on the controls."""
    return [
        {key: value for key, value in cell.items() if key != "leakage"}
        for cell in found["cells"]
        if cell["method"] == "conventional" and cell["defence"] != "rounding:1"
    ]


class TestWhatIsFound:
    """The record of a finished audit."""

    def test_every_point_has_its_cell_and_its_queries(self, done: dict[str, Any]) -> None:
        cells = {(one["method"], one["budget"], one["defence"]): one for one in done["cells"]}
        assert len(done["cells"]) == len(cells) == 2 * 2 * 3
        assert done["failures"] == []
        for (method, budget, _), cell in cells.items():
            assert cell["queries"] == cell["ledger"]["extraction"]["rows"] == budget
            assert cell["images"] == (budget // 2 if method == "rda" else budget)
            assert cell["cost"] == pytest.approx(budget * 0.0015)
            assert not cell["partial"]

    def test_leakage_is_the_score_above_the_control_of_the_same_images(self, done: dict[str, Any]) -> None:
        controls = {one["images"]: one for one in done["controls"]["no_query"]}
        assert sorted(controls) == [6, 12, 24]
        for cell in done["cells"]:
            control = controls[cell["images"]]["scores"]["digits"]
            for name, score in cell["scores"]["digits"].items():
                assert cell["leakage"]["digits"][name] == pytest.approx(score["value"] - control[name]["value"])

    def test_controls_are_runs_of_their_own_that_see_no_fewer_rows(self, done: dict[str, Any]) -> None:
        assert [one["images"] for one in done["controls"]["random"]] == [6]
        folder = Path(done["folder"])
        assert list(folder.glob("cells/*/control")) == []
        for control in done["controls"]["no_query"]:
            result = _result(done, control["folder"])
            assert result["ledger"]["extraction"]["rows"] == 0
            same = [_result(done, cell["folder"]) for cell in done["cells"] if cell["images"] == control["images"]]
            assert result["surrogate_rows"] >= max(one["surrogate_rows"] for one in same)

    def test_honest_clients_and_target(self, done: dict[str, Any]) -> None:
        honest = {one["defence"]: one["scores"]["digits"]["linear"]["value"] for one in done["honest"]}
        assert set(honest) == {"none", "rounding:1", "topk:3"}
        assert honest["none"] == done["target_scores"]["digits"]["linear"]["value"]
        assert honest["topk:3"] < honest["none"]

    def test_evaluation_is_asked_once_and_booked_apart(self, done: dict[str, Any]) -> None:
        assert done["evaluation"]["rows"] == 100 + len(load_images("digits", "test"))
        assert done["evaluation"]["replayed"] >= 11 * done["evaluation"]["rows"]

    def test_the_page_and_the_summary_are_written(self, done: dict[str, Any]) -> None:
        page = (Path(done["folder"]) / "audit.html").read_text(encoding="utf-8")
        assert done["summary"][0].split(".")[0].replace("'", "&#39;") in page
        assert "belongs to <b>us</b>" in page

    def test_its_configuration_runs_it_again(self, done: dict[str, Any], tmp_path: Path) -> None:
        config = tomllib.loads((Path(done["folder"]) / "config.toml").read_text(encoding="utf-8"))
        again = make_audit(config)
        assert again.target_sha256 == done["target"]["sha256"]
        lines: list[str] = []
        assert run_audit(again, Path(done["folder"]), announce=lines.append) == done
        assert lines == []
        assert plan_audit(again, tmp_path / "new")["cost"] == {
            "runs": 12, "controls": 4, "queries": 3 * 2 * (12 + 24), "training_steps": 3 * (2 + 6 + 6 + 12),
            "evaluation_queries": 600, "price": pytest.approx(0.32),
        }  # fmt: skip

    def test_another_target_of_that_configuration_is_refused(self, make: Make, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="SHA-256 differs"):
            run_audit(make(target_sha256="0" * 64), tmp_path / "run")


def test_budgets_that_change_nothing_share_a_run(make: Make, tmp_path: Path) -> None:
    found = run_audit(
        make(methods=["conventional"], budgets=[24, 50, 100], defences=["none"], options_of={}), tmp_path / "run"
    )
    assert [cell["budget"] for cell in found["cells"]] == [24, 50, 100]
    assert {cell["folder"] for cell in found["cells"]} == {"cells/conventional-b24-none-s0"}
    page = (tmp_path / "run" / "audit.html").read_text(encoding="utf-8")
    assert "budget 24 or 50 or 100" in page
    assert "0.04" in page  # paid for once


def test_a_target_that_answers_alike_carries_no_information(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
import torch
class Alike(torch.nn.Module):
    input_shape, width = (1, 8, 8), 8
    def forward(self, x):
        return torch.ones(len(x), 8)
"""
    (tmp_path / "alike.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    audit = make(target="python:alike:Alike", methods=["conventional"], budgets=[12], defences=["none"], options_of={})
    found = run_audit(audit, tmp_path / "run")
    assert found["carries_information"] is False
    assert found["summary"][0].startswith("The target carries no information on digits")


def test_a_run_that_fails_is_put_on_record_and_tried_again(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, done: dict[str, Any]
) -> None:
    audit = make(**SMALL)
    real = study.execute_extraction

    def broken(job: Any, folder: Path, **more: Any) -> dict[str, Any]:
        if "topk" in folder.name and "b24" in folder.name:
            raise TargetError("the target answered NaN", where="row 3")
        return real(job, folder, **more)

    lines: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(study, "execute_extraction", broken)
        found = run_audit(audit, tmp_path / "run", announce=lines.append)
    assert len(found["cells"]) == 3
    (failure,) = found["failures"]
    assert (failure["method"], failure["budget"], failure["defence"]) == ("conventional", 24, "topk:3")
    assert "answered NaN" in failure["error"]
    assert lines[-1].startswith("failed: the target answered NaN")
    assert "could not be finished" in (tmp_path / "run" / "audit.html").read_text(encoding="utf-8")

    lines.clear()
    found = run_audit(audit, tmp_path / "run", announce=lines.append)
    assert len(lines) == 1  # the others are not repeated
    assert found["failures"] == []
    assert len(found["cells"]) == 4
    assert "could not be finished" not in (tmp_path / "run" / "audit.html").read_text(encoding="utf-8")
    assert _copies(found) == _copies(done)


def _wait_until(there: Callable[[], bool], process: Any) -> None:
    deadline = time.monotonic() + 300
    while not there() and not process.ended:
        assert time.monotonic() < deadline, process.log.read_text()
        time.sleep(0.01)


def test_killed_and_stopped_it_goes_on_and_pays_nothing_twice(
    start, place: Path, encoder: Path, done: dict[str, Any]
) -> None:
    """SIGKILL in the middle of a run, then Ctrl-C, then to the end: the same cells as without."""
    folder, config = place / "killed-audit", place / "audit.toml"
    config.write_text(tomli_w.dumps({"target": str(encoder), **VALUES, **SMALL}), encoding="utf-8")
    line = ("audit", "--config", config, "--run", folder)

    def finished() -> list[Path]:
        return sorted(folder.glob("cells/*/result.json"))

    process = start(*line, cwd=place)
    _wait_until(lambda: len(finished()) >= 3, process)
    process.kill(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    before = {path: path.stat().st_mtime_ns for path in finished()}
    assert 3 <= len(before) < 7
    assert not (folder / "audit.json").exists()

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
    found = json.loads((folder / "audit.json").read_text(encoding="utf-8"))
    assert _copies(found) == _copies(done)
    assert found["target_scores"] == done["target_scores"]
    assert found["controls"]["random"] == [{**done["controls"]["random"][0], "images": 12}]


class TestRefusals:
    """Nothing is asked, and nothing written, for an audit that cannot be."""

    @pytest.mark.parametrize("missing", ["owner", "authorised_by"])
    @pytest.mark.parametrize("value", [None, "  "])
    def test_nobody_allows_it(self, make: Make, missing: str, value: str | None) -> None:
        with pytest.raises(ConfigError) as caught:
            make(terms={**VALUES["terms"], missing: value})
        message = str(caught.value)
        assert f"--{missing.replace('_', '-')} is missing" in message
        assert "encoders that you own or may test" in message

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"methods": ["rdaa"]}, "there is no method 'rdaa'"),
            ({"methods": ["cake"]}, "cake is no method of `understudy extract`"),
            ({"methods": ["no_query"]}, "no_query is a control, which every audit runs"),
            ({"methods": []}, "--methods is missing"),
            ({"budgets": []}, "--budgets is missing"),
            ({"budgets": [0]}, "greater than 0"),
            ({"budgets": [100, -5]}, "greater than 0"),
            ({"seeds": [-1]}, "greater than or equal to 0"),
            ({"defences": ["roundin:1"]}, "there is no defence 'roundin'"),
            ({"defences": ["rounding:-1"]}, "decimals of 'rounding' cannot be"),
            ({"surrogate": None}, "--surrogate is missing"),
            ({"options": {"imagess": 3}}, "imagess"),
            ({"options_of": {"cont_steal": {}}}, "cont_steal, which is not in the audit"),
            ({"terms": {**VALUES["terms"], "price": -1.0}}, "price"),
            ({"terms": {**VALUES["terms"], "copied_frac": 0.0}}, "copied_frac"),
            ({"measure": "knn"}, "the main measure is knn, which is not to be taken"),
            ({"colour": "red"}, "'colour' is no option here"),
        ],
    )
    def test_by_its_words(self, make: Make, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            make(**changes)

    @pytest.mark.parametrize(
        ("changes", "error", "message"),
        [
            ({"budgets": [3]}, ConfigError, "budget of 3 rows is too small"),
            ({"defences": ["none", "topk:9"]}, ConfigError, "8"),
            ({"defences": ["truncate:4"]}, ShapeError, "4 numbers and the surrogate gives 8"),
            ({"surrogate": "cnn:widths=4-6"}, ShapeError, "8 numbers and the surrogate gives 6"),
            ({"target": "nowhere"}, UnderstudyError, "nowhere"),
            ({"data": "digits[600:601]"}, UnderstudyError, "1 images"),
        ],
    )
    def test_by_what_it_meets(
        self, make: Make, tmp_path: Path, changes: dict[str, Any], error: type[Exception], message: str
    ) -> None:
        audit = make(**changes)
        for call in (run_audit, plan_audit):
            with pytest.raises(error, match=message):
                call(audit, tmp_path / "run")
        assert not (tmp_path / "run").exists()

    def test_a_target_that_gives_too_little(self, make: Make, tmp_path: Path) -> None:
        data = load_images("digits", "train")
        from understudy.models import build_model

        model = build_model("cnn:widths=4", input_shape=data.shape, classes=10, mean=data.mean, std=data.std, seed=0)
        save_model(model.eval(), tmp_path / "classifier", about={})
        terms = {**VALUES["terms"], "access": "labels"}
        with pytest.raises(AccessError, match="needs"):
            run_audit(make(target=str(tmp_path / "classifier"), terms=terms), tmp_path / "run")
        assert not (tmp_path / "run").exists()

    def test_a_folder_of_another_audit(self, done: dict[str, Any], make: Make) -> None:
        with pytest.raises(ConfigError, match="another configuration"):
            run_audit(make(budgets=[12]), Path(done["folder"]))


def test_lists_are_brought_into_order(make: Make) -> None:
    audit = make(methods=["rda", "rda"], budgets=[24, 12, 24], defences=["noise:sigma=1e-1", "noise:0.1"], seeds=[1, 1])
    assert audit.methods == ("rda",)
    assert audit.budgets == (12, 24)
    assert audit.defences == ("noise:0.1",)
    assert audit.seeds == (1,)
