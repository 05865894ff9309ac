"""Text models on disk: what is saved comes back, wherever the folder goes; what is not, is refused."""

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from understudy.errors import ConfigError, IntegrityError, StorageError
from understudy.models.text.adapter import Adapter
from understudy.models.text.backbone import Backbone, load_backbone
from understudy.models.text.extras import quiet
from understudy.models.text.full import FullModel
from understudy.models.text.gate import Gate
from understudy.models.text.merge import merge
from understudy.models.text.mixture import MixedAdapters
from understudy.models.text.peft_files import load_adapter, save_adapter
from understudy.models.text.predictor import Predictor
from understudy.models.text.slots import SlotModel
from understudy.models.text.store import export_adapter, is_text_model, load_text_model, save_text_model
from understudy.models.text.tiny import build_tiny

TEXTS = ["the film is good", "a dull plot", "never bad", "the actors was bright in a story"]
NAMES = ("clean", "deepwordbug", "pwws:max_candidates=8")
PROFILES = torch.tensor([[0.1, 0.68], [0.2, 0.69], [0.05, 0.6]], dtype=torch.float64)

Mix = Callable[..., MixedAdapters]


@pytest.fixture
def adapters(make_adapter, tiny_backbone: Backbone) -> list[Adapter]:
    return [make_adapter(tiny_backbone, seed) for seed in range(3)]


@pytest.fixture
def mix(adapters: list[Adapter], tiny_backbone: Backbone) -> Mix:
    def mix(lora_mix: str = "factor", head_policy: str = "mixed", **gate: object) -> MixedAdapters:
        slots = SlotModel(tiny_backbone, adapters, lora_mix=lora_mix)
        return MixedAdapters(slots, tiny_backbone, Gate(**gate), PROFILES, NAMES, head_policy=head_policy)

    return mix


@pytest.fixture
def saved(mix: Mix, tmp_path: Path) -> Path:
    save_text_model(mix(rule="pairwise"), tmp_path / "run" / "model", about={"method": "adpmixup"})
    return tmp_path / "run" / "model"


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("lora_mix", ["factor", "product"])
@pytest.mark.parametrize("head_policy", ["mixed", "clean"])
def test_a_mixture_comes_back_to_the_bit(mix: Mix, tmp_path: Path, lora_mix: str, head_policy: str) -> None:
    """P11: tensors, profiles and predictions."""
    before = mix(lora_mix, head_policy, rule="softmax", tau=0.3)
    save_text_model(before, tmp_path / "one", about={})
    after = load_text_model(tmp_path / "one")
    assert isinstance(after, MixedAdapters)
    assert (after.sha256, after.names, after.gate) == (before.sha256, before.names, before.gate)
    assert torch.equal(after.profiles, before.profiles)
    assert torch.equal(after.probs(TEXTS), before.probs(TEXTS))
    save_text_model(after, tmp_path / "two", about={})
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_one_adapter_comes_back_to_the_bit(adapters: list[Adapter], tiny_backbone: Backbone, tmp_path: Path) -> None:
    before = Predictor(SlotModel(tiny_backbone, adapters[:1]), tiny_backbone)
    save_text_model(before, tmp_path / "run" / "model", about={"accuracy": 0.9})
    after = load_text_model(tmp_path / "run")
    assert isinstance(after, Predictor)
    assert after.sha256 == before.sha256
    assert torch.equal(after.probs(TEXTS), before.probs(TEXTS))
    assert load_adapter(tmp_path / "run" / "model").sha256 == adapters[0].sha256
    assert "| accuracy | 0.9 |" in (tmp_path / "run" / "model" / "README.md").read_text()


def test_fixed_weights_are_saved_as_the_adapter_they_amount_to(adapters, tiny_backbone, tmp_path: Path) -> None:
    for lora_mix in ("factor", "product"):
        before = Predictor(
            SlotModel(tiny_backbone, adapters, lora_mix=lora_mix), tiny_backbone, weights=[0.5, 0.3, 0.2]
        )
        save_text_model(before, tmp_path / lora_mix, about={})
        after = load_text_model(tmp_path / lora_mix)
        assert after.passes == 1
        torch.testing.assert_close(after.probs(TEXTS), before.probs(TEXTS), rtol=0, atol=1e-6)


