"""Backbones: what is read of a folder, how texts are cut, and what is refused."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from understudy.errors import ConfigError, DataError, IntegrityError, ShapeError
from understudy.models.text._coding import check_texts
from understudy.models.text._saving import save_backbone
from understudy.models.text.backbone import SYNTHETIC, Backbone, draw_head, load_backbone
from understudy.models.text.extras import transformers
from understudy.models.text.full import FullModel
from understudy.models.text.predictor import Predictor
from understudy.models.text.slots import SlotModel
from understudy.models.text.store import save_text_model

LABELS = ("no", "yes")


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny folder that a test may spoil."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "copy"))


def test_everything_is_frozen_and_the_lacking_pooler_belongs_to_the_head(tiny_backbone: Backbone) -> None:
    assert not any(value.requires_grad for value in tiny_backbone.model.parameters())
    assert set(tiny_backbone.head_names) == {
        "bert.pooler.dense.weight",
        "bert.pooler.dense.bias",
        "classifier.weight",
        "classifier.bias",
    }
    facts = (tiny_backbone.classes, tiny_backbone.hidden_size, tiny_backbone.layers, tiny_backbone.architecture)
    assert facts == (2, 32, 2, "bert")
    assert len(tiny_backbone.layer_modules) == 2


def test_a_backbone_is_a_function_of_its_folder_and_its_head_of_the_seed(tiny_folder: Path) -> None:
    first = load_backbone(tiny_folder, labels=LABELS, max_length=32, seed=0)
    torch.manual_seed(5)
    again = load_backbone(tiny_folder, labels=LABELS, max_length=32, seed=0)
    other = load_backbone(tiny_folder, labels=("a", "b", "c"), max_length=16, seed=1)
    assert first.sha256 == again.sha256 == other.sha256
    same, different = first.model.state_dict(), other.model.state_dict()
    assert all(torch.equal(value, same[name]) for name, value in again.model.state_dict().items())
    assert not torch.equal(same["bert.pooler.dense.weight"], different["bert.pooler.dense.weight"])


def test_a_head_in_the_folder_is_kept_if_it_fits(tiny_folder: Path, tmp_path: Path) -> None:
    tuned = load_backbone(tiny_folder, labels=LABELS, max_length=32, seed=0)
    tuned.model.save_pretrained(tmp_path / "tuned")
    tuned.tokenizer.save_pretrained(tmp_path / "tuned")
    again = load_backbone(tmp_path / "tuned", labels=LABELS, max_length=32, seed=1)
    assert again.drawn == frozenset()
    assert again.head_names == ("classifier.weight", "classifier.bias")  # the pooler is the folder's own: frozen
    assert torch.equal(draw_head(again, seed=1)["classifier.weight"], tuned.model.classifier.weight)
    three = load_backbone(tmp_path / "tuned", labels=("a", "b", "c"), max_length=32, seed=1)
    assert three.drawn == frozenset({"classifier.weight", "classifier.bias"})


def test_a_run_folder_with_a_backbone_in_it_is_found(tiny_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_folder, tmp_path / "run" / "backbone")
    (tmp_path / "run" / "config.json").write_text('{"name": "a run"}')
    found = load_backbone(tmp_path / "run", labels=LABELS, max_length=32, seed=0)
    assert found.sha256 == load_backbone(tiny_folder, labels=LABELS, max_length=32, seed=0).sha256


def test_texts_are_cut_at_max_length_and_visible_words_counted(tiny_backbone: Backbone) -> None:
    long = "good " * 100
    assert tiny_backbone.encode([long])["input_ids"].shape == (1, 32)
    assert tiny_backbone.visible_words(long) == 30  # two places are [CLS] and [SEP]
    assert tiny_backbone.visible_words("good film") == 2
    assert tiny_backbone.visible_words("") == 0
    assert tiny_backbone.visible_words("good " * 29 + "qqq film") == 30  # one letter of `qqq` gets in


def test_of_a_pair_only_the_second_text_is_cut_unless_the_first_takes_more_than_half(tiny_backbone: Backbone) -> None:
    row = tiny_backbone.tokens(["good " * 100], ["bad film"])[0]
    assert len(row["input_ids"]) == 32
    assert row["token_type_ids"] == [0] * 4 + [1] * 28
    assert tiny_backbone.visible_words("good " * 100, "bad film") == 27
    row = tiny_backbone.tokens(["good"], ["film " * 100])[0]
    assert row["token_type_ids"] == [0] * 16 + [1] * 2  # 14 of the 29 places that are not special
    assert tiny_backbone.visible_words("good", "film " * 100) == 1


def test_batches_are_padded_only_where_asked(tiny_backbone: Backbone) -> None:
    encoded = tiny_backbone.encode(["good", "good film"])
    assert encoded["attention_mask"].tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
    assert encoded["input_ids"][0, 3] == tiny_backbone.tokenizer.pad_token_id
    with pytest.raises(ShapeError):
        tiny_backbone.encode(["good", "good film"], pad=False)
    with pytest.raises(DataError, match="context"):
        tiny_backbone.encode(["good"], ["a", "b"])
    with pytest.raises(DataError):
        tiny_backbone.encode([])


def test_special_words_in_a_text_are_the_special_tokens(tiny_backbone: Backbone) -> None:
    numbers = tiny_backbone.encode([f"good {tiny_backbone.unknown_token} {tiny_backbone.mask_token}"])["input_ids"]
    tokens = tiny_backbone.tokenizer.convert_ids_to_tokens(numbers[0].tolist())
    assert tokens == ["[CLS]", "good", "[UNK]", "[MASK]", "[SEP]"]


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no language model"):
        load_backbone(tmp_path, labels=LABELS, seed=0)
    with pytest.raises(ConfigError, match="no such folder"):
        load_backbone(tmp_path / "absent", labels=LABELS, seed=0)


def test_a_wrong_path_is_told_apart_and_says_what_to_give(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusal(spec: str | Path) -> str:
        with pytest.raises(ConfigError) as caught:
            load_backbone(spec, labels=LABELS, seed=0)
        return str(caught.value)

    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_folder, tmp_path / "encoder")
    (tmp_path / "empty").mkdir()
    assert "to do:    check the path, or give tiny" in refusal("empty")
    assert "did you mean 'encoder'?" in refusal("./encodr")
    assert "to do:    check the path, or give tiny" in refusal("./zzqx")
    message = refusal("encoder/config.json")
    assert "this is a file, and no folder" in message
    assert "name the folder it is in" in message


@pytest.mark.skipif(os.environ.get("HF_HUB_OFFLINE") != "1", reason="would ask the hub: set HF_HUB_OFFLINE=1")
def test_a_mistyped_name_is_told_the_near_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="did you mean 'tiny'"):
        load_backbone("tinny", labels=LABELS, seed=0)


def test_a_run_over_another_folders_backbone_names_that_one(
    tiny_folder: Path, make_adapter, tiny_backbone: Backbone, tmp_path: Path
) -> None:
    model = Predictor(SlotModel(tiny_backbone, [make_adapter(tiny_backbone, 0)]), tiny_backbone)
    save_text_model(model, tmp_path / "run" / "model", about={})
    with pytest.raises(ConfigError) as caught:
        load_backbone(tmp_path / "run", labels=LABELS, seed=0)
    assert f"its adapters stand on the backbone {tiny_folder}: give that one" in str(caught.value)


def test_an_encoder_of_made_up_sentences_says_so_wherever_it_goes(folder: Path, tmp_path: Path) -> None:
    assert not load_backbone(folder, labels=LABELS, max_length=32, seed=0).synthetic
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, SYNTHETIC: True}))
    marked = load_backbone(folder, labels=LABELS, max_length=32, seed=0)
    assert marked.synthetic
    save_backbone(marked, tmp_path / "carried")
    assert load_backbone(tmp_path / "carried", labels=LABELS, max_length=32, seed=0).synthetic
    FullModel(marked).save(tmp_path / "whole")
    assert load_backbone(tmp_path / "whole", labels=LABELS, max_length=32, seed=0).synthetic


def test_what_is_no_list_of_texts_is_refused_with_the_number_of_the_item(tiny_backbone: Backbone) -> None:
    with pytest.raises(DataError, match=r"texts is one str(.|\n)*put it into a list"):
        tiny_backbone.tokens("a film")
    with pytest.raises(DataError, match="contexts is one str"):
        tiny_backbone.tokens(["a"] * 6, "a film")
    for item, kind in ((None, "NoneType"), (3, "int"), (b"film", "bytes"), (float("nan"), "float")):
        with pytest.raises(DataError, match=rf"item 1 is .*, a {kind}(.|\n)*texts\[1\]"):
            check_texts(["good", item], "texts")
    check_texts((), "texts")
    check_texts(np.array(["good"]), "texts")


@pytest.mark.skipif(os.environ.get("HF_HUB_OFFLINE") != "1", reason="would ask the hub: set HF_HUB_OFFLINE=1")
def test_a_name_that_is_neither_here_nor_fetched_is_refused() -> None:
    with pytest.raises(ConfigError, match="neither a folder here"):
        load_backbone("nobody/no-such-model", labels=LABELS, seed=0)


def test_a_folder_without_tokenizer_is_refused(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    with pytest.raises(ConfigError, match="no tokenizer"):
        load_backbone(folder, labels=LABELS, max_length=32, seed=0)


def test_damaged_weights_are_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(IntegrityError, match="cannot be read"):
        load_backbone(folder, labels=LABELS, max_length=32, seed=0)


def test_weights_of_another_size_are_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(ConfigError, match="lack"):
        load_backbone(folder, labels=LABELS, max_length=32, seed=0)


def test_pickled_weights_are_not_read(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(ConfigError):
        load_backbone(folder, labels=LABELS, max_length=32, seed=0)


def test_an_architecture_that_cannot_classify_is_refused(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "vit"}))
    with pytest.raises(ConfigError, match="AutoModelForSequenceClassification"):
        load_backbone(folder, labels=LABELS, max_length=32, seed=0)


@pytest.mark.parametrize("length", [65, 4])
def test_a_length_beyond_the_positions_or_without_room_is_refused(tiny_folder: Path, length: int) -> None:
    with pytest.raises(ConfigError, match="max_length"):
        load_backbone(tiny_folder, labels=LABELS, max_length=length, seed=0)


@pytest.mark.parametrize("labels", [(), ("one",), ("same", "same")])
def test_fewer_than_two_classes_are_refused(tiny_folder: Path, labels: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="labels"):
        load_backbone(tiny_folder, labels=labels, max_length=32, seed=0)


def test_a_missing_extra_is_named(tiny_folder: Path) -> None:
    program = (
        "import sys; sys.modules['transformers'] = None\n"
        "from understudy.errors import DependencyError\n"
        "from understudy.models.text.backbone import load_backbone\n"
        "try:\n"
        f"    load_backbone({str(tiny_folder)!r}, labels=('a', 'b'), seed=0)\n"
        "except DependencyError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "pip install 'understudy[text]'" in done.stdout


def test_loading_says_nothing(tiny_folder: Path) -> None:
    program = (
        "from understudy.models.text.backbone import load_backbone\n"
        f"load_backbone({str(tiny_folder)!r}, labels=('a', 'b'), max_length=32, seed=0)\n"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, env=environment, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_decoder_is_refused(folder: Path) -> None:
    config = transformers().BartConfig(d_model=32, encoder_layers=1, decoder_layers=1).to_dict()
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="decoder"):
        load_backbone(folder, labels=LABELS, max_length=32, seed=0)
