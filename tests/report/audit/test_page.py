"""What the page of an audit says, and that it can be trusted to say it: escaped, whole, and honest about its limits."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from understudy.errors import ConfigError, IntegrityError
from understudy.report import audit_table, summarise_audit, write_audit

MakeAudit = Callable[..., Path]


class _Text(HTMLParser):
    """The text of a page, and the cells of its tables by caption; scripts and styles are left out."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tables: dict[str, list[list[str]]] = {}
        self._rows: list[list[str]] = []
        self._skip = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        self._skip = tag in ("script", "style")
        if tag in ("table", "caption"):
            self._rows = []
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._skip = False
        if tag == "table":
            self._rows = []

    def handle_data(self, data: str) -> None:
        text = " ".join(data.split())
        if self._skip or not text:
            return
        self.words.append(text)
        if not self._rows and self.lasttag == "caption":
            self.tables[text] = self._rows
        elif self._rows and self._rows[-1]:
            self._rows[-1][-1] = f"{self._rows[-1][-1]} {text}".strip()


@pytest.fixture
def page(make_audit: MakeAudit) -> Callable[..., _Text]:
    """Return a function that makes an audit, writes its page and reads it."""

    def write(*edit: Any, **parts: Any) -> _Text:
        text = _Text()
        text.feed(write_audit(make_audit(*edit, **parts)).read_text(encoding="utf-8"))
        return text

    return write


def said(text: _Text) -> str:
    """All words of a page, with plain spaces."""
    return " ".join(text.words).replace("\N{NO-BREAK SPACE}", " ")


def test_the_summary_is_in_plain_words(page: Callable[..., _Text]) -> None:
    words = said(page())
    assert "With 1,000 queries (cost: 1.50 EUR), the strongest method (RDA) made a copy of the target." in words
    assert "gets 96.6 % of the test images of digits right; on the target's own features, 97.2 %" in words
    assert "8.3 points above the same network, trained on the same images without asking anything (88.3 %)" in words
    assert "To go 90 % of that way, RDA needed about 860 queries (cost: 1.30 EUR)." in words
    assert "RDA comes first with 96.6 %, then ContSteal 95.2 %, Conventional 94.9 %" in words
    assert "None of the defences costs the copier more than it costs honest clients." in words
    assert "digits-encoder belongs to Example Ltd . The audit was authorised by J. Doe, head of research" in words


def test_the_declared_measure_leads(page: Callable[..., _Text]) -> None:
    text = page(lambda audit: audit.update(measure="few_shot"))
    assert "84.2 % of the test images of digits right; on the target's own features, 85.4 % (few-shot probe)" in said(
        text
    )
    assert "By other measures the same copy differs from that network by: Linear probe +8.3 points." in said(text)
    assert text.tables["Scores on digits, defence none"][0][3:6] == ["Few-shot probe", "Linear probe", "Fidelity"]
    assert text.tables["Leakage by method and defence"][-1][1].startswith("+11.3 points")
    assert "the main measure is the few-shot probe" in said(text)


def test_sections_come_in_the_order_of_a_reader(page: Callable[..., _Text]) -> None:
    words = said(page())
    order = [
        "How well can digits-encoder be copied?", "Whose encoder, and who allowed this", "Words on this page",
        "Quality of the copy, by queries", "Every score", "What each defence takes, and from whom",
        "Leakage: what the answers gave away", "How far queries go", "Every run", "How it was done", "Run it again",
    ]  # fmt: skip
    places = [words.rindex(heading) for heading in order]
    assert places == sorted(places)


def test_a_defence_is_shown_with_its_cost_to_honest_clients(page: Callable[..., _Text]) -> None:
    """Under strong noise a client is near guessing, and the copy is as good as ever: both have to be on the page."""
    text = page()
    header, *rows = text.tables["What each defence takes, and from whom"]
    assert header[5:7] == ["Honest client", "Honest client loses"]
    noise = next(row for row in rows if row[0].startswith("noise:0.5"))
    assert noise[1].startswith("94.1 %")
    assert noise[5] == "13.3 %"
    assert noise[6] == "83.9 points near guessing"
    assert "13.3 %, 83.9 points less and close to guessing (10.0 %)" in said(text)
    assert "the copy is better than what the endpoint then serves" in said(text)


def test_leakage_ends_with_the_maximum_over_methods(page: Callable[..., _Text]) -> None:
    header, *rows = page().tables["Leakage by method and defence"]
    assert header == ["Method", "none", "rounding:1", "topk:5", "noise:0.5"]
    assert rows[-1][0].startswith("Highest")
    assert [cell.partition(" ")[0] for cell in rows[-1][1:]] == ["+8.3", "+8.1", "+2.7", "+5.8"]


