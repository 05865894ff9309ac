"""The hub by name, with `datasets.load_dataset` replaced: no test touches the network."""

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from understudy.data import load_images
from understudy.errors import DataError


@pytest.fixture(autouse=True)
def _away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def answer_with(monkeypatch: pytest.MonkeyPatch, answer: Any) -> list[str]:
    asked: list[str] = []

    def load_dataset(name: str) -> Any:
        asked.append(name)
        assert datasets.are_progress_bars_disabled()
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return asked


def hub_set(images: list[dict[str, object]]) -> datasets.Dataset:
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    return datasets.Dataset.from_dict({"img": images, "label": [1, 0]}, features=features)


def test_rows_come_from_bytes_and_from_cached_files(tmp_path: Path, encode, monkeypatch) -> None:
    content = encode(np.full((2, 3), 10, dtype=np.uint8))
    (tmp_path / "cached.png").write_bytes(encode(np.full((2, 3), 20, dtype=np.uint8)))
    table = hub_set([{"bytes": content, "path": None}, {"bytes": None, "path": str(tmp_path / "cached.png")}])
    shown = not datasets.are_progress_bars_disabled()
    asked = answer_with(monkeypatch, datasets.DatasetDict({"train": table, "validation": table}))
    data = load_images("owner/pets", "test")
    assert asked == ["owner/pets"]
    assert data.images[:, 0, 0, 0].tolist() == [10, 20]
    assert data.labels.tolist() == [1, 0]
    assert data.classes == ("cat", "dog")
    assert datasets.are_progress_bars_disabled() != shown  # left as it was found


def test_an_absent_split_says_which_there_are(encode, monkeypatch) -> None:
    content = encode(np.zeros((2, 3), dtype=np.uint8))
    table = hub_set([{"bytes": content, "path": None}] * 2)
    answer_with(monkeypatch, datasets.DatasetDict({"test": table}))
    with pytest.raises(DataError, match="no split train") as caught:
        load_images("pets", "train")
    assert "the set has: test" in str(caught.value)


@pytest.mark.parametrize("fault", [ConnectionError("offline"), datasets.exceptions.DatasetNotFoundError("no such set")])
def test_an_unknown_name_says_where_was_looked_and_what_is_near(tmp_path: Path, monkeypatch, fault) -> None:
    (tmp_path / "mnist").mkdir()
    answer_with(monkeypatch, fault)
    with pytest.raises(DataError, match="no data set 'mnits'") as caught:
        load_images("mnits", "test")
    message = str(caught.value)
    assert f"$UNDERSTUDY_DATA ({tmp_path})" in message
    assert "Hugging Face hub" in message
    assert "did you mean 'mnist'" in message


def test_a_set_that_cannot_be_loaded_says_why(monkeypatch) -> None:
    answer_with(monkeypatch, ValueError("Config name is missing"))
    with pytest.raises(DataError, match="cannot be loaded: Config name is missing"):
        load_images("owner/pets", "test")
