"""`export` on the command line: what it says, and what it refuses."""

import json
from pathlib import Path

import pytest
import torch

from understudy.models.text.adapter import AdapterConfig, new_adapter
from understudy.models.text.backbone import load_backbone
from understudy.models.text.gate import Gate
from understudy.models.text.mixture import MixedAdapters
from understudy.models.text.slots import SlotModel
from understudy.models.text.store import save_text_model


@pytest.fixture(params=["lora", "pfeiffer"])
def model(request: pytest.FixtureRequest, text_encoder: Path, tmp_path: Path) -> tuple[str, Path]:
    """The kind of adapters, and the folder of a mixture of three."""
    backbone = load_backbone(text_encoder, labels=("no", "yes"), max_length=32, seed=0)
    adapters = [new_adapter(backbone, AdapterConfig(kind=request.param), seed=seed) for seed in range(3)]
    profiles = torch.tensor([[0.1, 0.6]] * 3)
    mixed = MixedAdapters(SlotModel(backbone, adapters), backbone, Gate(), profiles, ("clean", "a", "b"))
    save_text_model(mixed, tmp_path / "m", about={})
    return request.param, tmp_path / "m"


def test_it_says_the_shares_and_whether_peft_can_load_it(cli, model: tuple[str, Path], tmp_path: Path) -> None:
    kind, folder = model
    said = cli("export", folder, "--coefficient", "0.5", "--out", tmp_path / "half")
    assert said.code == 0, said.err
    assert "0.5 clean, 0.25 a, 0.25 b" in said.out
    assert ("PEFT has no bottleneck adapters" in said.out) == (kind == "pfeiffer")
    found = cli("export", folder, "--coefficient", "0.5", "--out", tmp_path / "half", "--json").json  # the same again
    assert found["weights"] == {"clean": 0.5, "a": 0.25, "b": 0.25}
    assert found["loads_in_peft"] == (kind == "lora")


def test_an_earlier_export_is_not_replaced(cli, refused, model: tuple[str, Path], tmp_path: Path) -> None:
    folder = model[1]
    assert cli("export", folder, "--weights", "1,0,0", "--out", tmp_path / "out").code == 0
    before = json.loads((tmp_path / "out/understudy.json").read_text())
    said = refused("export", folder, "--weights", "0,1,0", "--out", tmp_path / "out")
    assert "another model is there" in said
    assert "choose another folder" in said
    assert json.loads((tmp_path / "out/understudy.json").read_text()) == before


@pytest.mark.parametrize("coefficient", ["1.5", "-0.1", "nan"])
def test_a_coefficient_out_of_range_names_its_flag(refused, text_encoder: Path, coefficient: str) -> None:
    said = refused("export", text_encoder, f"--coefficient={coefficient}", "--out", "out")
    assert "where:    --coefficient" in said
    assert "to do:" in said
