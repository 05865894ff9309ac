"""Mixed adapters as a model of Transformers: folders, Auto classes, pipelines."""

import logging
from pathlib import Path

import pytest
import torch

from understudy.errors import ConfigError, IntegrityError
from understudy.models.text.backbone import Backbone
from understudy.models.text.gate import Gate
from understudy.models.text.hub import MixedAdapterClassifier, MixedAdapterConfig, log_probs
from understudy.models.text.mixture import MixedAdapters
from understudy.models.text.predictor import Predictor
from understudy.models.text.slots import SlotModel
from understudy.models.text.store import save_text_model

transformers = pytest.importorskip("transformers")

TEXTS = ["the film is good", "a dull plot", "never bad", "the actors was bright in a story"]


@pytest.fixture
def mixed(make_adapter, tiny_backbone: Backbone) -> MixedAdapters:
    slots = SlotModel(tiny_backbone, [make_adapter(tiny_backbone, seed) for seed in range(3)])
    profiles = torch.tensor([[0.1, 0.68], [0.2, 0.69], [0.05, 0.6]])
    return MixedAdapters(slots, tiny_backbone, Gate(rule="pairwise"), profiles, ("clean", "deepwordbug", "pwws"))


@pytest.fixture
def folder(mixed: MixedAdapters, tmp_path: Path) -> Path:
    save_text_model(mixed, tmp_path / "model", about={}, include_backbone=True)
    return tmp_path / "model"


def scores(answers: list[list[dict]]) -> torch.Tensor:
    rows = [{answer["label"]: answer["score"] for answer in row} for row in answers]
    return torch.tensor([[row["no"], row["yes"]] for row in rows])


@pytest.mark.parametrize("way", ["class", "auto", "folder"])
def test_a_pipeline_answers_as_the_mixture_does_without_a_word(mixed, folder: Path, way: str, caplog) -> None:
    """Warnings are errors here; what Transformers would log instead is looked at too."""
    logger = logging.getLogger("transformers")
    logger.propagate = True
    with caplog.at_level(logging.WARNING):
        if way == "folder":
            classify = transformers.pipeline("text-classification", model=str(folder), device="cpu")
        else:
            kind = MixedAdapterClassifier if way == "class" else transformers.AutoModelForSequenceClassification
            model = kind.from_pretrained(folder)
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
            classify = transformers.pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu")
        found = scores(classify(TEXTS, top_k=None, batch_size=3))
    logger.propagate = False
    assert not [record.message for record in caplog.records]
    assert isinstance(classify.model, MixedAdapterClassifier)
    torch.testing.assert_close(found, mixed.probs(TEXTS), rtol=0, atol=1e-5)
    best = classify(TEXTS[0])[0]
    assert best["label"] == mixed.labels[int(mixed.probs(TEXTS[:1]).argmax())]