def test_scores_stand_below_target_and_controls_with_their_intervals(page: Callable[..., _Text]) -> None:
    tables = page().tables
    header, *rows = tables["Scores on digits, defence none"]
    assert header[3:6] == ["Linear probe", "Few-shot probe", "Fidelity"]
    assert [row[0].split(" ")[0] for row in rows[:4]] == ["Target", "No-query", "Untrained", "RDA"]
    best = next(row for row in rows if row[0] == "RDA budget 1,000")
    assert best[1:4] == ["1,000", "100", "96.6 % 95.6 to 97.6"]
    assert best[6:] == ["+8.3 points +7.3 to +9.3", "1.50 EUR"]
    assert tables["Scores on digits, defence topk:5"][1][0] == "Honest client the answers as features"


def test_the_ledger_keeps_evaluation_apart(page: Callable[..., _Text]) -> None:
    def count_once(audit: dict[str, Any]) -> None:
        audit["evaluation"] = {"rows": 797, "requests": 4, "distinct": 797, "replayed": 5000}

    header, *rows = page(count_once).tables["Ledger, totals"]
    assert header == ["Account", "Charged", "Requests", "Distinct", "Repeated", "Replayed", "Unanswered", "Cost"]
    totals = {row[0].split(" ")[0]: row[1:] for row in rows}
    assert totals["All"][0] == f"{4 * 3 * (100 + 1000) * 2 + 4 * 3 * (100 + 400):,}"
    assert totals["Evaluation"] == ["797", "4", "797", "0", "5,000", "0", "–"]


def test_without_a_price_there_is_no_cost(page: Callable[..., _Text]) -> None:
    text = page(lambda audit: audit.update(price_per_1000=None))
    assert "Cost" not in text.tables["Ledger, totals"][0]
    assert "No price was given" in said(text)
    assert "EUR" not in said(text)


def test_the_methods_are_named_with_paper_and_fidelity(page: Callable[..., _Text]) -> None:
    rows = page(lambda audit: audit.update(preset="digits")).tables["Methods"][1:]
    assert "arXiv 2312.00855" in rows[0][1]
    assert rows[0][2].startswith("official follows the authors' published code")
    assert rows[0][3] == "preset digits, patches = 10, fit.epochs = 40"


class TestDoubts:
    """What a reader should hold against the numbers is said above them."""

    def test_one_seed(self, page: Callable[..., _Text]) -> None:
        words = said(page(seeds=[3]))
        assert "Everything was run with one seed (3)" in words
        assert "95 % intervals within the one seed" in words

    def test_two_seeds(self, page: Callable[..., _Text]) -> None:
        assert "Two seeds give a range and no interval" in said(page(seeds=[0, 1]))

    def test_three_seeds_need_no_word(self, page: Callable[..., _Text]) -> None:
        assert "seed (" not in said(page())

    @pytest.mark.parametrize("known", [True, None])
    def test_a_constant_target_carries_no_information(self, page: Callable[..., _Text], known: bool | None) -> None:
        def constant(audit: dict[str, Any]) -> None:
            audit["carries_information"] = False if known else None
            audit["target_scores"]["digits"]["linear"] = {"value": 0.10, "low": 0.08, "high": 0.13, "n": 397}

        words = said(page(constant))
        assert "The target carries no information on digits" in words
        assert "strongest" not in words
        assert "gave away. " not in words.partition("Whose encoder")[0]

    def test_no_gap_and_a_small_gap(self, page: Callable[..., _Text]) -> None:
        def level(score: float) -> Callable[[dict[str, Any]], None]:
            return lambda audit: audit["target_scores"]["digits"]["linear"].update(value=score)

        assert "digits cannot show that anything was copied" in said(page(level(0.88)))
        assert "already within 1.7 points of the target" in said(page(level(0.90)))

    def test_queries_that_gave_nothing(self, page: Callable[..., _Text]) -> None:
        def nothing(audit: dict[str, Any]) -> None:
            for cell in audit["cells"]:
                cell["leakage"]["digits"]["linear"] = -0.004

        words = said(page(nothing))
        assert "0.4 points below the same network" in words
        assert "nothing that this measure can see" in words
        assert "90 % of that way" not in words

    def test_failures_and_partial_runs(self, page: Callable[..., _Text]) -> None:
        def edit(audit: dict[str, Any]) -> None:
            lost = audit["cells"].pop()
            keys = ("method", "budget", "defence", "seed", "folder")
            audit["failures"] = [{**{key: lost[key] for key in keys}, "error": "the target answered NaN"}]
            audit["cells"][0]["partial"] = True

        text = page(edit)
        assert "One run could not be finished and is missing from every number" in said(text)
        assert "One run came to the end of the budget" in said(text)
        assert text.tables["Runs that could not be finished"][1][2] == "the target answered NaN"


