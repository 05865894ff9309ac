"""`understudy verify`: the verdict on a copy, on an innocent encoder, and what is refused."""

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from understudy.data import load_images
from understudy.methods.baseline.supervised import Supervised
from understudy.methods.extraction.bad_encoder import BadEncoder
from understudy.models import build_model, encoder_of, save_model
from understudy.runs.options import RunOptions
from understudy.runs.run import Run
from understudy.training import Recipe


@dataclass(frozen=True)
class Folders:
    clean: Path
    marked: Path


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """A classifier of digits, and its encoder with a watermark, in run folders."""
    root, data = tmp_path_factory.mktemp("verify"), load_images("digits", "train")
    model = build_model("cnn:widths=8-16-32", input_shape=data.shape, classes=10, mean=data.mean, std=data.std, seed=0)
    options = RunOptions(device="cpu")
    recipe = Recipe(epochs=5, batch_size=64, learning_rate=0.05)
    Supervised(fit=recipe).run(model=model, data=data, run=Run(root / "clean", {}, options))
    save_model(model, root / "clean" / "model", about={})
    marked = copy.deepcopy(encoder_of(model))
    quick = Recipe(epochs=6, batch_size=64, learning_rate=0.05, weight_decay=0, schedule="constant")
    method = BadEncoder(patch_size=3, patch_margin=0, flip=0, fit=quick)
    method.run(model=marked, data=data, run=Run(root / "marked", {}, options))
    save_model(marked, root / "marked" / "model", about={})
    return Folders(root / "clean", root / "marked")


def test_the_marked_encoder_is_told_from_the_clean_one(cli, folders: Folders, scratch: Path) -> None:
    line = ("--watermark", folders.marked, "--data", "digits", "--clean", folders.clean, "--out", scratch / "v.json")
    found = cli("verify", folders.marked, *line, "--json").json
    assert json.loads((scratch / "v.json").read_text()) == found
    assert found["found"] is True
    assert set(found["encoders"]) == {"suspect", "clean"}  # the suspect is the marked encoder itself
    assert found["encoders"]["suspect"]["asr"]["value"] > 0.8 > found["encoders"]["clean"]["asr"]["value"]
    innocent = cli("verify", folders.clean, *line, "--json").json
    assert innocent["found"] is False
    assert innocent["encoders"]["marked"] == found["encoders"]["suspect"]
    assert innocent["data"] == {"source": "digits", "train_rows": 1297, "test_rows": 500, "adapted": None}


def test_people_read_a_table_and_a_verdict(cli, folders: Folders) -> None:
    said = cli("verify", folders.clean, "--watermark", folders.marked / "watermark.safetensors", "--data", "digits")
    assert said.code == 0
    assert said.err == ""
    table, _, verdict = said.out.rstrip().rpartition("\n")
    assert "ASR (95 %)" in table
    assert "suspect" in table
    assert "marked" not in table  # a watermark alone says nothing of its encoder
    assert verdict.startswith("The watermark is not found in the suspect: ")
    assert max(map(len, table.splitlines())) <= 80


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"watermark": "clean"}, "there is no watermark"),
        ({"suspect": "nowhere/at/all"}, "model folder not found"),
        ({"data": "images"}, "no class is called '9'"),
    ],
)
def test_what_cannot_be_verified_is_refused(
    refused: Callable[..., str],
    folders: Folders,
    image_folder: Callable[..., Path],
    changes: dict[str, str],
    message: str,
) -> None:
    suspect = changes.get("suspect", folders.marked)
    watermark = folders.clean if changes.get("watermark") else folders.marked
    data = image_folder(size=(6, 6)) if "data" in changes else "digits"
    assert message in refused("verify", suspect, "--watermark", watermark, "--data", data)


def test_images_of_another_size_are_adapted_and_the_class_may_have_another_name(
    cli, folders: Folders, image_folder: Callable[..., Path]
) -> None:
    line = ("verify", folders.marked, "--watermark", folders.marked, "--data", image_folder(size=(6, 9)))
    said = cli(*line, "--class-name", "09")
    assert said.code == 0
    assert "images resized from 6 x 9 to 8 x 8 pixels" in said.out
    found = cli(*line, "--class-name", "09", "--json").json
    assert found["class_name"] == "09"
    assert found["data"]["adapted"].startswith("resized from 6 x 9")
    assert found["encoders"]["suspect"]["asr"]["n"] == 27
