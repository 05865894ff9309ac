"""What a record says of how its numbers came about."""

from pathlib import Path

import pytest

from understudy.models.text.backbone import SYNTHETIC, load_backbone
from understudy.runs.files import read_json, write_json
from understudy.study.text_bench import load_bench
from understudy.study.text_record import _notes, describe_backbone
from understudy.study.text_settings import TextSettings


@pytest.mark.parametrize("marked", [False, True])
def test_an_encoder_made_on_the_spot_is_told_whatever_folder_it_comes_from(
    text_encoder: Path, tmp_path: Path, marked: bool
) -> None:
    folder = tmp_path / "encoder"
    folder.mkdir()
    for file in text_encoder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    if marked:
        write_json(folder / "config.json", {**read_json(folder / "config.json"), SYNTHETIC: True})
    bench = load_bench(TextSettings(backbone=str(folder), data="reviews[:8]", rows=2, adaptive_rows=1, clean_rows=4))
    backbone = load_backbone(folder, labels=bench.train.classes, max_length=32, seed=0)
    told = describe_backbone(backbone, spec=str(folder))
    assert any("the numbers show the mechanics" in note for note in _notes(bench, [], told)) == marked
