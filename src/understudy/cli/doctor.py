"""`understudy doctor`."""

import os
import platform
from importlib import metadata, util
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from understudy.cli.printing import print_json

_EXTRAS = {
    "hf": ("transformers", "hf:NAME models"),
    "text": ("peft", "`adapt`, `withstand` and text models (with transformers)"),
    "vision": ("timm", "timm:NAME models"),
    "onnx": ("onnxruntime", "onnx:FILE targets"),
    "attacks": ("pyautoattack", "`evaluate --attack autoattack`"),
}


def doctor(*, json: Annotated[bool, Parameter(negative=(), show_default=False)] = False) -> None:
    """Say what is installed, which device there is, and what is missing.

    Args:
        json: Print one JSON object and nothing else.
    """
    found = examine()
    if json:
        print_json(found)
        return
    table = Table("what", "found", "note")
    for row in found["checks"]:
        table.add_row(row["what"], str(row["found"]), row["note"])
    Console(highlight=False).print(table)


def examine() -> dict[str, Any]:
    """Return the checks: what was looked at, what was found, and what to do about it."""
    import torch

    from understudy.runs.provenance import cpu_name, versions

    checks = [
        _row("understudy", metadata.version("understudy"), ""),
        _row("python", platform.python_version(), ""),
        *(_row(name, version, "") for name, version in versions().items()),
        _row("processor", cpu_name(), f"{os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads"),
        _row(
            "OpenMP wait policy",
            os.environ.get("OMP_WAIT_POLICY", "default"),
            "PASSIVE is best on a busy machine",
        ),
    ]
    if torch.cuda.is_available():
        checks += [_row("GPU", torch.cuda.get_device_name(i), "") for i in range(torch.cuda.device_count())]
    else:
        checks.append(_row("GPU", "none", "everything runs on the CPU; --device cuda would be refused"))
    compiler = os.environ.get("CXX", "g++")
    from shutil import which

    checks.append(_row("C++ compiler", which(compiler) or "missing", "needed by --compile on the CPU alone"))
    for extra, (package, use) in _EXTRAS.items():
        there = util.find_spec(package) is not None
        note = f"for {use}" if there else f"for {use}: pip install 'understudy[{extra}]'"
        checks.append(_row(f"extra {extra}", metadata.version(package) if there else "missing", note))
    folder = os.environ.get("UNDERSTUDY_DATA")
    names = (
        sorted(entry.name for entry in Path(folder).iterdir() if entry.is_dir())
        if folder and Path(folder).is_dir()
        else []
    )
    note = ", ".join(names) if names else "set UNDERSTUDY_DATA to a folder of data sets to use them by name"
    checks.append(_row("UNDERSTUDY_DATA", folder or "not set", note))
    return {"checks": checks}


def _row(what: str, found: str, note: str) -> dict[str, str]:
    return {"what": what, "found": found, "note": note}
