"""`adapt`, `withstand`, `evaluate`, `export` and `quickstart --family adapters` on the command line."""

import json
from pathlib import Path

import pytest

from understudy.study import quickstart_text

SMALL = (
    "--data", "reviews[:48]", "--known", "deepwordbug", "--rows", "4", "--adaptive-rows", "2", "--clean-rows", "8",
    "--queries", "15", "--n-adv", "8", "--clean-epochs", "1", "--epochs", "1", "--device", "cpu",
)  # fmt: skip


@pytest.fixture(scope="module")
def adapted(text_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of `adapt adpmixup`."""
    from understudy.cli.app import run

    folder = tmp_path_factory.mktemp("adapted") / "run"
    words = ["adapt", "adpmixup", "--backbone", str(text_encoder), *SMALL, "--run", str(folder), "--json"]
    assert run(words) == 0
    return folder


def test_adapt_prints_the_table_the_verdict_and_the_page(cli, adapted: Path, text_encoder: Path) -> None:
    said = cli("adapt", "adpmixup", "--backbone", text_encoder, *SMALL, "--run", adapted)  # finished: the result again
    assert said.code == 0, said.err
    assert "Clean adapter" in said.out
    assert "static / adaptive" in said.out
    assert json.loads((adapted / "result.json").read_text())["verdict"]["sentences"][0] in said.out
    assert f"{adapted}/report.html" in said.out
    assert "instantiation" in said.out


def test_a_runs_configuration_gives_the_same_run(cli, adapted: Path) -> None:
    said = cli("adapt", "adpmixup", "--config", adapted / "config.toml", "--run", adapted, "--json")
    assert said.code == 0, said.err
    assert said.json["scores"] == json.loads((adapted / "result.json").read_text())["scores"]
    other = cli("adapt", "adpmixup", "--config", adapted / "config.toml", "--rank", "2", "--run", adapted)
    assert other.code == 2
    assert "another configuration" in other.err


def test_report_writes_the_page_again(cli, adapted: Path, tmp_path: Path) -> None:
    said = cli("report", adapted, "--out", tmp_path / "page.html", "--json")
    assert said.code == 0, said.err
    assert "AdpMixup" in (tmp_path / "page.html").read_text()


def test_evaluate_attacks_the_model_itself_and_goes_on(cli, adapted: Path, tmp_path: Path) -> None:
    words = ("evaluate", adapted, "--data", "reviews", "--attack", "textbugger", "--rows", "4", "--queries", "20",
             "--device", "cpu", "--run", tmp_path / "e", "--json")  # fmt: skip
    found = cli(*words).json
    assert found["protocol"].startswith("adaptive")
    one = found["attacks"]["textbugger:queries=20"]
    assert one["sentences"] == 4
    assert one["success"] + one["failed"] + one["skipped"] == 4
    assert found["clean"]["n"] == 300
    assert cli(*words).json == found
    again = cli(*words[:-1])
    assert f"report: {tmp_path / 'e'}/report.html" in again.out
    (tmp_path / "e/report.html").unlink()
    assert cli("report", tmp_path / "e").code == 0
    page = (tmp_path / "e/report.html").read_text()
    assert "textbugger:queries=20" in page
    assert "What attacks on sentences do to" in page
    plain = cli(*words[:3], "reviews", "--device", "cpu")
    assert plain.code == 0, plain.err
    assert "no attack" in plain.out


def test_export_writes_an_adapter_for_a_fixed_coefficient(cli, adapted: Path, tmp_path: Path) -> None:
    said = cli("export", adapted, "--coefficient", "0.5", "--out", tmp_path / "half", "--json")
    assert said.code == 0, said.err
    assert (Path(said.json["adapter"]) / "adapter_model.safetensors").is_file()
    found = cli("evaluate", tmp_path / "half", "--data", "reviews", "--device", "cpu", "--json")
    assert found.json["passes"] == 1
    weights = cli("export", adapted, "--weights", "0.5,0.5", "--out", tmp_path / "same", "--with-backbone")
    assert weights.code == 0, weights.err
    same = cli("evaluate", tmp_path / "same", "--data", "reviews", "--device", "cpu", "--json").json
    assert same["model_sha256"] == found.json["model_sha256"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--coefficient 1.5", "from 0 to 1"),
        ("--weights 0.7,0.7", "1"),
        ("--weights 1,x", "'x' is no number"),
        ("--coefficient 0.5 --weights 0.5,0.5", "two mixtures"),
        ("", "either --coefficient or --weights"),
    ],
)
def test_export_refuses_what_is_no_mixture(cli, adapted: Path, tmp_path: Path, words: str, expected: str) -> None:
    said = cli("export", adapted, *words.split(), "--out", tmp_path / "out")
    assert said.code == 2
    assert expected in said.err
    assert not (tmp_path / "out").exists()


def test_withstand_prints_every_method(cli, text_encoder: Path, tmp_path: Path) -> None:
    words = ("withstand", "--backbone", text_encoder, *SMALL, "--methods", "clean_adapter,adpmixup:rule=pairwise",
             "--seeds", "1", "--run", tmp_path / "w")  # fmt: skip
    planned = cli(*words, "--dry-run", "--json").json
    assert planned["cost"]["models"] == 2
    assert not (tmp_path / "w").exists()
    said = cli(*words)
    assert said.code == 0, said.err
    assert "AdpMixup (pairwise)" in said.out
    assert (tmp_path / "w/withstand.html").is_file()
    again = cli("withstand", "--config", tmp_path / "w/config.toml", "--run", tmp_path / "w", "--json")
    assert again.json["seeds"] == [0]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("adapt adpmixup --data reviews", ("--backbone is missing",)),
        ("adapt adpmixup --backbone tiny", ("--data is missing",)),
        ("adapt adpmixup --backbone tiny --data reviews --known deepwordbag", ("deepwordbag", "deepwordbug")),
        ("adapt adpmixup --backbone tiny --data reviews --known none", ("known", "--known")),
        ("adapt adpmixup --backbone tiny --data reviews --known pwws --wordnet none_such", ("wordnet", "deepwordbug")),
        ("adapt adpmixup --backbone tiny --data reviews --known bae", ("bae", "deepwordbug and textbugger work")),
        ("adapt adpmixup --backbone tiny --data reviews --unknown textfooler", ("textfooler", "work without")),
        ("adapt adpmixup --backbone tiny --data reviews --beta 1.5", ("beta", "less than or equal to 1")),
        ("adapt adpmixup --backbone tiny --data reviews --bank none_such", ("no clean adapter",)),
        ("adapt adpmixup --backbone . --data reviews", ("config.json",)),
        ("adapt adpmixup --backbone tiny --data reviews --similarity-encoder x", ("no attack asked for uses",)),
        ("adapt clean_adapter --rule hard", ("--rule", "it belongs to adpmixup")),
        ("withstand --backbone tiny --data reviews --methods adpmixup --preset reveiws", ("did you mean 'reviews'",)),
        ("withstand --backbone tiny --data reviews --methods adpmixup --seeds 1,1", ("seed 1 is named twice",)),
        ("adapt kd --backbone tiny --data reviews", ("understudy distil kd",)),
        ("adapt adpmixup --backbone tiny --data reviews --max-length 4096", ("4096", "128 positions")),
        ("adapt adpmixup --backbone tiny --data reviews --max-length 2 --dry-run", ("5 to 128",)),
        ("adapt adpmixup --backbone tiny --data reviews --target-modules nosuch", ("no place for a lora", "nosuch")),
        ("adapt freelb --backbone tiny --data reviews --target-modules nosuch --dry-run", ("no place for a lora",)),
        (
            "adapt adpmixup --backbone tiny --data reviews --unknown deepwordbug:queries=100",
            ("known and unknown at once", "--unknown"),
        ),
        ("withstand --backbone tiny --data reviews", ("--methods is missing",)),
        ("withstand --backbone tiny --data reviews --methods adpmixup --max-length 4096 --dry-run", ("128 positions",)),
        ("withstand --backbone tiny --data reviews --methods adpmixup,adpmixup", ("listed twice",)),
        ("withstand --backbone tiny --data reviews --methods adpmixup:roole=hard", ("'roole' is no option",)),
        ("withstand --backbone tiny --data reviews --methods adpmixup --seeds x", ("'x' is no whole number",)),
        ("evaluate tests --data digits --wordnet x", ("models of sentences",)),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_trained(
    cli, tmp_path: Path, words: str, expected: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("understudy.study.text_bench.train_tiny", lambda *_, **__: pytest.fail("trained"))
    said = cli(*words.split())
    assert said.code == 2, said.out
    for part in expected:
        assert part in said.err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--max-length 1000", ("1000", "positions")),
        ("--target-modules nosuch", ("no place for a lora", "nosuch")),
        ("--target-modules nosuch --dry-run", ("no place for a lora", "nosuch")),
    ],
)
def test_what_has_no_place_in_the_backbone_is_refused(
    cli, text_encoder: Path, tmp_path: Path, words: str, expected: tuple[str, ...]
) -> None:
    said = cli("adapt", "adpmixup", "--backbone", text_encoder, "--data", "reviews", *words.split())
    assert said.code == 2
    for part in expected:
        assert part in said.err
    assert not (tmp_path / "runs").exists()


def test_flags_of_images_are_refused_for_text(cli, adapted: Path) -> None:
    said = cli("evaluate", adapted, "--data", "reviews", "--epsilon", "8/255")
    assert said.code == 2
    assert "--epsilon" in said.err
    assert "classifies text" in said.err
    assert "by --attack" in cli("evaluate", adapted, "--data", "reviews", "--rows", "3").err


@pytest.fixture(scope="module")
def controls(text_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of `adapt clean_adapter`."""
    from understudy.cli.app import run

    folder = tmp_path_factory.mktemp("controls") / "run"
    words = ["adapt", "clean_adapter", "--backbone", str(text_encoder), *SMALL, "--run", str(folder), "--json"]
    assert run(words) == 0
    return folder


def test_a_clean_adapter_is_a_model_that_can_be_measured_and_exported(cli, controls: Path, tmp_path: Path) -> None:
    assert (controls / "model/adapter_config.json").is_file()
    assert not (controls / "control").exists()
    found = cli("evaluate", controls, "--data", "reviews", "--device", "cpu", "--json")
    assert found.json["clean"]["n"] == 300
    assert found.json["passes"] == 1
    said = cli("export", controls, "--coefficient", "1", "--out", tmp_path / "one", "--json")
    assert said.code == 0, said.err
    assert (tmp_path / "one/adapter_model.safetensors").is_file()
    assert "--coefficient 1" in cli("export", controls, "--coefficient", "0.5", "--out", tmp_path / "half").err


def test_columns_of_sentences_to_evaluate_can_be_named(cli, adapted: Path, tmp_path: Path) -> None:
    rows = [f"{label}\ta {label} film {at}" for at in range(3) for label in ("negative", "positive")]
    (tmp_path / "test.tsv").write_text("\n".join(["mark\tsaid", *rows]) + "\n")
    words = ("evaluate", adapted, "--data", tmp_path / "test.tsv", "--device", "cpu", "--json")
    assert "--text-column" in cli(*words).err
    found = cli(*words, "--text-column", "said", "--label-column", "mark")
    assert found.code == 0, found.err
    assert found.json["clean"]["n"] == 6


def test_a_folder_of_text_that_is_no_model_is_told_what_it_is(cli, adapted: Path, tmp_path: Path) -> None:
    study = tmp_path / "w"
    (study / "cells").mkdir(parents=True)
    (study / "cells/freelb-s0").symlink_to(adapted)
    (study / "config.toml").write_text('methods = ["freelb"]\n[text]\ndata = "reviews"\n')
    for words in (("evaluate", study, "--data", "reviews"), ("export", study, "--coefficient", "1", "--out", "x")):
        said = cli(*words)
        assert said.code == 2
        assert "this is a study of several models, and no model" in said.err
        assert f"name one of {study / 'cells/freelb-s0'}" in said.err
    begun = tmp_path / "begun"
    begun.mkdir()
    (begun / "config.toml").write_bytes((adapted / "config.toml").read_bytes())
    assert "has not finished its model" in cli("evaluate", begun, "--data", "reviews").err


def test_a_study_and_a_run_do_not_take_each_others_folder_or_configuration(cli, adapted: Path, tmp_path: Path) -> None:
    study = ("withstand", "--methods", "adpmixup", "--backbone", "tiny", "--data", "reviews", "--run", adapted)
    for words in (study, (*study, "--dry-run")):
        assert "this is a run of `adapt`" in cli(*words).err
    said = cli("withstand", "--config", adapted / "config.toml")
    assert "the configuration of a run of `adapt`" in said.err
    assert "`understudy adapt adpmixup`" in said.err
    (tmp_path / "w.toml").write_text('methods = ["freelb"]\n[text]\ndata = "reviews"\n')
    assert "use it with `understudy withstand`" in cli("adapt", "freelb", "--config", tmp_path / "w.toml").err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--rank", "4"), "--rank (there 8, now 4)"),
        (("--clean-epochs", "2"), "--clean-epochs (there 1, now 2)"),
        (("--n-adv", "6"), "--n-adv (there 8, now 6)"),
        (("--data", "reviews[:40]"), "--data (there SHA-256"),
        (("--seed", "1"), "--seed (there 0, now 1)"),
    ],
)
@pytest.mark.parametrize("dry", [True, False])
def test_a_bank_that_does_not_fit_is_refused_before_a_folder_is_made(
    cli, adapted: Path, text_encoder: Path, tmp_path: Path, words: tuple[str, str], told: str, dry: bool
) -> None:
    line = [
        "adapt",
        "adversarial_training",
        "--backbone",
        text_encoder,
        *SMALL,
        "--bank",
        adapted,
        "--run",
        tmp_path / "r",
    ]
    if words[0] in line:
        line[line.index(words[0]) + 1] = words[1]
    else:
        line += words
    said = cli(*line, *(["--dry-run"] if dry else []))
    assert said.code == 2
    assert told in said.err
    assert "leave out --bank" in said.err
    assert not (tmp_path / "r").exists()


