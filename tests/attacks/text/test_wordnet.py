"""The reader of WordNet's files: made-up files with known answers, damaged ones, and the real ones where installed."""

from collections.abc import Callable
from pathlib import Path

import pytest

from understudy.attacks.text.wordnet import DEBIAN_FOLDER, PARTS, WordNet, find_wordnet
from understudy.errors import DependencyError, IntegrityError

needs_wordnet = pytest.mark.skipif(
    not (DEBIAN_FOLDER / "data.noun").is_file(), reason="Debian's package wordnet-base is not installed"
)


def test_synonyms_are_single_words_of_all_synsets_in_the_order_of_senses(make_wordnet: Callable[..., Path]) -> None:
    wordnet = WordNet(make_wordnet())
    assert wordnet.synonyms("film") == ["movie", "shoot"]  # "motion_picture" is no single word
    assert wordnet.synonyms("good") == ["goodness", "poor", "sound", "well"]  # noun, adjective, adverb; "(a)" stripped
    assert wordnet.synonyms("Good") == wordnet.synonyms("good")
    assert wordnet.synonyms("great") == ["Grand", "bad"]  # WordNet's own casing
    assert wordnet.synonyms("xyzzy") == []


def test_base_forms_come_from_exceptions_then_from_suffixes(make_wordnet: Callable[..., Path]) -> None:
    wordnet = WordNet(make_wordnet())
    assert wordnet.lemmas("women", "noun") == ["woman"]
    assert wordnet.lemmas("ran", "verb") == ["run"]
    assert wordnet.lemmas("films", "noun") == ["film"]
    assert wordnet.lemmas("filming", "verb") == ["film"]
    assert wordnet.lemmas("finest", "adj") == ["fine"]
    assert wordnet.lemmas("poorer", "adj") == ["poor"]
    assert wordnet.lemmas("films", "adj") == []
    assert wordnet.synonyms("films") == ["film", "movie", "shoot"]  # the base form differs from the word itself


@pytest.mark.parametrize(
    ("form", "base"),
    [("gasses", "gass"), ("boxes", "box"), ("quizzes", "quizz"), ("churches", "church"), ("bushes", "bush"),
     ("firemen", "fireman"), ("stories", "story"), ("cars", "car")],
)  # fmt: skip
def test_rules_of_nouns(make_wordnet: Callable[..., Path], form: str, base: str) -> None:
    wordnet = WordNet(make_wordnet(synsets={"noun": [[base]]}))
    assert base in wordnet.lemmas(form, "noun")


def test_parts_of_speech(make_wordnet: Callable[..., Path]) -> None:
    wordnet = WordNet(make_wordnet())
    assert wordnet.parts_of_speech("films") == {"noun", "verb"}
    assert wordnet.parts_of_speech("good") == {"noun", "adj", "adv"}
    assert wordnet.parts_of_speech("xyzzy") == set()


def test_a_missing_folder_says_what_to_install_and_what_works_without(tmp_path: Path) -> None:
    with pytest.raises(DependencyError, match="wordnet-base") as caught:
        find_wordnet(tmp_path / "nothing")
    for words in ("no folder of WordNet's files", "deepwordbug and textbugger", "--synonyms", "WNSEARCHDIR"):
        assert words in str(caught.value)


def test_a_missing_file_is_named(make_wordnet: Callable[..., Path]) -> None:
    folder = make_wordnet()
    (folder / "data.verb").unlink()
    with pytest.raises(DependencyError, match=r"data\.verb"):
        WordNet(folder)


def test_the_environment_variable_of_wordnet_is_heeded(
    make_wordnet: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_wordnet()
    monkeypatch.setenv("WNSEARCHDIR", str(folder))
    assert find_wordnet().folder == folder.resolve()
    other = make_wordnet("other")
    assert find_wordnet(other).folder == other.resolve()  # an argument goes before it


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.8, 0.99])
@pytest.mark.parametrize("kind", ["index", "data"])
def test_a_file_cut_short_is_refused(make_wordnet: Callable[..., Path], kind: str, keep: float) -> None:
    folder = make_wordnet()
    path = folder / f"{kind}.adj"
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(IntegrityError, match=rf"{kind}\.adj|data\.adj"):
        WordNet(folder)


def test_files_of_another_distribution_are_refused(make_wordnet: Callable[..., Path]) -> None:
    folder = make_wordnet()
    path = folder / "data.adj"
    path.write_bytes(b" " + path.read_bytes())  # as Debian's file is a byte longer than Princeton's
    with pytest.raises(IntegrityError, match="no synset begins at byte"):
        WordNet(folder)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00\n", b"oneword\n", b"good a one two\n", b"good a\n", b"  licence\n"])
def test_a_foreign_index_is_refused(make_wordnet: Callable[..., Path], content: bytes) -> None:
    folder = make_wordnet()
    (folder / "index.adj").write_bytes(content)
    with pytest.raises(IntegrityError, match=r"index\.adj"):
        WordNet(folder)


@needs_wordnet
def test_synsets_of_the_real_files_checked_by_hand() -> None:
    wordnet = find_wordnet(DEBIAN_FOLDER)
    film = list(wordnet.synsets("film", "noun"))
    assert film[0] == ["movie", "film", "picture", "moving_picture", "moving-picture_show", "motion_picture",
                       "motion-picture_show", "picture_show", "pic", "flick"]  # fmt: skip
    assert next(wordnet.synsets("dog", "noun")) == ["dog", "domestic_dog", "Canis_familiaris"]
    assert list(wordnet.synsets("galore")) == [["galore"], ["abounding", "galore"]]
    assert wordnet.synonyms("terrible")[:4] == ["awful", "dire", "direful", "dread"]
    assert wordnet.lemmas("women", "noun") == ["woman"]
    assert wordnet.lemmas("better", "adj") == ["better", "good", "well"]
    assert wordnet.parts_of_speech("quickly") == {"adv"}
    assert wordnet.parts_of_speech("acting") == {"noun", "verb", "adj"}


@needs_wordnet
def test_offsets_of_the_real_index_hit_the_right_synsets() -> None:
    wordnet = find_wordnet(DEBIAN_FOLDER)
    for part in PARTS:
        lines = (DEBIAN_FOLDER / f"index.{part}").read_text().splitlines()
        lemmas = [line.split(" ", 1)[0] for line in lines if not line.startswith(" ")]
        for lemma in lemmas[::97]:
            first = [name.lower() for name in next(wordnet.synsets(lemma, part))]
            bases = wordnet.lemmas(lemma, part)
            assert bases[0] == lemma
            assert lemma in first
