"""Other architectures than BERT, and the parameter counts of the specification."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from understudy.errors import ConfigError
from understudy.models.text.adapter import Adapter, AdapterConfig, adapted_modules, new_adapter
from understudy.models.text.backbone import Backbone, load_backbone
from understudy.models.text.extras import quiet, transformers
from understudy.models.text.slots import SlotModel, merge
from understudy.models.text.tiny import build_tiny

MakeAdapter = Callable[..., Adapter]
TEXTS = ("the film is good", "a dull plot")
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
ENCODERS: dict[str, dict[str, Any]] = {
    "Bert": SIZES,
    "Roberta": {**SIZES, "pad_token_id": 0, "type_vocab_size": 2},
    "DistilBert": {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64},
    "Electra": {**SIZES, "embedding_size": 32},
    "DebertaV2": {**SIZES, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "share_att_key": True},
    "Albert": {**SIZES, "embedding_size": 32},
}


@pytest.fixture(scope="session")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that writes a folder of a tiny random encoder, once an architecture."""
    made: dict[str, Path] = {}

    def encoders(name: str) -> Path:
        if name not in made:
            folder = build_tiny(("good", "film"), tmp_path_factory.mktemp(name) / "model", hidden=32, seed=0)
            vocabulary = len(json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"])
            package = transformers()
            config = getattr(package, f"{name}Config")(
                vocab_size=vocabulary, max_position_embeddings=64, **ENCODERS[name]
            )
            (folder / "model.safetensors").unlink()
            with quiet(), torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                getattr(package, f"{name}ForSequenceClassification")(config).save_pretrained(folder)
            made[name] = folder
        return made[name]

    return encoders


def load(folder: Path, classes: int = 3) -> Backbone:
    labels = [str(number) for number in range(classes)]
    return load_backbone(folder, labels=labels, max_length=32, seed=0).to(torch.float64)


@pytest.mark.parametrize("kind", ["lora", "pfeiffer", "houlsby"])
@pytest.mark.parametrize("name", ["Bert", "Roberta", "DistilBert", "Electra", "Albert"])
def test_slots_mix_over_any_encoder_heads_with_hidden_layers_too(
    encoders: Callable[[str], Path], make_adapter: MakeAdapter, name: str, kind: str
) -> None:
    backbone = load(encoders(name))
    adapters = [make_adapter(backbone, seed, kind=kind) for seed in range(2)]
    weights = torch.tensor([[0.3, 0.7], [0.9, 0.1]], dtype=torch.float64)
    encoded = backbone.encode(TEXTS)
    with torch.no_grad():
        mixed = SlotModel(backbone, adapters)(weights=weights, **encoded)
        for row, text in enumerate(TEXTS):
            alone = SlotModel(backbone, [merge(adapters, weights[row].tolist())])(**backbone.encode([text]))
            torch.testing.assert_close(mixed[row : row + 1], alone, rtol=0, atol=1e-12)
        assert mixed.shape == (2, 3)
        assert not torch.allclose(mixed, backbone.model(**encoded).logits)


def test_where_a_model_adapts_more_than_rows_one_slot_works_and_mixing_is_refused(
    encoders: Callable[[str], Path], make_adapter: MakeAdapter
) -> None:
    backbone = load(encoders("DebertaV2"))
    adapter, encoded = make_adapter(backbone, 0), backbone.encode(TEXTS)
    with torch.no_grad():
        assert SlotModel(backbone, [adapter])(**encoded).isfinite().all()
        pair = SlotModel(backbone, [adapter, adapter])
        with pytest.raises(ConfigError, match="other than the rows"):
            pair(weights=torch.full((2, 2), 0.5, dtype=torch.float64), **encoded)


def test_roberta_counts_its_positions_after_the_padding(encoders: Callable[[str], Path]) -> None:
    folder = encoders("Roberta")
    assert load_backbone(folder, labels=("a", "b"), max_length=63, seed=0).max_length == 63
    with pytest.raises(ConfigError, match="63 positions"):
        load_backbone(folder, labels=("a", "b"), max_length=64, seed=0)


@pytest.mark.parametrize(("name", "size"), [("Bert", 3 * 33), ("Roberta", 32 * 33 + 3 * 33)])
def test_the_head_is_all_outside_the_encoder(encoders: Callable[[str], Path], name: str, size: int) -> None:
    backbone = load(encoders(name))
    head = new_adapter(backbone, AdapterConfig(), seed=0).head
    assert sum(value.numel() for value in head.values()) == size


@pytest.mark.parametrize(
    ("kind", "expected"),
    # of the specification's table: layers L, width d; r = 8, d/16
    [
        ("lora", {(6, 384): 73_728, (12, 768): 294_912}),
        ("pfeiffer", {(6, 384): 113_040, (12, 768): 894_528}),
        ("houlsby", {(6, 384): 226_080, (12, 768): 1_789_056}),
    ],
)
def test_sizes_follow_the_specification(
    encoders: Callable[[str], Path], kind: str, expected: dict[tuple[int, int], int]
) -> None:
    def formula(layers: int, width: int, rank: int) -> int:
        inner = width // 16
        once = 2 * inner * width + inner + width
        return layers * {"lora": 2 * 2 * rank * width, "pfeiffer": once, "houlsby": 2 * once}[kind]

    for (layers, width), count in expected.items():
        assert formula(layers, width, 8) == count
    config = AdapterConfig.model_validate({"kind": kind})
    assert new_adapter(load(encoders("Bert")), config, seed=0).parameters == formula(2, 32, 8)


def test_target_modules_may_be_named_and_must_be_there(encoders: Callable[[str], Path]) -> None:
    backbone = load(encoders("Bert"))
    found: dict[str, Tensor] = dict(new_adapter(backbone, AdapterConfig(target_modules=("key",)), seed=0).tensors)
    assert {name.split(".")[-3] for name in found} == {"key"}
    everywhere = adapted_modules(backbone, AdapterConfig(target_modules=("dense",)))
    assert "classifier" not in everywhere
    with pytest.raises(ConfigError, match="no place"):
        new_adapter(backbone, AdapterConfig(target_modules=("nowhere",)), seed=0)
