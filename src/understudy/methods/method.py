"""What every method is: frozen, bounded hyperparameters with named presets, and the access it needs."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from understudy.bank import Bank
from understudy.errors import ConfigError, nearest
from understudy.models import Classifier, Network
from understudy.targets import Access as Access  # methods declare with it what they require

Fidelity = Literal["paper", "official", "instantiation"]
MethodT = TypeVar("MethodT", bound="Method")  # and not Self, which the check of types in tests cannot follow
PresetT = TypeVar("PresetT", bound=Callable[..., Any])


@dataclass(frozen=True)
class Outcome:
    """What a method leaves behind, apart from files."""

    model: Network
    controls: Mapping[str, Network] = field(default_factory=dict)
    """Further models that put the first one into proportion, by name."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Entries for `result.json`, such as samples and teacher evaluations."""


class Method(BaseModel, ABC):
    """Base of all methods: the fields of a subclass are its hyperparameters."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    fidelity: ClassVar[Fidelity]
    requires: ClassVar[Access]
    needs_data: ClassVar[bool]

    @classmethod
    def presets(cls: type[MethodT]) -> dict[str, Callable[[], MethodT]]:
        """Return the class's presets by name."""
        return {name: getattr(cls, name) for name in dir(cls) if getattr(getattr(cls, name), "_is_preset", False)}

    @classmethod
    def preset(cls: type[MethodT], name: str) -> MethodT:
        """Return a named preset.

        Raises:
            ConfigError: there is none of that name.
        """
        presets = cls.presets()
        if name not in presets:
            raise ConfigError(f"{cls.__name__} has no preset {name!r}", where="--preset", fix=nearest(name, presets))
        return presets[name]()

    run: ClassVar[Callable[..., Any]]
    """Carries the method out, to an `Outcome` or, on text, a `TextOutcome`; takes `run` and what the method needs."""

    def check_teacher(self, teacher: Classifier, student: Classifier, *, bank: Bank | None = None) -> None:
        """Refuse what the method cannot use, before anything is put on file; most methods take any teacher.

        Raises:
            ConfigError: the teacher, or the bank drawn earlier, does not fit the method's values.
        """

    def check_model(self, model: Network) -> None:
        """Refuse a network to train, before anything is put on file; most methods take any.

        Raises:
            ConfigError: it, or a further teacher, does not fit the method's values.
        """

    def reads_bank(self) -> bool:
        """Return whether a run with these values uses a bank of an earlier one; most methods know of none."""
        return False

    def other_teachers(self) -> dict[str, str]:
        """Return the specs of further teachers by name; most methods have none."""
        return {}

    @abstractmethod
    def cost(self, model: Network, *, rows: int | None, bank: Bank | None = None) -> dict[str, int]:
        """Return what a run would cost, by name, such as training steps and evaluations of the teacher.

        Args:
            model: the network to train.
            rows: size of the training set, or None where the method takes no data.
            bank: samples that are there already.
        """

    @classmethod
    def checked(cls: type[MethodT], values: dict[str, Any], *, where: str) -> MethodT:
        """Return the method with these values, each within its bounds.

        Raises:
            ConfigError: a name is unknown, or a value is of the wrong type or out of range.
        """
        return validated(cls, values, where=where)


ModelT = TypeVar("ModelT", bound=BaseModel)


def preset(function: PresetT) -> PresetT:
    """Mark a class method as a preset; write it under `@classmethod`."""
    function._is_preset = True  # type: ignore[attr-defined]
    return function


def validated(cls: type[ModelT], values: dict[str, Any], *, where: str) -> ModelT:
    """Return `cls(**values)`, with pydantic's complaints turned into one `ConfigError`."""
    try:
        return cls(**values)
    except ValidationError as error:
        lines = []
        for fault in error.errors():
            name = ".".join(str(part) for part in fault["loc"])
            if fault["type"] == "extra_forbidden":
                lines.append(f"{name!r} is no option here; {nearest(str(fault['loc'][-1]), _field_names(cls))}")
            elif name and fault["type"] != "value_error":
                lines.append(f"{name}: {fault['msg']} (got {fault['input']!r})")
            else:  # in words of our own; without a name, of several fields together
                said = fault["msg"].removeprefix("Value error, ")
                lines.append(f"{name}: {said}" if name else said)
        raise ConfigError("; ".join(lines), where=where, fix="--help lists each option with its range") from None


def _field_names(cls: type[BaseModel]) -> list[str]:
    names: list[str] = []
    for name, info in cls.model_fields.items():
        inner = info.annotation
        names += _field_names(inner) if isinstance(inner, type) and issubclass(inner, BaseModel) else [name]
    return names
