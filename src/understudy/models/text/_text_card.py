"""The model card of a text model: the README of its folder, with the front matter that the Hugging Face hub reads."""

from collections.abc import Mapping

from understudy.models.text._card_lines import base_model
from understudy.models.text._record import TextRecord

_FIDELITY = """\
**Fidelity: instantiation.** Mixing adapters per input by the entropies of their predictions is AdpMixup's (Nguyen and
Le, EMNLP 2024, arXiv 2401.10111); its equations for the coefficients are not public, and the rule `{rule}` is ours.

Gating by entropy is no security boundary: accuracy under attacks that were made against another model (static) says
little about an attacker who asks this one (adaptive)."""

_MIXTURE = """\
---
library_name: understudy
pipeline_tag: text-classification
{base}tags:
- understudy
- adapters
- adversarial-robustness
---

# Adapters mixed for each sentence

A classifier of {labels}: {count} adapters over the frozen backbone, mixed anew for each sentence. Each folder in
`slots/` is an adapter as PEFT saves it.

```python
from transformers import AutoTokenizer, pipeline
from understudy import MixedAdapterClassifier

model = MixedAdapterClassifier.from_pretrained("path/to/this/folder")
tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")
classify = pipeline("text-classification", model=model, tokenizer=tokenizer, truncation=True)
```

{fidelity}

{facts}
"""

_FULL = """\
---
library_name: transformers
pipeline_tag: text-classification
{base}tags:
- understudy
---

# Fine-tuned classifier

A classifier of {labels}, every weight of which was trained, from `{backbone}`. This is a plain Transformers folder:
`AutoModelForSequenceClassification.from_pretrained` loads it.

{facts}
"""


def text_card(record: TextRecord, *, adapter_card: str = "") -> str:
    """Return the card of a text model.

    Args:
        record: the content of its `understudy.json`.
        adapter_card: of one adapter, the card that stands in its folder already; facts are added to it.
    """
    facts = _facts(record)
    if record.kind == "adapter":
        return f"{adapter_card.rstrip()}\n\n{facts}\n"
    template = _MIXTURE if record.mixture else _FULL
    return template.format(
        backbone=_line(record.backbone.spec),
        base=base_model(record.backbone.spec),
        labels=", ".join(f"`{_line(label)}`" for label in record.labels),
        count=len(record.mixture.names) if record.mixture else 0,
        fidelity=_FIDELITY.format(rule=record.mixture.gate.rule) if record.mixture else "",
        facts=facts,
    )


def _facts(record: TextRecord) -> str:
    """Return a table of what is known of the model."""
    facts: dict[str, object] = {
        "backbone": f"`{record.backbone.spec}` ({record.backbone.architecture})",
        "SHA-256 of the encoder": f"`{record.backbone.sha256}`",
        "tokens read of a text": record.max_length,
    }
    if mixture := record.mixture:
        for name, (lo, hi) in zip(mixture.names, mixture.profiles, strict=True):
            facts[f"slot {name}"] = f"entropies of {lo:.4g} to {hi:.4g} on texts of its own kind"
        facts |= {"rule": mixture.gate.rule, "LoRA mix": mixture.lora_mix, "heads": mixture.head_policy}
    known = {key: value for key, value in {**facts, **record.about}.items() if value is not None}
    rows = [f"| {_line(key)} | {_line(_shares(value))} |" for key, value in known.items()]
    return "\n".join(["| fact | value |", "|---|---|", *rows])


def _shares(value: object) -> object:
    """Return shares by name in words, anything else as it is."""
    if not isinstance(value, Mapping) or not all(isinstance(share, int | float) for share in value.values()):
        return value
    return ", ".join(f"{share:.4g} {name}" for name, share in value.items())


def _line(value: object) -> str:
    """Return a value on one line that does not end its table cell."""
    return " ".join(str(value).split()).replace("|", "\\|")