class TestOddAudits:
    """Audits that lack something that most have."""

    def test_no_run_was_finished(self, page: Callable[..., _Text]) -> None:
        words = said(page(lambda audit: audit.update(cells=[])))
        assert "No run of this audit was finished" in words
        assert "Ledger and cost" not in words

    def test_no_labelled_data(self, page: Callable[..., _Text]) -> None:
        def unlabelled(audit: dict[str, Any]) -> None:
            audit.update(probes=[], target_scores={}, honest=[])
            for one in (*audit["cells"], *audit["controls"]["random"], *audit["controls"]["no_query"]):
                one.update(scores={}, leakage={})

        text = page(unlabelled)
        assert "Its answers have a mean cosine of 0.981 with the target's." in said(text)
        assert "what an honest client loses was not measured" in said(text)

    def test_no_controls(self, page: Callable[..., _Text]) -> None:
        def without(audit: dict[str, Any]) -> None:
            audit["controls"] = {}
            for cell in audit["cells"]:
                cell["leakage"] = {}

        assert "nobody can say what the queries were worth" in said(page(without))

    def test_only_defended_runs(self, page: Callable[..., _Text]) -> None:
        words = said(page(defences=["topk:5"]))
        assert "400 queries (cost: 0.60 EUR) behind the defence topk:5, the strongest method (Conventional)" in words
        assert "these are behind topk:5" in words

    def test_several_data_sets(self, page: Callable[..., _Text]) -> None:
        text = page(probes=["digits", "mnist"])
        assert "Linear probe on mnist" in said(text)
        assert "Scores on mnist, defence topk:5" in text.tables

    def test_a_control_alone(self, page: Callable[..., _Text]) -> None:
        """As the page of a single run has it."""

        def control(audit: dict[str, Any]) -> None:
            audit["methods"] = ["no_query"]
            audit["cells"] = [{**audit["cells"][0], "method": "no_query", "queries": 0, "budget": 0, "leakage": {}}]

        assert "With 0 queries" in said(page(control, seeds=[0]))

    def test_a_method_of_another_package(self, page: Callable[..., _Text]) -> None:
        def foreign(audit: dict[str, Any]) -> None:
            audit["methods"] = ["theirs" if name == "rda" else name for name in audit["methods"]]
            for cell in audit["cells"]:
                cell["method"] = "theirs" if cell["method"] == "rda" else cell["method"]

        assert "the strongest method (theirs)" in said(page(foreign))


def test_everything_is_escaped(make_audit: MakeAudit) -> None:
    attack = "<script>alert(1)</script><img src=x onerror=alert(1)>"

    def everywhere(audit: dict[str, Any]) -> None:
        audit.update(owner=attack, authorised_by=attack, surrogate=attack, command=attack, currency=attack)
        audit["target"].update(name=attack, spec=attack)
        audit["machine"]["cpu"] = attack
        audit["queries"]["source"] = attack
        audit["failures"] = [
            {"method": attack, "budget": 1, "defence": attack, "seed": 0, "folder": attack, "error": attack}
        ]
        audit["about_defences"]["topk:5"]["words"] = attack
        audit["options"]["rda"][attack] = attack
        for key in ("cells", "honest"):
            for one in audit[key]:
                one["defence"] = one["defence"].replace("topk:5", attack)
        audit["defences"] = [name.replace("topk:5", attack) for name in audit["defences"]]

    html = write_audit(make_audit(everywhere)).read_text(encoding="utf-8")
    assert "<script>alert" not in html
    assert "<img" not in html
    assert html.count("<script") == html.count("</script>")
    figures = re.findall(r'<script type="application/json">(.*?)</script>', html, flags=re.DOTALL)
    assert any("alert(1)" in figure for figure in figures)
    labels = json.dumps(
        [[trace.get("text"), trace.get("name")] for one in figures for trace in json.loads(one)["data"]]
    )
    assert "<" not in labels  # plotly reads some markup in labels


def test_the_summary_stands_alone_and_in_the_json(make_audit: MakeAudit) -> None:
    raw = json.loads((make_audit() / "audit.json").read_text(encoding="utf-8"))
    lines = summarise_audit(raw)
    assert lines[0].startswith("With 1,000 queries")
    assert any(line.startswith("topk:5: The 5 largest numbers are kept") for line in lines)


def test_the_table_of_the_terminal(make_audit: MakeAudit) -> None:
    raw = json.loads((make_audit() / "audit.json").read_text(encoding="utf-8"))
    headings, rows, caption = audit_table(raw)
    assert headings == ["", "Defence", "Queries", "Linear", "Gain", "Honest", "Cosine", "Cost"]
    assert rows[0] == ["target", "", "", "97.2 %", "", "", "", ""]
    assert rows[1][0], rows[2][0] == ("no queries", "untrained")
    assert ["RDA", "topk:5", "1,000", "89.6 %", "+1.3", "86.4 %", "0.804", "1.50"] in rows
    assert {len(row) for row in rows} == {8}
    assert "Linear: linear probe on digits" in caption


class TestRefusals:
    """What is no audit of ours is named."""

    def test_no_audit(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"no audit\.json here"):
            write_audit(tmp_path)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("{", "not readable as JSON"),
            ('{"format": 2}', "newer than this version"),
            ('{"format": 1}', "damaged, at target"),
            ("[]", "states no format"),
        ],
    )
    def test_a_damaged_or_newer_file(self, tmp_path: Path, content: str, message: str) -> None:
        (tmp_path / "audit.json").write_text(content, encoding="utf-8")
        with pytest.raises(IntegrityError, match=message):
            write_audit(tmp_path)
