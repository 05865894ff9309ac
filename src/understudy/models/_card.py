"""The model card: the README of a model folder, with the front matter that the Hugging Face hub reads."""

from collections.abc import Mapping
from typing import Any

_TEMPLATE = """\
---
library_name: understudy
pipeline_tag: {task}
tags:
- understudy
- knowledge-distillation
---

# {title}

{kind} for inputs of shape {shape} with values in [0, 1].
Its first layer normalises, so it takes raw inputs.

```python
from understudy.models import {loader}

model = {loader}("path/to/this/folder")
{rows} = model(x)  # x: float32, (batch, {columns}), values in [0, 1]
```

The weights are safetensors; nothing in this folder is a pickle. `{loader}` verifies every byte of them.

| fact | value |
|---|---|
{facts}
"""


def model_card(record: Mapping[str, Any]) -> str:
    """Return the card of a model, given the content of its `model.json`."""
    shape = record["input_shape"]
    facts = {
        "architecture": f"`{record['spec']}`",
        "parameters": f"{record['parameters']:,}",
        "mean": _numbers(record["mean"]),
        "std": _numbers(record["std"]),
        "SHA-256 of the weights": f"`{record['sha256']}`",
        **record["about"],
    }
    encodes = record.get("kind") == "encoder"
    task = "image-classification" if len(shape) == 3 else "tabular-classification"
    return _TEMPLATE.format(
        task="image-feature-extraction" if encodes else task,
        kind=f"An encoder of width {record['width']}" if encodes else f"A classifier of {record['classes']} classes",
        loader="load_encoder" if encodes else "load_model",
        rows="embeddings" if encodes else "logits",
        title=record["spec"],
        shape=" x ".join(map(str, shape)),
        columns=", ".join(map(str, shape)),
        facts="\n".join(f"| {_cell(key)} | {_cell(value)} |" for key, value in facts.items()),
    )


def _numbers(values: list[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)


def _cell(value: object) -> str:
    """Return a value on one line that does not end its table cell."""
    return " ".join(str(value).split()).replace("|", "\\|")
