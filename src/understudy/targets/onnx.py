"""A target that is an ONNX file, run by onnxruntime."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from understudy.errors import ConfigError, DependencyError, IntegrityError, ShapeError, nearest
from understudy.runs.files import sha256_file
from understudy.targets.access import Access
from understudy.targets.target import Target, answers_of, check_shown, identify, parse_access


class OnnxTarget(Target):
    """An ONNX file as a target. It takes inputs in [0, 1]: normalisation must be part of the graph.

    Args:
        path: the file. It has one input, float32 of shape (b, c, h, w) or (b, d); b may be fixed, then the last batch
            is filled up. Its identity is that of the file alone; weights beside it are not looked at.
        access: what it gives: its output is embeddings, or logits, of which `top-k` and `labels` show a part.
        output: name of the output, of shape (b, d); None takes the first.
        name: what messages call it; the path if None.
        device: on a GPU if onnxruntime can use one, else on the CPU whatever is asked.
        batch_rows: images that go through it at a time, where the file leaves that open.
        k: probabilities that are shown under access `top-k`.

    Raises:
        DependencyError: onnxruntime is not installed.
        IntegrityError: there is no such file, or it is no ONNX file.
        ConfigError: there is no such output, an input size is open, or an option is out of range.
        ShapeError: inputs or outputs have other shapes or types.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        access: Access | str = Access.EMBEDDINGS,
        output: str | None = None,
        name: str | None = None,
        device: torch.device | str = "cpu",
        batch_rows: int = 256,
        k: int = 5,
    ) -> None:
        path = Path(path)
        if batch_rows < 1:
            raise ConfigError(f"batch_rows is {batch_rows}", expected="1 or more")
        self.access = parse_access(access)
        self.name = f"onnx:{path}" if name is None else name
        self._session = _load(path, torch.device(device))
        self._input, batch, self.input_shape = _input_of(self._session, path)
        self._output = _output_of(self._session, output, path)
        self._fixed = batch is not None
        self._batch_rows = batch or batch_rows
        self.width = self._probe(path)
        self._k = check_shown(self.access, k, self.width)
        self.identity = identify(file=sha256_file(path), output=self._output, access=self.access.value, k=self._k)

    def answer(self, images: Float[Tensor, "b ..."]) -> Float[Tensor, "b d"]:
        """Return the answers to inputs in [0, 1]; see `Target.answer`."""
        rows = [self._run(piece) for piece in torch.split(images.detach().cpu(), self._batch_rows)]
        outputs = torch.cat(rows) if rows else torch.empty(0, self.width)
        return answers_of(outputs, self.access, k=self._k)

    def _run(self, images: Float[Tensor, "b ..."]) -> Tensor:
        batch = np.ascontiguousarray(images.numpy(), dtype=np.float32)
        if self._fixed and len(batch) < self._batch_rows:
            batch = np.concatenate([batch, np.zeros((self._batch_rows - len(batch), *self.input_shape), np.float32)])
        (outputs,) = self._session.run([self._output], {self._input: batch})
        return torch.from_numpy(np.array(outputs, dtype=np.float32))[: len(images)]

    def _probe(self, path: Path) -> int:
        """Run one image of zeros, and return the numbers of its answer."""
        try:
            found = tuple(self._run(torch.zeros(1, *self.input_shape)).shape)
        except Exception as error:
            raise IntegrityError(f"the graph does not run: {_first_line(error)}", where=path) from error
        if len(found) != 2 or found[0] != 1 or found[1] < 1:
            raise ShapeError(
                f"output {self._output!r} has shape {found} for one input",
                where=path,
                expected="(1, d)",
                fix="name another output as onnx:FILE#OUTPUT, or export the graph with a flat output",
            )
        return int(found[1])


def _load(path: Path, device: torch.device) -> Any:
    """Return a session of onnxruntime."""
    try:
        import onnxruntime
    except ImportError as error:
        raise DependencyError(
            f"onnxruntime cannot be imported: {error}", where=f"onnx:{path}", fix="pip install 'understudy[onnx]'"
        ) from error
    if not path.is_file():
        raise IntegrityError("file not found", where=path, expected="an ONNX file")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # its remarks about graphs are no concern of the user's
    wanted = ["CUDAExecutionProvider"] if device.type == "cuda" else []
    providers = [name for name in (*wanted, "CPUExecutionProvider") if name in onnxruntime.get_available_providers()]
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:
        raise IntegrityError(
            f"not a file that onnxruntime can load: {_first_line(error)}",
            where=path,
            expected="an ONNX file",
            fix="export the network again, for example with torch.onnx.export",
        ) from error


def _input_of(session: Any, path: Path) -> tuple[str, int | None, tuple[int, ...]]:
    """Return the name of the one input, its batch size (None where it is open) and the shape of one row."""
    inputs = session.get_inputs()
    if len(inputs) != 1:
        names = ", ".join(each.name for each in inputs)
        raise ShapeError(f"the graph has {len(inputs)} inputs ({names})", where=path, expected="one, the images")
    (only,) = inputs
    batch, *shape = only.shape or [None]
    if only.type != "tensor(float)" or len(shape) not in (1, 3):
        raise ShapeError(
            f"input {only.name!r} is {only.type} of shape {only.shape}",
            where=path,
            expected="tensor(float) of shape (b, c, h, w) or (b, d)",
        )
    if not all(isinstance(size, int) for size in shape):
        raise ConfigError(
            f"input {only.name!r} has shape {only.shape}: the size of an image is open",
            where=path,
            fix="export the network with a fixed channels, height and width; only the batch may be open",
        )
    return only.name, batch if isinstance(batch, int) else None, tuple(shape)


def _output_of(session: Any, name: str | None, path: Path) -> str:
    names = [each.name for each in session.get_outputs()]
    if name is not None and name not in names:
        raise ConfigError(f"the graph has no output {name!r}", where=path, expected=nearest(name, names))
    return names[0] if name is None else name


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
