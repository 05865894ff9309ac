"""`adapt`, `withstand`, `evaluate`, `export` and `quickstart --family adapters` on the command line."""

import json
from pathlib import Path

import pytest

from understudy.study import quickstart_text

SMALL = (
    "--data", "reviews[:64]", "--known", "deepwordbug", "--rows", "6", "--adaptive-rows", "3", "--clean-rows", "12",
    "--queries", "30", "--n-adv", "10", "--clean-epochs", "1", "--epochs", "1", "--device", "cpu",
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
    assert "One seed decides nothing" in said.out
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
    assert "AdpMixup (rule pairwise)" in said.out
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
        ("adapt kd --backbone tiny --data reviews", ("understudy distil kd",)),
        ("withstand --backbone tiny --data reviews", ("--methods is missing",)),
        ("withstand --backbone tiny --data reviews --methods adpmixup --seeds x", ("'x' is no whole number",)),
        ("evaluate tests --data digits --wordnet x", ("attack on sentences",)),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_trained(
    cli, tmp_path: Path, words: str, expected: tuple[str, ...]
) -> None:
    said = cli(*words.split())
    assert said.code == 2, said.out
    for part in expected:
        assert part in said.err
    assert not (tmp_path / "runs").exists()


def test_a_length_beyond_the_models_is_refused(cli, text_encoder: Path, tmp_path: Path) -> None:
    said = cli("adapt", "adpmixup", "--backbone", text_encoder, "--data", "reviews", "--max-length", "1000")
    assert said.code == 2
    assert "1000" in said.err
    assert "positions" in said.err
    assert not (tmp_path / "runs").exists()


def test_flags_of_images_are_refused_for_text(cli, adapted: Path) -> None:
    said = cli("evaluate", adapted, "--data", "reviews", "--epsilon", "8/255")
    assert said.code == 2
    assert "--epsilon" in said.err
    assert "classifies text" in said.err
    assert "--rows" in cli("evaluate", adapted, "--data", "reviews", "--rows", "3").err


def test_quickstart_of_the_family_says_that_it_shows_the_mechanics(
    cli, text_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {**quickstart_text.TEXT, "data": "reviews[:64]", "rows": 4, "adaptive_rows": 2, "clean_rows": 8}
    monkeypatch.setattr(quickstart_text, "TEXT", small)
    monkeypatch.setattr("understudy.study.text_bench.train_tiny", lambda *_, **__: text_encoder)
    said = cli("quickstart", "--family", "adapters", "--run", tmp_path / "q")
    assert said.code == 0, said.err
    assert "the numbers show the mechanics" in said.out
    assert (tmp_path / "q/report.html").is_file()


def test_help_of_adapt_names_the_second_recipe(cli) -> None:
    said = cli("adapt", "adpmixup", "--help")
    assert said.code == 0
    for flag in ("--clean-epochs", "--epochs", "--rule", "--known", "--adaptive-rows", "--precision"):
        assert flag in said.out
    assert "--channels-last" not in said.out
