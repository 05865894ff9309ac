"""The record beside a model's weights, `model.json`: checked field by field before anything is built."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from understudy.errors import IntegrityError
from understudy.runs.files import read_json

FORMAT = 1
"""Version of the model folder."""

_Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
_Size = Annotated[int, Field(ge=1, le=2**31)]
_Number = Annotated[float, Field(allow_inf_nan=False)]


class Record(BaseModel):
    """What `model.json` says."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)

    format: Literal[1]
    kind: Literal["classifier", "encoder"] = "classifier"
    head: bool = False
    """Whether an encoder ends in a linear layer to a width of choice."""
    spec: str
    input_shape: list[_Size]
    classes: Annotated[int, Field(ge=2, le=2**31)] | None = None
    width: _Size | None = None
    """Numbers of an encoder's embedding."""
    mean: list[_Number]
    std: list[_Number]
    parameters: Annotated[int, Field(ge=0)]
    about: dict[str, Any]
    sha256: _Sha256
    """Digest of the tensors, as `model_digest` gives it."""
    file_sha256: _Sha256
    """Of the bytes of `model.safetensors`."""

    @model_validator(mode="after")
    def _outputs_fit_the_kind(self) -> "Record":
        if (self.classes is None) != (self.kind == "encoder") or (self.width is None) != (self.kind == "classifier"):
            raise ValueError("a classifier has classes, an encoder has a width")
        return self


def read_record(path: Path) -> Record:
    """Return the record in a `model.json`.

    Raises:
        IntegrityError: the file is not JSON, has a newer format, or a field is missing, unknown or wrong.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise IntegrityError("not the record of a model", where=path, expected="a JSON object")
    version = content.get("format")
    if type(version) is int and version > FORMAT:
        raise IntegrityError(
            f"the model has format {version}, which this understudy does not know yet",
            where=path,
            expected=f"format {FORMAT}",
            fix="pip install --upgrade understudy",
        )
    try:
        return Record.model_validate(content)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"])) or ("width" if content.get("kind") == "encoder" else "classes")
        raise IntegrityError(
            f"field {place!r} of the record is wrong",
            where=path,
            expected=fault["msg"],
            fix="restore the folder from a copy, or make the model again",
        ) from None
