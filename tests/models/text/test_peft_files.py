"""Adapters on disk: plain PEFT reads ours in a fresh process, we read PEFT's, and damage is refused."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from understudy.errors import ConfigError, IntegrityError
from understudy.models.text.adapter import Adapter
from understudy.models.text.backbone import Backbone, load_backbone
from understudy.models.text.peft_files import load_adapter, save_adapter
from understudy.models.text.slots import SlotModel, merge

MakeAdapter = Callable[..., Adapter]
TEXTS = ("the film is good", "a dull plot")

_PROGRAM = """
import json, sys, torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from transformers import AutoModelForSequenceClassification, AutoTokenizer
base, folder, out = sys.argv[1:]
model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
if folder:
    model = PeftModel.from_pretrained(model, folder).eval()
else:
    torch.manual_seed(3)
    config = LoraConfig(task_type=TaskType.SEQ_CLS, r=4, lora_alpha=6, modules_to_save=["pooler"])
    model = get_peft_model(model, config).eval()
    with torch.no_grad():
        for value in model.parameters():
            if value.requires_grad:
                value.add_(0.3 * torch.randn_like(value))
    model.save_pretrained(out)
encoded = AutoTokenizer.from_pretrained(base)(["the film is good", "a dull plot"], padding=True, return_tensors="pt")
with torch.no_grad():
    print(json.dumps(model(**encoded).logits.tolist()))
"""


def plain_peft(base: Path, folder: Path | str, out: Path | str = "") -> torch.Tensor:
    """Run plain PEFT in a fresh process; return its logits."""
    command = [sys.executable, "-W", "ignore", "-c", _PROGRAM, str(base), str(folder), str(out)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return torch.tensor(json.loads(done.stdout))


def logits(backbone: Backbone, adapter: Adapter) -> torch.Tensor:
    with torch.no_grad():
        return SlotModel(backbone, [adapter])(**backbone.encode(TEXTS))


@pytest.mark.parametrize("merged", [False, True])
def test_plain_peft_loads_an_adapter_of_ours_and_gives_its_logits(
    tiny_folder: Path, tiny_backbone: Backbone, make_adapter: MakeAdapter, tmp_path: Path, merged: bool
) -> None:
    adapter = make_adapter(tiny_backbone, 1, rank=3, alpha=7.5)
    if merged:  # another rank and head, as an exported mixture has
        adapter = merge([adapter, make_adapter(tiny_backbone, 2)], [0.25, 0.75], lora_mix="product")
    save_adapter(adapter, tmp_path / "ours")
    found = plain_peft(tiny_folder, tmp_path / "ours")
    torch.testing.assert_close(found, logits(tiny_backbone, adapter), rtol=0, atol=1e-6 * (100 if merged else 1))


def test_an_adapter_that_plain_peft_saved_gives_its_logits_here(
    tiny_folder: Path, tiny_backbone: Backbone, tmp_path: Path
) -> None:
    expected = plain_peft(tiny_folder, "", tmp_path / "theirs")
    adapter = load_adapter(tmp_path / "theirs", backbone=tiny_backbone)
    assert (adapter.config.rank, adapter.config.alpha, adapter.labels) == (4, 6.0, tiny_backbone.labels)
    torch.testing.assert_close(logits(tiny_backbone, adapter), expected, rtol=0, atol=1e-6)
    with pytest.raises(ConfigError, match="which backbone"):
        load_adapter(tmp_path / "theirs")


@pytest.mark.parametrize("kind", ["lora", "pfeiffer", "houlsby"])
def test_saved_and_loaded_is_the_same_adapter(
    tiny_backbone: Backbone, make_adapter: MakeAdapter, tmp_path: Path, kind: str
) -> None:
    adapter = make_adapter(tiny_backbone, 1, kind=kind, dropout=0.2)
    for folder in ("a", "b"):
        save_adapter(adapter, tmp_path / folder)
    for backbone in (None, tiny_backbone):
        loaded = load_adapter(tmp_path / "a", backbone=backbone)
        assert loaded.config == adapter.config
        assert loaded.sha256 == adapter.sha256
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_the_folder_of_a_bottleneck_says_that_peft_cannot_load_it(
    tiny_backbone: Backbone, make_adapter: MakeAdapter, tmp_path: Path
) -> None:
    save_adapter(make_adapter(tiny_backbone, 1, kind="houlsby"), tmp_path)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["peft_type"] == "BOTTLENECK"
    assert "cannot load this folder" in (tmp_path / "README.md").read_text()


@pytest.fixture
def saved(tiny_backbone: Backbone, make_adapter: MakeAdapter, tmp_path: Path) -> Path:
    save_adapter(make_adapter(tiny_backbone, 1), tmp_path / "adapter")
    return tmp_path / "adapter"


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no adapter folder"):
        load_adapter(tmp_path)


def test_damaged_files_are_refused(saved: Path) -> None:
    path = saved / "adapter_model.safetensors"
    whole = path.read_bytes()
    for spoilt in (whole[:500], b"", whole[:-4] + bytes(4)):
        path.write_bytes(spoilt)
        with pytest.raises(IntegrityError):
            load_adapter(saved)
    path.unlink()
    with pytest.raises(IntegrityError, match="not found"):
        load_adapter(saved)
    path.write_bytes(whole)
    for name in ("adapter_config.json", "understudy.json"):
        kept = (saved / name).read_text()
        (saved / name).write_text(kept[:40])
        with pytest.raises(IntegrityError):
            load_adapter(saved)
        (saved / name).write_text(kept)
    load_adapter(saved)


def as_plain(saved: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    """Make a folder look as if PEFT had written it; return its weights' path and content."""
    (saved / "understudy.json").unlink()
    return saved / "adapter_model.safetensors", load_file(saved / "adapter_model.safetensors")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(saved: Path, tiny_backbone: Backbone, value: float) -> None:
    path, tensors = as_plain(saved)
    next(iter(tensors.values()))[0] = value
    save_file(tensors, path)
    with pytest.raises(IntegrityError, match="finite"):
        load_adapter(saved, backbone=tiny_backbone)