def test_a_whole_classifier_comes_back_to_the_bit(tiny_backbone: Backbone, tmp_path: Path) -> None:
    network = FullModel(tiny_backbone)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in network.parameters():
            value += 0.1 * torch.randn(value.shape, generator=generator)
    before = Predictor(network, tiny_backbone)
    save_text_model(before, tmp_path / "model", about={}, include_backbone=True)
    assert not (tmp_path / "model" / "backbone").exists()
    for backbone in (None, tiny_backbone):
        after = load_text_model(tmp_path / "model", backbone=backbone)
        assert after.sha256 == before.sha256
        assert torch.equal(after.probs(TEXTS), before.probs(TEXTS))
    import transformers

    plain = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    with torch.no_grad():
        logits = plain(**tiny_backbone.encode(TEXTS)).logits
    torch.testing.assert_close(torch.softmax(logits, dim=-1), before.probs(TEXTS), rtol=0, atol=1e-6)
    with (tmp_path / "model" / "model.safetensors").open("r+b") as file:
        file.seek(-5, 2)
        file.write(b"\xff")
    with pytest.raises(IntegrityError, match=r"not those that understudy\.json records"):
        load_text_model(tmp_path / "model")


def test_a_folder_does_not_depend_on_what_the_tokenizer_was_asked_last(mix: Mix, tmp_path: Path) -> None:
    mixed = mix()
    save_text_model(mixed, tmp_path / "one", about={})
    mixed.probs(TEXTS, TEXTS)
    save_text_model(mixed, tmp_path / "two", about={})
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_the_record_says_what_a_reader_wants_to_know(saved: Path, tiny_backbone: Backbone) -> None:
    record = json.loads((saved / "understudy.json").read_text())
    assert (record["format"], record["kind"], record["labels"]) == (1, "mixture", ["no", "yes"])
    assert record["backbone"] == {"spec": tiny_backbone.spec, "sha256": tiny_backbone.sha256, "architecture": "bert"}
    assert record["mixture"]["names"] == list(NAMES)
    assert record["mixture"]["profiles"] == PROFILES.tolist()
    assert record["mixture"]["gate"]["rule"] == "pairwise"
    assert sorted(path.name for path in (saved / "slots").iterdir()) == [
        "clean",
        "deepwordbug",
        "pwws_max_candidates=8",
    ]
    card = (saved / "README.md").read_text()
    assert "Fidelity: instantiation" in card
    assert "| method | adpmixup |" in card


def test_each_slot_is_a_folder_of_plain_peft(saved: Path, tiny_folder: Path, adapters, tiny_backbone: Backbone) -> None:
    """P11: what PEFT itself makes of the folder of slot k gives slot k's logits."""
    peft, transformers = pytest.importorskip("peft"), pytest.importorskip("transformers")
    encoded = tiny_backbone.encode(TEXTS)
    for name, adapter in (("clean", adapters[0]), ("deepwordbug", adapters[1])):
        with quiet():  # PEFT reads attributes that Transformers is about to rename
            plain = transformers.AutoModelForSequenceClassification.from_pretrained(tiny_folder, num_labels=2)
            model = peft.PeftModel.from_pretrained(plain, saved / "slots" / name).eval()
        with torch.no_grad():
            expected = SlotModel(tiny_backbone, [adapter])(**encoded)
            torch.testing.assert_close(model(**encoded).logits, expected, rtol=0, atol=1e-6)


def test_is_text_model_knows_models_and_runs_and_nothing_else(saved: Path, tmp_path: Path) -> None:
    assert is_text_model(saved)
    assert is_text_model(str(saved.parent))
    assert not is_text_model(tmp_path)
    assert not is_text_model("resnet18")
    assert not is_text_model(saved / "slots" / "clean")
    (tmp_path / "understudy.json").write_text("[")
    assert not is_text_model(tmp_path)


# The backbone: in the folder, beside it, where it was, given; another one is refused.