def test_quickstart_of_the_family_says_that_it_shows_the_mechanics(
    cli, text_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {"data": "reviews[:24]", "rows": 4, "adaptive_rows": 2, "clean_rows": 8, "queries": 15}
    monkeypatch.setattr(quickstart_text, "TEXT", {**quickstart_text.TEXT, **small})
    monkeypatch.setattr("understudy.study.text_bench.train_tiny", lambda *_, **__: text_encoder)
    said = cli("quickstart", "--family", "adapters", "--run", tmp_path / "q")
    assert said.code == 0, said.err
    assert "the numbers show the mechanics" in said.out
    assert "the tiny encoder is trained first" in said.err
    assert f"--backbone {tmp_path / 'q'} takes it over" in said.err
    assert (tmp_path / "q/report.html").is_file()
    found = json.loads((tmp_path / "q/result.json").read_text())
    assert found["backbone"]["spec"] == "tiny"  # not where it was put
    assert str(text_encoder) not in (tmp_path / "q/report.html").read_text()


def test_help_of_adapt_names_the_second_recipe(cli) -> None:
    said = cli("adapt", "adpmixup", "--help")
    assert said.code == 0
    for flag in ("--clean-epochs", "--epochs", "--rule", "--known", "--adaptive-rows", "--precision"):
        assert flag in said.out
    assert "--channels-last" not in said.out


def test_a_flag_that_no_verb_of_text_has_is_refused(refused) -> None:
    assert "--epsilon" in refused("adapt", "adpmixup", "--epsilon", "8/255")
    assert "--methods" in refused("withstand", "--method", "adpmixup")
    assert "--out" in refused("export", "runs/text", "--coefficient", "0.5")
    assert "--family" in refused("quickstart", "--family", "adaptors")
    assert "no text model" in refused("export", "runs/none_such", "--coefficient", "0.5", "--out", "half")
