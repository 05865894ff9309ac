"""The benchmark of mixed adapters: what is compared does the same work."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from understudy.data import load_texts
from understudy.models.text import Backbone, Predictor, SlotModel, load_backbone, merge


@pytest.fixture(scope="module")
def adapters(program: Callable[[str], ModuleType]) -> ModuleType:
    return program("adapters")


@pytest.fixture(scope="module")
def backbone(adapters: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    folder = adapters.encoder(None, True, tmp_path_factory.mktemp("encoder"))
    return load_backbone(str(folder), labels=("0", "1"), max_length=64, seed=0)


def test_one_merged_adapter_a_sentence_predicts_what_the_mixing_pass_does(
    adapters: ModuleType, backbone: Backbone
) -> None:
    slots = [adapters.random_adapter(backbone, slot) for slot in range(3)]
    texts = load_texts("reviews", "validation").texts[:6]
    weights = adapters.weights_of(len(texts), 3, backbone)
    with torch.no_grad():
        mixed = SlotModel(backbone, slots)(weights=weights, **backbone.encode(texts)).softmax(dim=1)
    for row, text in enumerate(texts):
        exact = (weights[row].double() / weights[row].double().sum()).tolist()
        one = Predictor(SlotModel(backbone, [merge(slots, exact, lora_mix="factor")]), backbone).probs([text])
        torch.testing.assert_close(one[0], mixed[row], atol=1e-5, rtol=0)


def test_every_ratio_is_measured(adapters: ModuleType, backbone: Backbone) -> None:
    size = adapters.Size(rows=2, batches=1, attacked=1, repeats=1)
    data = load_texts("reviews", "validation")
    found = adapters.measure(size, backbone, data.texts, data.labels.tolist(), "bf16")
    assert set(found["ratios"]) == {
        "mixing pass, factor over one adapter's pass",
        "mixing pass, product over one adapter's pass",
        "prediction, clean_range over prediction, one adapter",
        "prediction, pairwise over prediction, one adapter",
        "one merged adapter a sentence over the mixing pass",
        "an attack one candidate at a time over batches",
    }
    assert all(ratio["wall"] > 0 for ratio in found["ratios"].values())


def test_a_quick_run_writes_nothing(
    adapters: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["adapters.py", "--quick", "--out", str(tmp_path / "out.json")])
    adapters.main()
    assert "over one adapter's pass" in capsys.readouterr().out
    assert not (tmp_path / "out.json").exists()