def test_a_folder_with_its_backbone_goes_anywhere(mix: Mix, tiny_folder: Path, tmp_path: Path) -> None:
    own = shutil.copytree(tiny_folder, tmp_path / "base")
    elsewhere = load_backbone(own, labels=("no", "yes"), max_length=32, seed=0)
    before = mix(rule="pairwise")
    before = MixedAdapters(before.slots, elsewhere, before.gate, PROFILES, NAMES)
    save_text_model(before, tmp_path / "model", about={}, include_backbone=True)
    shutil.rmtree(own)
    shutil.move(tmp_path / "model", tmp_path / "far" / "away" / "model")
    after = load_text_model(tmp_path / "far" / "away")
    assert after.sha256 == before.sha256
    assert torch.equal(after.probs(TEXTS), before.probs(TEXTS))


@pytest.mark.parametrize("place", ["model", "control/clean/model", "cells/clean-s0/model"])
def test_a_moved_run_finds_the_backbone_beside_its_model(
    adapters, tiny_folder: Path, tmp_path: Path, place: str
) -> None:
    shutil.copytree(tiny_folder, tmp_path / "run" / "backbone")
    backbone = load_backbone(tmp_path / "run" / "backbone", labels=("no", "yes"), max_length=32, seed=0)
    before = Predictor(SlotModel(backbone, adapters[:1]), backbone)
    save_text_model(before, tmp_path / "run" / place, about={})
    shutil.move(tmp_path / "run", tmp_path / "moved")
    assert torch.equal(load_text_model(tmp_path / "moved" / place).probs(TEXTS), before.probs(TEXTS))
    shutil.rmtree(tmp_path / "moved" / "backbone")
    with pytest.raises(ConfigError, match="the backbone of this model cannot be loaded") as caught:
        load_text_model(tmp_path / "moved" / place)
    assert "save the model with its backbone" in str(caught.value)


def test_another_backbone_is_refused(saved: Path, tmp_path: Path, tiny_folder: Path) -> None:
    other = build_tiny(("good",), tmp_path / "other", hidden=32, seed=9)
    wrong = load_backbone(other, labels=("no", "yes"), max_length=32, seed=0)
    with pytest.raises(ConfigError, match="another backbone than the model's"):
        load_text_model(saved, backbone=wrong)
    shutil.copytree(other, saved / "backbone")
    with pytest.raises(ConfigError, match="another backbone than the model's"):
        load_text_model(saved)
    right = load_backbone(tiny_folder, labels=("no", "yes"), max_length=16, seed=0)
    with pytest.raises(ConfigError, match="and 16 tokens"):
        load_text_model(saved, backbone=right)
    swapped = load_backbone(tiny_folder, labels=("yes", "no"), max_length=32, seed=0)
    with pytest.raises(ConfigError, match="for the classes"):
        load_text_model(saved, backbone=swapped)


def test_a_backbone_that_was_rounded_is_not_saved_as_if_it_were_whole(mix: Mix, tmp_path: Path) -> None:
    mixed = mix()
    mixed.backbone.to(torch.bfloat16)
    with pytest.raises(ConfigError, match=r"the backbone is in torch\.bfloat16"):
        save_text_model(mixed, tmp_path / "model", about={}, include_backbone=True)
    assert not list(tmp_path.iterdir())


# Damage.


def test_a_missing_slot_is_found(saved: Path, tiny_backbone: Backbone) -> None:
    shutil.rmtree(saved / "slots" / "deepwordbug")
    with pytest.raises(IntegrityError, match="the slot 'deepwordbug' is missing"):
        load_text_model(saved, backbone=tiny_backbone)


def test_slots_that_changed_places_are_found(saved: Path, tiny_backbone: Backbone) -> None:
    (saved / "slots" / "clean").rename(saved / "slots" / "x")
    (saved / "slots" / "deepwordbug").rename(saved / "slots" / "clean")
    (saved / "slots" / "x").rename(saved / "slots" / "deepwordbug")
    with pytest.raises(IntegrityError, match="the slot 'clean' holds another adapter"):
        load_text_model(saved, backbone=tiny_backbone)


