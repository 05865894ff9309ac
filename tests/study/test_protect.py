"""A run of `understudy protect` from start to end, and what is refused before there is a folder."""

from pathlib import Path
from typing import Any

import pytest

from understudy.errors import ConfigError, UnderstudyError
from understudy.models import build_model, save_model
from understudy.runs.files import read_json
from understudy.study.job import Job, execute, make_job

SHORT = {"fit": {"epochs": 1, "batch_size": 256}}


def job(name: str, **options: Any) -> Job:
    return make_job(
        name,
        verb="protect",
        model="mlp:widths=8",
        data="digits",
        options={**SHORT, **options},
        run_options={"device": "cpu"},
    )


def test_a_run_ends_with_both_teachers_their_entropies_and_the_terms_of_serving(tmp_path: Path) -> None:
    result = execute(job("nasty_teacher"), tmp_path / "run")
    assert result["family"] == "resistance"
    assert result["serving"] == "none"
    assert result["resistance"]["omega_t2"] == pytest.approx(0.64)
    assert set(result["scores"]) == {"model", "ordinary"}
    for scores in result["scores"].values():
        assert set(scores["entropy"]) == {"1", "4", "20"}
        assert 0 < scores["entropy"]["1"] <= scores["entropy"]["4"] <= scores["entropy"]["20"] < 2.3026
    about = read_json(tmp_path / "run" / "model" / "model.json")["about"]
    assert about["resistance"] == result["resistance"]
    control = read_json(tmp_path / "run" / "control" / "ordinary" / "model" / "model.json")["about"]
    assert control["control"] == "ordinary"
    assert "resistance" not in control


def test_a_stingy_model_says_on_its_card_how_it_is_served(tmp_path: Path) -> None:
    execute(job("stingy_teacher", k=3), tmp_path / "run")
    result = read_json(tmp_path / "run" / "result.json")
    assert result["serving"] == "top_k:3"
    # The entropy is that of the answers that leave: three classes have no more than ln 3.
    assert result["scores"]["model"]["entropy"]["20"] <= 1.0987 < result["scores"]["ordinary"]["entropy"]["20"]
    assert "top_k:3" in (tmp_path / "run" / "model" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("stingy_teacher", {"k": 11}),
        ("adversarial_sparse_teacher", {"k": 11}),
        ("nasty_teacher", {"reference": "no/such/run"}),
    ],
)
def test_what_cannot_be_is_refused_before_there_is_a_folder(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UnderstudyError):
        execute(job(name, **options), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_reference_of_other_classes_is_refused_before_there_is_a_folder(tmp_path: Path) -> None:
    other = build_model("mlp:widths=4", input_shape=(1, 8, 8), classes=7, mean=[0.5], std=[0.5], seed=0)
    save_model(other, tmp_path / "other", about={})
    with pytest.raises(ConfigError, match="the reference teacher has classes 7, and the teacher to train 10"):
        execute(job("nasty_teacher", reference=str(tmp_path / "other")), tmp_path / "run")
    assert not (tmp_path / "run").exists()
