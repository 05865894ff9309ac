"""Tensors on disk: one safetensors file, written atomically, with a digest of its content in its header."""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from understudy.errors import IntegrityError
from understudy.runs.files import write_atomic

_KEY = "understudy"


def digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """Return the hexadecimal SHA-256 over names, dtypes, shapes and bytes, in order of name."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        total.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor], meta: Mapping[str, Any]) -> str:
    """Write tensors and a JSON-able record into one safetensors file, whole or not at all.

    Returns:
        The digest of the tensors, which the header carries too.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    content = digest(plain)
    # One metadata key only: safetensors does not promise an order, and equal content must give equal bytes.
    header = {_KEY: json.dumps({"sha256": content, **meta}, sort_keys=True)}
    write_atomic(path, lambda aside: _write(aside, plain, header))
    return content


def _write(path: Path, tensors: dict[str, torch.Tensor], header: dict[str, str]) -> None:
    try:
        save_file(tensors, path, metadata=header)
    except SafetensorError as error:  # how a full disk looks from there
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error


def load_tensors(path: Path, *, verify: bool = True) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read a file of `save_tensors`: tensors (memory-mapped where the platform can) and its record.

    Args:
        path: the safetensors file.
        verify: recompute the digest and compare it with the header's.

    Raises:
        IntegrityError: the file is missing, is no safetensors file, was not written by `save_tensors`,
            or its content is not what was written.
    """
    if not path.is_file():
        raise IntegrityError("file not found", where=path, expected="a safetensors file of understudy")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, ValueError) as error:
        raise IntegrityError(
            f"not a whole safetensors file: {error}",
            where=path,
            expected="safetensors (pickles such as .pt and .pkl are never loaded)",
            fix="restore the file, or make it again",
        ) from error
    meta = _record(header)
    if meta is None:
        raise IntegrityError("this safetensors file was not written by understudy", where=path)
    if verify and digest(tensors) != meta["sha256"]:
        raise IntegrityError(
            "the content differs from what was written (SHA-256 mismatch)",
            where=path,
            fix="restore the file from a copy, or make it again",
        )
    return tensors, meta


def _record(header: Mapping[str, str]) -> dict[str, Any] | None:
    try:
        record = json.loads(header.get(_KEY, ""))
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and "sha256" in record else None