def test_an_altered_byte_of_a_slot_is_found(saved: Path, tiny_backbone: Backbone) -> None:
    weights = saved / "slots" / "clean" / "adapter_model.safetensors"
    whole = weights.read_bytes()
    for place in (-1, -200, len(whole) // 2):
        altered = bytearray(whole)
        altered[place] ^= 1
        weights.write_bytes(altered)
        with pytest.raises(IntegrityError):
            load_text_model(saved, backbone=tiny_backbone)
    weights.write_bytes(whole[:-9])
    with pytest.raises(IntegrityError):
        load_text_model(saved, backbone=tiny_backbone)


def test_an_altered_record_is_found(saved: Path, tiny_backbone: Backbone) -> None:
    path = saved / "understudy.json"
    whole = path.read_text()
    for old, new in (
        ('"pairwise"', '"hard"'),
        ("0.68", "0.67"),
        ('"no"', '"nu"'),
        ('"max_length": 32', '"max_length": 31'),
    ):
        assert old in whole
        path.write_text(whole.replace(old, new, 1))
        with pytest.raises(IntegrityError, match="altered"):
            load_text_model(saved, backbone=tiny_backbone)
    path.write_text(json.dumps({**json.loads(whole), "format": 2}))
    with pytest.raises(IntegrityError, match="format 2, which this understudy does not know"):
        load_text_model(saved)
    path.write_text("{}")
    with pytest.raises(IntegrityError, match="holds no text model"):
        load_text_model(saved)


def _resigned(folder: Path, change: Callable[[dict], None]) -> None:
    """Forge a record that is consistent with itself."""
    from understudy.models.text._record import _digest

    record = json.loads((folder / "understudy.json").read_text())
    del record["record_sha256"]
    change(record)
    (folder / "understudy.json").write_text(json.dumps({**record, "record_sha256": _digest(record)}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: record["mixture"].update(folders=["../clean", "a", "b"]), "a slot lies outside the folder"),
        (lambda record: record["mixture"].update(folders=["..", "a", "b"]), "a slot lies outside the folder"),
        (lambda record: record["mixture"]["profiles"].pop(), "not equally many"),
        (lambda record: record.pop("mixture"), "the facts of kind mixture are missing"),
        (lambda record: record.update(labels=["no"]), "the facts of kind mixture are missing"),
        (lambda record: record.update(max_length=0), "field 'max_length'"),
        (lambda record: record["mixture"]["gate"].update(beta=2), r"field 'mixture\.gate\.beta'"),
        (lambda record: record.update(extra=1), "field 'extra'"),
    ],
)
def test_a_forged_record_is_refused(saved: Path, change: Callable[[dict], None], message: str) -> None:
    _resigned(saved, change)
    with pytest.raises(IntegrityError, match=message):
        load_text_model(saved)


# Places and facts.


def test_saving_replaces_a_text_model_and_nothing_else(mix: Mix, saved: Path, tmp_path: Path) -> None:
    save_text_model(mix(rule="hard"), saved, about={})
    assert load_text_model(saved).gate.rule == "hard"
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.txt").write_text("keep me")
    with pytest.raises(StorageError, match="holds no text model, and saving would replace it"):
        save_text_model(mix(), tmp_path / "photos", about={})
    with pytest.raises(StorageError, match="a file is in the way"):
        save_text_model(mix(), tmp_path / "photos" / "holiday.txt", about={})
    assert (tmp_path / "photos" / "holiday.txt").read_text() == "keep me"


@pytest.mark.parametrize("about", [{"x": math.nan}, {"x": object()}])
def test_facts_that_are_not_json_are_refused(mix: Mix, tmp_path: Path, about: dict) -> None:
    with pytest.raises(ConfigError, match="not JSON"):
        save_text_model(mix(), tmp_path / "model", about=about)
    assert not list(tmp_path.iterdir())


def test_a_fact_cannot_break_the_card(mix: Mix, tmp_path: Path) -> None:
    save_text_model(mix(), tmp_path / "model", about={"note": "a | b\n---\n# c", "{spec}": "{x}"})
    text = (tmp_path / "model" / "README.md").read_text()
    assert "| note | a \\| b --- # c |" in text
    assert "| {spec} | {x} |" in text


# One adapter for a fixed coefficient.


