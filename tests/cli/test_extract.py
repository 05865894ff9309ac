"""`understudy extract` and `train simclr` as a user types them: what they print, and what they say to mistakes."""

from pathlib import Path

import pytest

from understudy.data import load_images
from understudy.models import build_encoder, save_model

QUICK = (
    "--images", 20, "--epochs", 1, "--batch-size", 10, "--train-rows", 60, "--no-knn", "--draws", 2,
    "--data", "digits[:200]", "--probe", "digits", "--surrogate", "cnn:widths=4-8",
)  # fmt: skip


@pytest.fixture
def encoder(tmp_path: Path) -> str:
    data = load_images("digits", "train")
    model = build_encoder("cnn:widths=4-8", input_shape=data.shape, mean=data.mean, std=data.std, seed=5).eval()
    save_model(model, tmp_path / "encoder", about={})
    return str(tmp_path / "encoder")


def test_a_copy_is_made_measured_and_reported(cli, encoder: str, tmp_path: Path) -> None:
    said = cli("extract", "rda", "--target", encoder, *QUICK, "--views", 3, "--price", 2, "--run", tmp_path / "run")
    assert said.code == 0, said.err
    for word in ("target", "honest client", "surrogate", "no query", "random", "fidelity", "few-shot"):
        assert word in said.out
    assert "queries charged: 60, 0.12 at 2.00 per 1,000" in said.out
    assert (tmp_path / "run" / "report.html").exists()
    again = cli("extract", "rda", "--config", tmp_path / "run" / "config.toml", "--run", tmp_path / "again", "--json")
    assert again.code == 0, again.err
    first = cli("extract", "rda", "--config", tmp_path / "run" / "config.toml", "--run", tmp_path / "run", "--json")
    assert again.json["models"]["surrogate"]["sha256"] == first.json["models"]["surrogate"]["sha256"]


def test_pages_of_one_and_of_several_extractions(cli, encoder: str, tmp_path: Path) -> None:
    for name in ("conventional", "stolen_encoder"):
        said = cli("extract", name, "--target", encoder, *QUICK, "--no-no-query-control", "--run", tmp_path / name)
        assert said.code == 0, said.err
    assert cli("report", tmp_path / "conventional", "--out", tmp_path / "one.html").code == 0
    assert cli("report", tmp_path / "conventional", tmp_path / "stolen_encoder", "-o", tmp_path / "two.html").code == 0
    page = (tmp_path / "two.html").read_text()
    assert "Conventional" in page
    assert "StolenEncoder" in page


def test_a_plan_asks_nothing(cli, encoder: str, tmp_path: Path) -> None:
    said = cli("extract", "rda", "--target", encoder, *QUICK, "--run", tmp_path / "run", "--dry-run", "--json")
    assert said.json["cost"]["queries"] == 200
    assert not (tmp_path / "run").exists()


def test_an_encoder_is_trained_and_probed(cli, tmp_path: Path) -> None:
    said = cli(
        "train", "--method", "simclr", "--data", "digits[:200]", "--model", "cnn:widths=4-8", "--epochs", 1,
        "--batch-size", 50, "--run", tmp_path / "run",
    )  # fmt: skip
    assert said.code == 0, said.err
    assert "untrained" in said.out
    assert "linear probe on frozen embeddings" in said.out
    assert "linear probe" in (tmp_path / "run" / "report.html").read_text()
    done = cli("evaluate", tmp_path / "run", "--data", "digits")
    assert (done.code, "this is an encoder" in done.err) == (2, True)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--budget", 0), "greater than 0"),
        (("--budget", -5), "greater than 0"),
        (("--budget", 15), "at least 20"),
        (("--budget", 150, "--over-budget", "refuse"), "budget of 150 rows is too small"),
        (("--defences", "topk:99"), "8"),
        (("--defences", "nois:0.1"), "did you mean 'noise'"),
        (("--target", "onnx:nothing.onnx"), "nothing.onnx"),
        (("--target", "nowhere/run"), "not found"),
        (("--target", "cnn"), "cnn"),
        (("--surrogate", "cnn:widths=4-7"), "--match linear"),
        (("--data", "digits[5:5]"), "takes none of"),
        (("--data", "digits[:1]"), "2 images"),
        (("--probe", "no-such-data"), "no-such-data"),
        (("--access", "labels"), "embeddings"),
        (("--shots", 0), "greater than 0"),
    ],
)
def test_a_mistake_is_explained_before_the_first_query(
    cli, encoder: str, tmp_path: Path, flags: tuple[object, ...], words: str
) -> None:
    line = ["--target", encoder, *QUICK, "--run", tmp_path / "run"]
    if flags[0] in line:
        at = line.index(flags[0])
        line[at + 1], flags = flags[1], flags[2:]
    said = cli("extract", "rda", *line, *flags)
    assert said.code == 2
    assert words in said.err
    assert "Traceback" not in said.err
    assert not (tmp_path / "run").exists()


def test_a_file_that_is_no_onnx_model_is_said_to_be_none(cli, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    (tmp_path / "fake.onnx").write_bytes(b"not a model")
    said = cli("extract", "rda", "--target", f"onnx:{tmp_path / 'fake.onnx'}", *QUICK, "--run", tmp_path / "run")
    assert said.code == 2
    assert "fake.onnx" in said.err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('surprise = "yes"', "unknown key 'surprise'"),
        ('teacher = "runs/x"', "teacher has no place in `understudy extract`"),
        ('probe = "digits"', "a list of texts"),
        ("[terms]\nbudget = -1", "budget"),
        ("[probes]\nshot = 1", "did you mean 'shots'"),
    ],
)
def test_a_wrong_file_is_explained(cli, encoder: str, tmp_path: Path, line: str, words: str) -> None:
    (tmp_path / "file.toml").write_text(line)
    said = cli("extract", "rda", "--target", encoder, *QUICK, "--config", tmp_path / "file.toml")
    assert said.code == 2
    assert words in said.err
