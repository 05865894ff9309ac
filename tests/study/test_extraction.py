"""One extraction from target to result: who may be asked, what is charged, what is measured."""

import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import understudy.study.measure
from understudy.data import load_images
from understudy.errors import AccessError, ConfigError, DataError, ShapeError, TargetError
from understudy.models import build_encoder, build_model, load_encoder, model_digest, save_model
from understudy.study.extraction import Extraction, execute_extraction, make_extraction, plan_extraction
from understudy.targets import store_answers

QUICK = {"images": 12, "fit": {"epochs": 2, "batch_size": 5}}
FAST_PROBES = {"knn": False, "few_shot": False, "train_rows": 100}


@pytest.fixture(autouse=True)
def no_throughput(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(understudy.study.measure, "throughput", lambda *_: 1.0)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("target")
    data = load_images("digits", "train")
    model = build_encoder("cnn:widths=4-8", input_shape=data.shape, mean=data.mean, std=data.std, seed=5).eval()
    save_model(model, folder / "encoder", about={})
    return folder / "encoder"


def job(target: object, name: str = "rda", **changes: Any) -> Extraction:
    given: dict[str, Any] = {
        "target": str(target),
        "surrogate": "cnn:widths=4-8",
        "data": "digits[600:700]",
        "options": QUICK,
        "probes": FAST_PROBES,
        "probe": ("digits",),
        "run_options": {"device": "cpu", "log_every": 1},
    }
    return make_extraction(name, **{**given, **changes})


@pytest.mark.parametrize(
    ("name", "options", "queries"),
    [
        ("rda", {"views": 3}, 36),  # n N
        ("conventional", {}, 12),  # N
        ("stolen_encoder", {}, 12),  # N
        ("cont_steal", {}, 20),  # E B floor(N / B)
        ("cont_steal", {"cached_views": 2}, 24),  # k N
        ("conventional", {"cached": False}, 20),  # E B floor(N / B), the same images again each epoch
        ("no_query", {}, 0),
        ("random_surrogate", {}, 0),
    ],
)
def test_what_is_charged_is_what_the_method_says(
    target: Path, tmp_path: Path, name: str, options: dict[str, Any], queries: int
) -> None:
    found = job(target, name, options={**QUICK, **options})
    assert plan_extraction(found, tmp_path / "run")["cost"]["queries"] == queries
    result = execute_extraction(found, tmp_path / "run")
    assert result["queries_planned"] == result["ledger"]["extraction"]["rows"] == queries
    assert result["partial"] is False
    assert result["ledger"]["evaluation"]["rows"] == 100 + len(load_images("digits", "test"))


def test_a_result_holds_target_copy_controls_and_what_the_copy_leaks(target: Path, tmp_path: Path) -> None:
    result = execute_extraction(job(target, terms={"defences": "topk:1", "price": 2.0}), tmp_path / "run")
    scores = result["scores"]
    assert list(scores) == ["target", "honest_client", "surrogate", "no_query", "random"]
    assert scores["honest_client"]["digits"]["linear"]["value"] < scores["target"]["digits"]["linear"]["value"]
    above = scores["surrogate"]["digits"]["linear"]["value"] - scores["no_query"]["digits"]["linear"]["value"]
    assert result["leakage"]["digits"]["linear"] == pytest.approx(above)
    assert -1 <= result["fidelity"]["surrogate"]["value"] <= 1
    assert result["cost"] == pytest.approx(result["ledger"]["extraction"]["rows"] / 1000 * 2)
    assert load_encoder(tmp_path / "run").width == 8
    assert (tmp_path / "run" / "report.html").exists()


def test_the_target_is_left_as_it_is(target: Path, tmp_path: Path) -> None:
    before = model_digest(load_encoder(target))
    execute_extraction(job(target), tmp_path / "run")
    assert model_digest(load_encoder(target)) == before


def test_a_finished_run_is_not_repeated(target: Path, tmp_path: Path) -> None:
    first = execute_extraction(job(target), tmp_path / "run")
    assert execute_extraction(job(target), tmp_path / "run") == first


def test_labels_of_the_query_images_change_nothing(target: Path, tmp_path: Path) -> None:
    digests = []
    for probe in ((), ("digits",)):
        found = job(target, data="digits[600:640]", probe=probe)
        execute_extraction(found, tmp_path / str(len(probe)))
        digests.append(model_digest(load_encoder(tmp_path / str(len(probe)))))
    assert digests[0] == digests[1]


@pytest.mark.parametrize("access", ["labels", "top-k", "logits"])
def test_a_method_that_needs_more_than_the_target_gives_is_refused_before_the_first_query(
    tmp_path: Path, access: str
) -> None:
    data = load_images("digits", "train")
    model = build_model("cnn:widths=4", input_shape=data.shape, classes=10, mean=data.mean, std=data.std, seed=0)
    save_model(model.eval(), tmp_path / "classifier", about={})
    with pytest.raises(AccessError, match=f"needs a target that gives embeddings; .* gives {access} only"):
        execute_extraction(job(tmp_path / "classifier", terms={"access": access}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_classifier_gives_the_embeddings_under_its_last_layer(tmp_path: Path) -> None:
    data = load_images("digits", "train")
    model = build_model("cnn:widths=4-8", input_shape=data.shape, classes=10, mean=data.mean, std=data.std, seed=0)
    save_model(model.eval(), tmp_path / "classifier", about={})
    result = execute_extraction(job(tmp_path / "classifier"), tmp_path / "run")
    assert result["target"]["width"] == 8


def test_other_widths_need_a_word_on_what_to_do(target: Path, tmp_path: Path) -> None:
    wide = {"surrogate": "cnn:widths=4-6"}
    with pytest.raises(ShapeError, match=r"8 numbers and the surrogate gives 6(.|\n)*--match linear"):
        execute_extraction(job(target, **wide), tmp_path / "none")
    linear = execute_extraction(job(target, options={**QUICK, "match": "linear"}, **wide), tmp_path / "linear")
    assert linear["fidelity"]["surrogate"] is not None
    assert load_encoder(tmp_path / "linear").width == 8
    pooled = execute_extraction(job(target, options={**QUICK, "match": "pooled"}, **wide), tmp_path / "pooled")
    assert pooled["fidelity"]["surrogate"] is not None
    dropped = {**QUICK, "match": "linear", "keep_head": False}
    result = execute_extraction(job(target, options=dropped, **wide), tmp_path / "dropped")
    assert load_encoder(tmp_path / "dropped").width == 6
    assert result["fidelity"]["surrogate"] is None


def test_a_budget_cuts_the_images_and_says_so_or_is_refused(target: Path, tmp_path: Path) -> None:
    cut = execute_extraction(job(target, terms={"budget": 99}), tmp_path / "cut")
    assert (cut["images"], cut["ledger"]["extraction"]["rows"]) == (9, 90)
    assert "pays for 9 images" in cut["note"]
    with pytest.raises(ConfigError, match="budget of 99 rows is too small"):
        execute_extraction(job(target, terms={"budget": 99, "over_budget": "refuse"}), tmp_path / "refused")
    with pytest.raises(ConfigError, match="at least 20"):
        execute_extraction(job(target, terms={"budget": 19}), tmp_path / "tiny")
    for budget in (0, -5):
        with pytest.raises(ConfigError, match="greater than 0"):
            job(target, terms={"budget": budget})


@pytest.fixture
def flaky(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A target that answers well twice and then does what the file `mood` says."""
    (tmp_path / "flaky_encoder.py").write_text(
        "import pathlib\n\nimport torch\nfrom torch import nn\n\nHERE = pathlib.Path(__file__).parent\n\n\n"
        "class Flaky(nn.Module):\n    input_shape = (1, 8, 8)\n\n"
        "    def __init__(self):\n        super().__init__()\n        self.layer = nn.Linear(64, 8)\n"
        "        nn.init.constant_(self.layer.weight, 0.1)\n"
        "        self.layer.weight.data += torch.linspace(-1, 1, 512).view(8, 64)\n\n"
        "    def forward(self, x):\n        rows = self.layer(x.flatten(1))\n"
        "        mood = HERE / 'mood'\n        if len(x) <= 2 or not mood.exists():\n            return rows\n"
        "        calls = HERE / 'calls'\n"
        "        calls.write_text((calls.read_text() if calls.exists() else '') + 'x')\n"
        "        if len(calls.read_text()) <= 2:\n            return rows\n"
        "        match mood.read_text():\n"
        "            case 'raises':\n                raise OSError('the line is dead')\n"
        "            case 'nan':\n                return rows * float('nan')\n"
        "            case 'zero':\n                return rows * 0\n"
        "            case 'narrow':\n                return rows[:, :5]\n"
        "            case 'short':\n                return rows[:-1]\n\n\n"
        "def make():\n    return Flaky()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "flaky_encoder", raising=False)  # of the test before
    return "python:flaky_encoder:make"


@pytest.mark.parametrize("mood", ["raises", "nan", "zero", "narrow", "short"])
def test_a_target_that_fails_in_the_middle_costs_nothing_twice(flaky: str, tmp_path: Path, mood: str) -> None:
    found = job(flaky, options={**QUICK, "views": 4}, terms={"retries": 0, "budget": 48}, probe=())
    expected = execute_extraction(found, tmp_path / "alone")
    (tmp_path / "mood").write_text(mood)
    with pytest.raises(TargetError):
        execute_extraction(found, tmp_path / "run")
    (tmp_path / "mood").unlink()
    result = execute_extraction(found, tmp_path / "run")
    asked = result["ledger"]["extraction"]
    assert (asked["rows"], asked["answered"]) == (48, 48)
    assert asked["sent"] > 48
    assert model_digest(load_encoder(tmp_path / "run")) == model_digest(load_encoder(tmp_path / "alone"))
    assert result["partial"] is expected["partial"] is False


def test_a_constant_target_is_said_to_carry_no_information(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "constant_encoder.py").write_text(
        "from torch import nn\n\n\ndef make():\n    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 8))\n"
        "    nn.init.zeros_(net[1].weight)\n    nn.init.ones_(net[1].bias)\n    net.input_shape = (1, 8, 8)\n"
        "    return net\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    result = execute_extraction(job("python:constant_encoder:make"), tmp_path / "run")
    assert result["informative"] is False
    assert "carries no information" in result["verdict"]
    assert result["scores"]["target"]["digits"]["linear"]["value"] < 0.2


def test_a_ledger_of_another_target_or_a_damaged_one_is_refused(target: Path, tmp_path: Path) -> None:
    execute_extraction(job(target), tmp_path / "run")
    ledger = tmp_path / "run" / "ledger.sqlite"
    (tmp_path / "run" / "result.json").unlink()
    with sqlite3.connect(ledger) as connection:
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
    content = bytearray(ledger.read_bytes())
    content[100:2000] = bytes(1900)
    ledger.write_bytes(content)
    with pytest.raises(Exception, match="ledger") as caught:
        execute_extraction(job(target), tmp_path / "run")
    assert type(caught.value).__name__ == "IntegrityError"


def test_unlabelled_images_can_be_asked_about_and_not_probed_on(target: Path, tmp_path: Path) -> None:
    from PIL import Image

    for split in ("train", "test"):
        (tmp_path / "pictures" / split).mkdir(parents=True)
        for number in range(14):
            pixels = torch.randint(0, 256, (8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(number))
            Image.fromarray(pixels.numpy()).save(tmp_path / "pictures" / split / f"{number}.png")
    pictures = str(tmp_path / "pictures")
    result = execute_extraction(job(target, data=pictures, probe=()), tmp_path / "run")
    assert result["probes"] == []
    assert result["fidelity"]["surrogate"]["n"] == 14 - 12  # the images that were not asked about
    assert "No labelled images" in result["verdict"]
    all_asked = {**QUICK, "images": 14}
    nothing_left = execute_extraction(job(target, data=pictures, probe=(), options=all_asked), tmp_path / "all")
    assert nothing_left["fidelity"]["surrogate"] is None
    with pytest.raises(DataError, match="label"):
        execute_extraction(job(target, data=pictures, probe=(pictures,)), tmp_path / "other")


def test_a_pool_smaller_than_a_batch_is_one_batch(target: Path, tmp_path: Path) -> None:
    options = {"images": 50, "fit": {"epochs": 2, "batch_size": 40}}
    result = execute_extraction(job(target, data="digits[:7]", options=options), tmp_path / "run")
    assert result["images"] == 7
    assert "a batch is all 7 images" in result["note"]
    with pytest.raises(DataError):
        execute_extraction(job(target, data="digits[:1]", options=options), tmp_path / "one")


def test_an_impossible_defence_is_refused_at_once(target: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="8"):
        execute_extraction(job(target, terms={"defences": "topk:9"}), tmp_path / "run")
    with pytest.raises(ConfigError, match="rounding"):
        job(target, terms={"defences": "roundin:1"})
    assert not (tmp_path / "run").exists()


def test_the_controls_lose_their_head_where_the_copy_does(target: Path, tmp_path: Path) -> None:
    options = {**QUICK, "match": "linear", "keep_head": False}
    result = execute_extraction(job(target, surrogate="cnn:widths=4-6", options=options), tmp_path / "run")
    assert {load_encoder(tmp_path / "run" / "control" / name).width for name in ("no_query", "random")} == {6}
    assert set(result["fidelity"].values()) == {None}


def test_a_secret_rotation_is_no_loss_of_fidelity(target: Path, tmp_path: Path) -> None:
    longer = {"images": 40, "views": 1, "fit": {"epochs": 60, "batch_size": 20}, "no_query_control": False}
    plain = execute_extraction(job(target, options=longer), tmp_path / "plain")
    turned = execute_extraction(job(target, options=longer, terms={"defences": "rotation"}), tmp_path / "turned")
    assert turned["fidelity"]["surrogate"]["value"] > turned["fidelity"]["random"]["value"] + 0.2
    assert plain["fidelity"]["surrogate"]["value"] > plain["fidelity"]["random"]["value"]


def test_stored_answers_are_checked_for_the_evaluation_before_anything_is_trained(target: Path, tmp_path: Path) -> None:
    train, test = (load_images("digits", split) for split in ("train", "test"))
    encoder = load_encoder(target)
    with torch.no_grad():
        answers = {split: encoder(one.images.float() / 255) for split, one in (("train", train), ("test", test))}
    path = tmp_path / "answers.safetensors"
    store_answers(path, train.images, answers["train"])
    found = job(f"stored:{path}", "conventional", data="digits")
    with pytest.raises(TargetError, match="not on file"):
        execute_extraction(found, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    store_answers(path, torch.cat([train.images, test.images]), torch.cat([answers["train"], answers["test"]]))
    result = execute_extraction(found, tmp_path / "run")
    direct = execute_extraction(job(target, "conventional", data="digits"), tmp_path / "direct")
    assert result["scores"]["target"] == direct["scores"]["target"]