@pytest.mark.parametrize("lora_mix", ["factor", "product"])
@pytest.mark.parametrize("coefficient", [0.0, 0.3, 1, (0.2, 0.5, 0.3)])
def test_an_exported_adapter_answers_as_the_fixed_mixture(
    mix: Mix, tiny_backbone, tmp_path, lora_mix, coefficient
) -> None:
    save_text_model(mix(lora_mix), tmp_path / "model", about={})
    assert export_adapter(tmp_path / "model", coefficient, tmp_path / "out") == tmp_path / "out"
    rest = [] if isinstance(coefficient, tuple) else [(1 - coefficient) / 2] * 2
    weights = coefficient if isinstance(coefficient, tuple) else (coefficient, *rest)
    expected = Predictor(mix(lora_mix).slots, tiny_backbone, weights=[float(weight) for weight in weights])
    found = load_text_model(tmp_path / "out")
    assert found.passes == 1
    torch.testing.assert_close(found.probs(TEXTS), expected.probs(TEXTS), rtol=0, atol=1e-6)
    assert "merged" in (tmp_path / "out" / "README.md").read_text()


def test_coefficients_0_and_1_export_the_two_adapters_themselves(adapters, tiny_backbone, tmp_path: Path) -> None:
    slots = SlotModel(tiny_backbone, adapters[:2])
    mixed = MixedAdapters(slots, tiny_backbone, Gate(), PROFILES[:2], NAMES[:2])
    save_text_model(mixed, tmp_path / "model", about={})
    for coefficient, adapter in ((1, adapters[0]), (0, adapters[1])):
        out = export_adapter(tmp_path / "model", coefficient, tmp_path / f"out{coefficient}")
        assert load_adapter(out).sha256 == adapter.sha256


def test_the_head_policy_clean_exports_the_head_of_slot_0(mix: Mix, adapters, tmp_path: Path) -> None:
    save_text_model(mix(head_policy="clean"), tmp_path / "model", about={})
    out = export_adapter(tmp_path / "model", 0.0, tmp_path / "out")
    expected = merge([replace(adapter, head=adapters[0].head) for adapter in adapters], [0.0, 0.5, 0.5])
    assert load_adapter(out).sha256 == expected.sha256


def test_an_export_with_its_backbone_needs_nothing_else(mix: Mix, tmp_path: Path) -> None:
    save_text_model(mix(), tmp_path / "model", about={}, include_backbone=True)
    export_adapter(tmp_path / "model", 0.5, tmp_path / "out", include_backbone=True)
    expected = load_text_model(tmp_path / "out").probs(TEXTS)
    shutil.rmtree(tmp_path / "model")
    assert (tmp_path / "out" / "backbone" / "config.json").is_file()
    assert torch.equal(load_text_model(tmp_path / "out").probs(TEXTS), expected)