def test_a_long_text_is_cut_where_the_model_ends(mixed, folder: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert tokenizer.model_max_length == mixed.backbone.max_length
    model = MixedAdapterClassifier.from_pretrained(folder)
    classify = transformers.pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu")
    long = "the film is good " * 50
    found = scores(classify([long], top_k=None, truncation=True))
    torch.testing.assert_close(found, mixed.probs([long]), rtol=0, atol=1e-5)


def test_the_examples_of_docs_and_card_take_long_texts(mixed, folder: Path, capsys) -> None:
    """What stands there is what is run, with this folder and a text that is longer than the model reads."""
    long = "the film is good " * 50
    docs = (Path(__file__).parents[3] / "docs" / "adapters.md").read_text(encoding="utf-8")
    example = next(part for part in docs.split("```python\n")[1:] if "pipeline" in part).partition("```")[0]
    exec(example.replace("runs/text/model", str(folder)).replace("a film of rare charm", long), {})
    best = mixed.labels[int(mixed.probs([long]).argmax())]
    assert f"'label': '{best}'" in capsys.readouterr().out
    card = (folder / "README.md").read_text(encoding="utf-8").split("```python\n")[1].partition("```")[0]
    scope: dict = {}
    exec(card.replace("path/to/this/folder", str(folder)), scope)
    assert scope["classify"](long)[0]["label"] == best


def test_logits_are_logarithms_of_the_mixture(mixed, folder: Path) -> None:
    model = MixedAdapterClassifier.from_pretrained(folder)
    encoded = mixed.backbone.encode(TEXTS)
    labels = torch.tensor([0, 1, 1, 0])
    with torch.no_grad():
        output = model(**encoded, labels=labels)
        explained = mixed.explain(TEXTS)
        torch.testing.assert_close(output.logits.exp(), explained.probs, rtol=0, atol=1e-6)
        torch.testing.assert_close(output.weights, explained.weights, rtol=0, atol=1e-6)
        torch.testing.assert_close(torch.softmax(output.logits, dim=-1), explained.probs, rtol=0, atol=1e-6)
        expected = -sum(explained.probs[row, label].log() for row, label in enumerate(labels.tolist())) / 4
        torch.testing.assert_close(output.loss, expected, rtol=0, atol=1e-6)
        pair = model(**encoded, return_dict=False)
        assert len(pair) == 2
        assert torch.equal(pair[0], output.logits)
        embedded = {name: value for name, value in encoded.items() if name != "input_ids"}
        again = model(inputs_embeds=mixed.backbone.embeddings(encoded["input_ids"]), **embedded)
    torch.testing.assert_close(again.logits, output.logits, rtol=0, atol=1e-6)


def test_an_impossible_class_has_a_finite_logarithm() -> None:
    found = log_probs(torch.tensor([[0.0, 1.0]]))
    assert found.isfinite().all()
    assert found[0, 1] == 0


def test_it_saves_what_it_loaded(folder: Path, tmp_path: Path) -> None:
    model = MixedAdapterClassifier.from_pretrained(folder)
    assert not model.training
    model.save_pretrained(tmp_path / "again", include_backbone=True)
    other = MixedAdapterClassifier.from_pretrained(tmp_path / "again")
    assert other.mixed.sha256 == model.mixed.sha256
    assert torch.equal(other.mixed.probs(TEXTS), model.mixed.probs(TEXTS))
    for name in ("config.json", "tokenizer.json"):
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_the_configuration_is_known_to_transformers(folder: Path) -> None:
    config = transformers.AutoConfig.from_pretrained(folder)
    assert isinstance(config, MixedAdapterConfig)
    assert (config.num_labels, config.id2label) == (2, {0: "no", 1: "yes"})


def test_moving_the_model_moves_the_backbone_with_it(mixed) -> None:
    model = MixedAdapterClassifier(mixed).to(torch.float64)
    assert model.dtype == torch.float64
    assert mixed.backbone.dtype == torch.float64
    assert model(**mixed.backbone.encode(TEXTS)).logits.dtype == torch.float64
    own = sum(value.numel() for value in mixed.slots.parameters())
    assert model.num_parameters() == own + sum(value.numel() for value in mixed.backbone.model.parameters())


def test_options_that_would_be_lost_are_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="unknown option 'rule'"):
        MixedAdapterClassifier.from_pretrained(folder, rule="pairwise")
    with pytest.raises(ConfigError, match=r"dtype is torch\.float16"):
        MixedAdapterClassifier.from_pretrained(folder, dtype=torch.float16)


def test_other_folders_are_refused(make_adapter, tiny_backbone: Backbone, tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="holds no text model"):
        MixedAdapterClassifier.from_pretrained(tmp_path)
    with pytest.raises(IntegrityError, match="holds no text model"):
        MixedAdapterClassifier.from_pretrained("somebody/some-model")
    one = Predictor(SlotModel(tiny_backbone, [make_adapter(tiny_backbone, 0)]), tiny_backbone)
    save_text_model(one, tmp_path / "one", about={}, include_backbone=True)
    with pytest.raises(ConfigError, match="no mixture of adapters"):
        MixedAdapterClassifier.from_pretrained(tmp_path / "one")


@pytest.mark.parametrize("option", [{"device_map": "auto"}, {"attn_implementation": "eager"}, {"subfolder": "model"}])
def test_options_that_would_do_nothing_are_refused(folder: Path, option: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="unknown option"):
        MixedAdapterClassifier.from_pretrained(folder, **option)
    MixedAdapterClassifier.from_pretrained(folder, **dict.fromkeys(option))


def test_it_is_not_pushed_anywhere(mixed: MixedAdapters, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="push_to_hub is not offered"):
        MixedAdapterClassifier(mixed).save_pretrained(tmp_path / "model", push_to_hub=True)
    assert not (tmp_path / "model").exists()


def test_it_stays_as_it_is_to_be_used(mixed: MixedAdapters) -> None:
    """Dropout would change the entropies and with them the mixture; a trainer would train through the gate."""
    model = MixedAdapterClassifier(mixed).train()
    assert not model.training
    assert not any(value.requires_grad for value in model.parameters())
    encoded = mixed.backbone.encode(TEXTS)
    assert torch.equal(model(**encoded).logits, model(**encoded).logits)