@pytest.mark.parametrize("change", ["rank", "columns", "missing", "head"])
def test_weights_of_other_shapes_are_refused(saved: Path, tiny_backbone: Backbone, change: str) -> None:
    path, tensors = as_plain(saved)
    lower = next(name for name in tensors if name.endswith("lora_A.weight"))
    if change == "rank":
        tensors[lower] = tensors[lower][:3].clone()
    elif change == "columns":
        tensors[lower] = tensors[lower][:, :5].clone()
    elif change == "missing":
        del tensors[lower]
    else:
        del tensors["base_model.model.bert.pooler.dense.weight"]
    save_file(tensors, path)
    with pytest.raises((IntegrityError, ConfigError)):
        load_adapter(saved, backbone=tiny_backbone)


@pytest.mark.parametrize(
    "change",
    [
        {"use_rslora": True},
        {"use_dora": True},
        {"bias": "all"},
        {"rank_pattern": {"query": 4}},
        {"alpha_pattern": {"query": 4}},
        {"peft_type": "IA3"},
        {"task_type": "TOKEN_CLS"},
    ],
)
def test_variants_that_are_not_known_are_refused_by_name(saved: Path, change: dict[str, object]) -> None:
    path = saved / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    word = next(iter(change)).removesuffix("_type")
    with pytest.raises(ConfigError, match="type" if word == "peft" else word):
        load_adapter(saved)


def test_settings_that_contradict_the_weights_are_refused(saved: Path) -> None:
    path = saved / "adapter_config.json"
    for change in ({"lora_alpha": 99}, {"r": 0}, {"r": 4}):
        kept = path.read_text()
        path.write_text(json.dumps({**json.loads(kept), **change}))
        with pytest.raises(IntegrityError):
            load_adapter(saved)
        path.write_text(kept)


def test_an_adapter_of_another_backbone_or_task_is_refused(
    saved: Path, tiny_folder: Path, tiny_backbone: Backbone
) -> None:
    three = load_backbone(tiny_folder, labels=("a", "b", "c"), max_length=32, seed=0)
    with pytest.raises(ConfigError, match="classes"):
        load_adapter(saved, backbone=three)
    tiny_backbone.sha256 = "0" * 64
    with pytest.raises(ConfigError, match="backbone"):
        load_adapter(saved, backbone=tiny_backbone)