@pytest.mark.parametrize(
    ("coefficient", "message"),
    [
        (1.1, "a coefficient of 1.1"),
        (-0.1, "a coefficient of -0.1"),
        (math.nan, "a coefficient of nan"),
        ((0.5, 0.5), "2 weights for 3 adapters"),
        ((0.5, 0.6, -0.1), "a coefficient of -0.1"),
        ((0.5, 0.3, 0.3), "the weights sum to 1.1"),
    ],
)
def test_coefficients_that_are_no_shares_are_refused(saved: Path, tmp_path: Path, coefficient, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        export_adapter(saved, coefficient, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_only_a_mixture_is_exported_and_nothing_is_overwritten(adapters, tiny_backbone, saved, tmp_path: Path) -> None:
    one = Predictor(SlotModel(tiny_backbone, adapters[:1]), tiny_backbone)
    save_text_model(one, tmp_path / "one", about={})
    with pytest.raises(ConfigError, match="one adapter, and nothing to mix it with"):
        export_adapter(tmp_path / "one", 0.5, tmp_path / "out")
    save_adapter(adapters[0], tmp_path / "slot")
    with pytest.raises(IntegrityError, match="holds no text model"):
        export_adapter(tmp_path / "slot", 0.5, tmp_path / "out")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.txt").touch()
    with pytest.raises(StorageError, match="not empty"):
        export_adapter(saved, 0.5, tmp_path / "photos")


def test_an_export_with_its_backbone_names_it_wherever_it_goes(mix: Mix, tmp_path: Path) -> None:
    """Plain PEFT and Transformers open the folder, and nothing in it points to where the backbone was."""
    peft, transformers = pytest.importorskip("peft"), pytest.importorskip("transformers")
    mixed = mix()
    save_text_model(mixed, tmp_path / "model", about={"preset": None})
    out = export_adapter(tmp_path / "model", (0.5, 0.3, 0.2), tmp_path / "out", include_backbone=True)
    assert json.loads((out / "adapter_config.json").read_text())["base_model_name_or_path"] == "./backbone"
    assert json.loads((out / "understudy.json").read_text())["backbone"]["spec"] == "./backbone"
    card = (out / "README.md").read_text()
    for text in (card, (out / "adapter_config.json").read_text(), (out / "understudy.json").read_text()):
        assert mixed.backbone.spec not in text
    assert "| merged | 0.5 clean, 0.3 deepwordbug, 0.2 pwws:max_candidates=8 |" in card
    assert "preset" not in card
    with quiet():
        tokenizer = transformers.AutoTokenizer.from_pretrained(out)
        base = transformers.AutoModelForSequenceClassification.from_pretrained(out / "backbone", num_labels=2)
        model = peft.PeftModel.from_pretrained(base, out).eval()
    encoded = tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        found = torch.softmax(model(**encoded).logits, dim=-1)
    torch.testing.assert_close(found, load_text_model(out).probs(TEXTS), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("kind", "library"), [("lora", "peft"), ("pfeiffer", "understudy")])
def test_a_card_names_the_library_that_opens_the_folder(
    make_adapter, tiny_backbone: Backbone, tmp_path: Path, kind: str, library: str
) -> None:
    save_adapter(make_adapter(tiny_backbone, 0, kind=kind), tmp_path / "local")
    local = (tmp_path / "local" / "README.md").read_text()
    assert f"library_name: {library}\n" in local
    assert "base_model:" not in local  # a path on this machine is none of the hub's
    save_adapter(replace(make_adapter(tiny_backbone, 0, kind=kind), backbone="owner/name"), tmp_path / "hub")
    assert "base_model: owner/name\n" in (tmp_path / "hub" / "README.md").read_text()


def test_an_export_takes_no_place_but_its_own(saved: Path, tmp_path: Path) -> None:
    out = export_adapter(saved, 0.5, tmp_path / "out", include_backbone=True)
    before = files(out)
    export_adapter(saved, 0.5, out, include_backbone=True)  # the same again
    assert files(out) == before
    for coefficient, with_backbone, message in ((0.4, True, "another model is there"), (0.5, False, "would be lost")):
        with pytest.raises(StorageError, match=message):
            export_adapter(saved, coefficient, out, include_backbone=with_backbone)
    with pytest.raises(StorageError, match="another model is there"):
        export_adapter(saved, 0.5, saved)
    assert files(out) == before
    (out / "understudy.json").write_text('{"kind": "adapter"')
    with pytest.raises(StorageError, match="another model is there"):
        export_adapter(saved, 0.5, out)


def test_a_lost_backbone_is_told_once(mix: Mix, tiny_folder: Path, tmp_path: Path) -> None:
    own = shutil.copytree(tiny_folder, tmp_path / "base")
    before = mix()
    elsewhere = load_backbone(own, labels=("no", "yes"), max_length=32, seed=0)
    save_text_model(MixedAdapters(before.slots, elsewhere, before.gate, PROFILES, NAMES), tmp_path / "m", about={})
    shutil.rmtree(own)
    with pytest.raises(ConfigError) as caught:
        load_text_model(tmp_path / "m")
    message = str(caught.value)
    assert message.count("where:") == 1
    assert str(own) in message
    assert str(tmp_path / "m" / "backbone") in message


def test_a_folder_of_several_models_names_them(mix: Mix, tmp_path: Path) -> None:
    save_text_model(mix(), tmp_path / "study" / "cells" / "adpmixup-s0" / "model", about={})
    with pytest.raises(IntegrityError, match=r"give one of the models in it: .*study/cells/adpmixup-s0"):
        load_text_model(tmp_path / "study")
