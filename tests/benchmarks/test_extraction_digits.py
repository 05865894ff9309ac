"""The properties that the digits study checks: the numbers of the specification have them, worse numbers have not."""

import copy
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

SOURCE = Path(__file__).parents[2] / "benchmarks" / "extraction_digits_properties.py"

# row: full-label %, few-shot %, fidelity, as the specification measured them
MEASURED = {
    "target itself": (97.2, 85.4, 1.0),
    "honest client | noise:0.5": (13.3, 11.5, None),
    "random surrogate | none": (73.4, 43.1, 0.567),
    "no-query control | none": (88.3, 72.9, 0.604),
    "RDA n=10, m=5 | none": (96.6, 84.2, 0.981),
    "RDA n=10, m=5 | none | 25 images": (93.6, 76.2 + 1, 0.925),
    "RDA n=10, m=5 | none | 50 images": (95.4, 81.4, 0.970),
    "RDA n=10, m=5 | none | 200 images": (96.6, 84.5, 0.985),
    "RDA n=10, m=1 | none": (96.0, 83.6, 0.976),
    "RDA n=1, m=1 | none": (95.4, 83.2, 0.977),
    "Cont-Steal | none": (95.2, 80.7, 0.895),
    "Cont-Steal, stopped after 10 epochs | none": (92.4, 73.2, 0.869),
    "Cont-Steal, 1 cached view | none": (95.2, 80.3, 0.897),
    "Conventional | none": (94.9, 82.5, 0.971),
    "RDA n=10, m=1 | noise:0.1": (96.0, 82.2, 0.947),
    "RDA n=1, m=1 | noise:0.1": (94.0, 77.0, 0.881),
    "RDA n=10, m=1 | noise:0.5": (94.1, 76.1, 0.855),
}


@pytest.fixture(scope="module")
def module() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("extraction_digits_properties", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    loaded = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # a dataclass looks its module up
    spec.loader.exec_module(loaded)
    yield loaded
    del sys.modules[spec.name]


@pytest.fixture
def found() -> dict[str, list[dict[str, float]]]:
    names = ("linear", "few_shot", "fidelity")
    rows = {
        row: [
            {
                name: score / (1 if name == "fidelity" else 100)
                for name, score in zip(names, scores, strict=True)
                if score
            }
        ]
        for row, scores in MEASURED.items()
    }
    return {**rows, "noise averaging": [{"rms_1": 1.13, "rms_16": 0.283}]}


def test_the_measured_numbers_have_every_property(module: ModuleType, found) -> None:
    checked = list(module.properties(found))
    assert [one.number for one in checked] == list(range(19, 27))
    assert [one.number for one in checked if not one.holds] == []


@pytest.mark.parametrize(
    ("number", "row", "score", "value"),
    [
        (19, "noise averaging", "rms_16", 0.30),
        (20, "Cont-Steal, stopped after 10 epochs | none", "few_shot", 0.80),
        (20, "Cont-Steal, stopped after 10 epochs | none", "linear", 0.95),
        (21, "Cont-Steal, 1 cached view | none", "few_shot", 0.834),
        (21, "Cont-Steal, 1 cached view | none", "fidelity", 0.93),
        (22, "Cont-Steal | none", "fidelity", 0.94),
        (23, "Conventional | none", "few_shot", 0.76),
        (24, "RDA n=10, m=5 | none", "fidelity", 0.95),
        (25, "RDA n=1, m=1 | noise:0.1", "few_shot", 0.81),
        (25, "RDA n=1, m=1 | noise:0.1", "fidelity", 0.93),
        (25, "RDA n=1, m=1 | none", "fidelity", 0.96),
        (26, "honest client | noise:0.5", "linear", 0.4),
        (26, "RDA n=10, m=1 | noise:0.5", "linear", 0.85),
    ],
)
def test_a_worse_number_is_found(module: ModuleType, found, number: int, row: str, score: str, value: float) -> None:
    worse = copy.deepcopy(found)
    worse[row][0][score] = value
    assert number in [one.number for one in module.properties(worse) if not one.holds]


def test_the_tables_show_what_an_honest_client_loses(module: ModuleType, found) -> None:
    lines = list(module.tables(found))
    assert any(line.startswith("| RDA n=10, m=5 | ") and "96.6" in line and "0.981" in line for line in lines)
    honest = next(line for line in lines if line.startswith("| honest client |"))
    assert "13.3 / 11.5" in honest
