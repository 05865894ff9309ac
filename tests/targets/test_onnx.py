"""ONNX files as targets: real files, written by the `onnx` package, run by onnxruntime."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from understudy.errors import ConfigError, DependencyError, IntegrityError, ShapeError
from understudy.targets import Access, Ledger, OnnxTarget
from understudy.targets.endpoint import Endpoint

pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
onnx = pytest.importorskip("onnx", reason="the package that writes the files of this test is not installed")

Write = Callable[..., Path]
WEIGHTS = np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)
IMAGES = torch.rand(7, 3, 2, 2, generator=torch.Generator().manual_seed(0))
EXPECTED = IMAGES.reshape(7, 12).double().numpy() @ WEIGHTS.astype(np.float64)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes a graph: the pixels laid out flat, times a matrix, and that plus one."""

    def write(
        batch: int | str = "rows",
        *,
        shape: tuple[int | str, ...] = (3, 2, 2),
        kind: str = "FLOAT",
        sizes: tuple[int, ...] = (),
    ) -> Path:
        helper, element = onnx.helper, getattr(onnx.TensorProto, kind)
        outputs = ["embeddings", "shifted"]
        nodes = [
            helper.make_node("Flatten", ["images"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["plain" if sizes else "embeddings"]),
            helper.make_node("Add", ["plain" if sizes else "embeddings", "one"], ["shifted"]),
        ]
        if sizes:
            nodes.insert(2, helper.make_node("Reshape", ["plain", "sizes"], ["embeddings"]))
        numbers = {"FLOAT": np.float32, "DOUBLE": np.float64}[kind]
        constants = [
            onnx.numpy_helper.from_array(WEIGHTS.astype(numbers), "weights"),
            onnx.numpy_helper.from_array(np.ones(1, numbers), "one"),
            onnx.numpy_helper.from_array(np.array(sizes or [0]), "sizes"),
        ]
        graph = helper.make_graph(
            nodes,
            "graph",
            [helper.make_tensor_value_info("images", element, [batch, *shape])],
            [helper.make_tensor_value_info(name, element, None) for name in outputs],
            constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        path = tmp_path / "encoder.onnx"
        path.write_bytes(model.SerializeToString())
        return path

    return write


@pytest.mark.parametrize("batch", ["rows", 1, 3, 7, 16])
def test_it_answers_as_its_graph_says_whatever_its_batch(write: Write, batch: int | str) -> None:
    target = OnnxTarget(write(batch), batch_rows=2)
    assert (target.width, target.input_shape, target.access) == (5, (3, 2, 2), Access.EMBEDDINGS)
    answers = target.answer(IMAGES)
    assert answers.dtype == torch.float32
    np.testing.assert_allclose(answers.numpy(), EXPECTED, rtol=1e-5, atol=1e-6)
    assert target.answer(IMAGES[:0]).shape == (0, 5)


def test_images_laid_out_otherwise_in_memory_are_the_same_images(write: Write) -> None:
    answers = OnnxTarget(write()).answer(IMAGES.contiguous(memory_format=torch.channels_last))
    np.testing.assert_allclose(answers.numpy(), EXPECTED, rtol=1e-5, atol=1e-6)


def test_any_output_can_be_named(write: Write) -> None:
    path = write()
    np.testing.assert_allclose(OnnxTarget(path, output="shifted").answer(IMAGES), EXPECTED + 1, rtol=1e-5, atol=1e-6)
    with pytest.raises(ConfigError, match="no output 'embedings'") as error:
        OnnxTarget(path, output="embedings")
    assert "did you mean 'embeddings'" in str(error.value)


def test_logits_are_shown_as_the_access_says(write: Write) -> None:
    path = write()
    labels = OnnxTarget(path, access="labels").answer(IMAGES)
    assert labels.argmax(dim=1).tolist() == EXPECTED.argmax(axis=1).tolist()
    assert labels.sum() == 7
    shown = OnnxTarget(path, access="top-k", k=2).answer(IMAGES)
    chances = np.exp(EXPECTED) / np.exp(EXPECTED).sum(axis=1, keepdims=True)
    chances[chances < np.sort(chances, axis=1)[:, -2:-1]] = 0
    np.testing.assert_allclose(shown.numpy(), chances, rtol=1e-4, atol=1e-6)


def test_the_identity_is_that_of_the_file_and_of_what_is_shown(write: Write) -> None:
    path = write()
    identities = {
        OnnxTarget(path).identity,
        OnnxTarget(path, output="shifted").identity,
        OnnxTarget(path, access="logits").identity,
        OnnxTarget(path, access="top-k", k=2).identity,
    }
    assert OnnxTarget(path, output="embeddings", name="mine").identity in identities
    write(4)
    identities.add(OnnxTarget(path).identity)
    assert len(identities) == 5


def test_it_can_be_asked_through_an_endpoint(write: Write, tmp_path: Path) -> None:
    target = OnnxTarget(write(4))
    with Ledger(tmp_path / "ledger.sqlite", target=target.identity, width=5) as ledger:
        endpoint = Endpoint(target, ledger, batch_rows=3)
        answers = endpoint.ask(IMAGES)
        assert endpoint.counts().rows == 7
    expected = EXPECTED / np.linalg.norm(EXPECTED, axis=1, keepdims=True)
    np.testing.assert_allclose(answers.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_a_file_that_is_none_is_refused(tmp_path: Path, write: Write) -> None:
    path = tmp_path / "encoder.onnx"
    with pytest.raises(IntegrityError, match="file not found"):
        OnnxTarget(path)
    for content in (b"", b"this is no graph", b"\x00" * 100):
        path.write_bytes(content)
        with pytest.raises(IntegrityError, match=r"onnxruntime can load|does not run") as error:
            OnnxTarget(path)
        assert str(path) in str(error.value)
    whole = write().read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(IntegrityError, match="onnxruntime can load"):
        OnnxTarget(path)


def test_graphs_that_are_no_encoders_are_refused(write: Write) -> None:
    with pytest.raises(ConfigError, match="the size of an image is open"):
        OnnxTarget(write(shape=(3, "height", "width")))
    with pytest.raises(ShapeError, match=r"tensor\(double\)"):
        OnnxTarget(write(kind="DOUBLE"))
    with pytest.raises(ShapeError, match=r"of shape \['rows', 3, 4\]"):
        OnnxTarget(write(shape=(3, 4)))
    with pytest.raises(ShapeError, match=r"has shape \(1, 5, 1, 1\) for one input"):
        OnnxTarget(write(sizes=(-1, 5, 1, 1)))
    with pytest.raises(IntegrityError, match="the graph does not run"):
        OnnxTarget(write(sizes=(-1, 7)))
    with pytest.raises(ConfigError, match="batch_rows is 0"):
        OnnxTarget(write(), batch_rows=0)
    with pytest.raises(ConfigError, match="cannot show the 9 largest of 5"):
        OnnxTarget(write(), access="top-k", k=9)


def test_without_onnxruntime_the_extra_is_named(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DependencyError, match=r"understudy\[onnx\]"):
        OnnxTarget(path)
