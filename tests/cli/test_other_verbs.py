"""`evaluate`, `report` and `doctor`."""

import importlib
import json
import sys
from pathlib import Path

import pytest

from understudy.models import load_model, model_digest


def test_evaluate_measures_a_model_against_its_teacher(cli, teacher: Path, scratch: Path) -> None:
    line = ["evaluate", teacher, "--data", "digits", "--teacher", teacher / "model", "--out", scratch / "x" / "s.json"]
    said = cli(*line, "--json")
    assert said.code == 0
    assert said.err == ""
    assert json.loads((scratch / "x" / "s.json").read_text()) == said.json
    trained = json.loads((teacher / "result.json").read_text())
    scores = said.json["scores"]
    assert scores["model"]["accuracy"] == trained["scores"]["model"]["accuracy"]
    assert scores["model"]["agreement"]["value"] == 1.0
    assert scores["teacher"]["agreement"] is None
    assert said.json["models"]["model"]["sha256"] == model_digest(load_model(teacher))
    assert said.json["data"] == trained["data"]


def test_evaluate_prints_a_table_that_fits(cli, teacher: Path) -> None:
    said = cli("evaluate", teacher, "--data", "digits", "--split", "train", "--batch-size", 100)
    assert said.code == 0
    assert "cnn:widths=4-8" in said.out
    assert "accuracy (95 %)" in said.out
    assert "NLL" in said.out.splitlines()[-1]
    assert max(map(len, said.out.splitlines())) <= 80


def test_evaluate_takes_a_classifier_of_transformers(cli, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError):  # one that was built for another torch: hide it, as none is needed
        monkeypatch.setitem(sys.modules, "torchvision", None)
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(
        num_channels=1, embedding_size=4, hidden_sizes=[4], depths=[1], num_labels=10, layer_type="basic"
    )
    transformers.ResNetForImageClassification(config).save_pretrained(scratch / "theirs")
    preprocessor = {
        "do_resize": True, "size": {"height": 8, "width": 8}, "do_normalize": True,
        "image_mean": [0.5], "image_std": [0.5],
    }  # fmt: skip
    (scratch / "theirs" / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    said = cli("evaluate", f"hf:{scratch}/theirs", "--data", "digits", "--json")
    assert said.code == 0, said.err
    assert 0 <= said.json["scores"]["model"]["accuracy"]["value"] <= 0.5
    assert said.json["models"]["model"]["spec"] == f"hf:{scratch}/theirs"


def test_evaluate_takes_ones_own_factory(cli, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
        from torch import nn
        def net():
            net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
            net.input_shape, net.classes = (1, 8, 8), 10
            return net
    """
    (scratch / "my_own_nets.py").write_text("\n".join(line[8:] for line in code.splitlines()))
    monkeypatch.syspath_prepend(scratch)
    said = cli("evaluate", "python:my_own_nets:net", "--data", "digits", "--json")
    assert said.code == 0, said.err
    assert said.json["models"]["model"]["parameters"] == 650


def test_report_writes_the_page_of_one_run_again(cli, train_line: list[str], scratch: Path) -> None:
    assert cli(*train_line, "--json").code == 0
    page = scratch / "run" / "report.html"
    before = page.read_bytes()
    page.unlink()
    said = cli("report", "run")
    assert said.code == 0
    assert said.out == f"report: {page}\n"
    assert page.read_bytes() == before


def test_report_lays_several_runs_side_by_side(cli, train_line: list[str], teacher: Path, scratch: Path) -> None:
    assert cli(*train_line, "--json").code == 0
    assert cli("report", "run", teacher).out == "report: comparison.html\n"
    said = cli("report", "run", teacher, "--out", "pages/two.html", "--json")
    assert said.json == {"report": "pages/two.html"}
    assert "2 runs side by side" in (scratch / "comparison.html").read_text()
    assert 'href="run/report.html"' in (scratch / "comparison.html").read_text()
    assert 'href="../run/report.html"' in (scratch / "pages" / "two.html").read_text()


def test_report_refuses_what_is_no_finished_run(refused, cli, train_line: list[str], scratch: Path) -> None:
    (scratch / "empty").mkdir()
    assert "empty" in refused("report", "empty")
    assert cli(*train_line, "--json").code == 0
    (scratch / "run" / "result.json").unlink()
    assert "finished" in refused("report", "run", "--out", "page.html")
    assert not (scratch / "page.html").exists()


def test_doctor_says_what_is_there_and_what_is_missing(cli, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (scratch / "sets" / "flowers").mkdir(parents=True)
    monkeypatch.setenv("UNDERSTUDY_DATA", str(scratch / "sets"))
    monkeypatch.setenv("CXX", "no-such-compiler")
    from importlib.util import find_spec

    monkeypatch.setattr(
        "understudy.cli.doctor.util.find_spec", lambda name: None if name == "timm" else find_spec(name)
    )
    said = cli("doctor", "--json")
    checks = {check["what"]: check for check in said.json["checks"]}
    import torch

    assert checks["torch"]["found"] == torch.__version__
    assert checks["UNDERSTUDY_DATA"]["note"] == "flowers"
    assert checks["C++ compiler"]["found"] == "missing"
    assert checks["extra vision"]["found"] == "missing"
    assert "pip install 'understudy[vision]'" in checks["extra vision"]["note"]
    assert "cores" in checks["processor"]["note"]
    table = cli("doctor").out
    assert all(what.split()[0] in table for what in checks)
    assert max(map(len, table.splitlines())) <= 80
