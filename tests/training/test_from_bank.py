"""Fitting to a bank: the student's loss, the rows it sees, and what it refuses."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from understudy.bank import Bank, BankWriter, StorageType
from understudy.errors import ConfigError, DataError
from understudy.losses import soft_cross_entropy, tempered_kl
from understudy.models import Classifier
from understudy.runs.run import Run
from understudy.training import Recipe
from understudy.training.from_bank import fit_on_bank, held_out_agreement, split_rows, student_loss

ROWS = 200


@pytest.fixture
def bank(tmp_path: Path) -> Bank:
    """Points in three dimensions, labelled by a linear teacher; the first half drawn at 0.1, the rest at 0.001."""
    about = {"shape": [3], "classes": 3, "mean": [0.0], "std": [1.0]}
    writer = BankWriter(tmp_path / "bank", storage="float32", about=about)
    x = torch.randn(ROWS, 3, generator=torch.Generator().manual_seed(0))
    sizes = torch.tensor([0.1, 0.001]).repeat_interleave(ROWS // 2)
    writer.write(0, x, answers={"logits": 4 * x, "step_size": sizes}, record={"sets": []})
    writer.finish(1)
    return Bank(tmp_path / "bank")


def student(mean: float = 0.0) -> Classifier:
    net = nn.Linear(3, 3)
    nn.init.zeros_(net.weight)
    return Classifier(net, spec="linear", input_shape=(3,), classes=3, mean=[mean], std=[1.0])


def fit(model: Classifier, bank: Bank, run: Run, step_sizes: tuple[float, float] = (0.0, 1e9)) -> None:
    recipe = Recipe(epochs=10, batch_size=20, learning_rate=0.5)
    fit_on_bank(
        model, bank, recipe=recipe, temperature=1.0, soft_labels=True, held_out_frac=0.2, step_sizes=step_sizes,
        run=run, phase="fit",
    )  # fmt: skip


def test_the_loss_at_temperature_one_is_that_of_the_released_code() -> None:
    generator = torch.Generator().manual_seed(0)
    h, f = torch.randn(2, 7, 4, generator=generator, dtype=torch.float64)
    soft = student_loss(h, f, temperature=1.0, soft_labels=True)
    assert float(soft) == pytest.approx(
        float(soft_cross_entropy(h, f.softmax(dim=1), reduction="batchmean")), abs=1e-12
    )
    hard = student_loss(h, f, temperature=1.0, soft_labels=False)
    assert float(hard) == pytest.approx(float(nn.functional.cross_entropy(h, f.argmax(dim=1))), abs=1e-12)


def test_other_temperatures_have_the_gradient_of_tempered_divergence() -> None:
    generator = torch.Generator().manual_seed(0)
    h, f = torch.randn(2, 7, 4, generator=generator, dtype=torch.float64)
    h.requires_grad_()
    (ours,) = torch.autograd.grad(student_loss(h, f, temperature=4.0, soft_labels=True), h)
    (expected,) = torch.autograd.grad(tempered_kl(h, f, temperature=4.0, reduction="batchmean"), h)
    assert torch.allclose(ours, expected, rtol=0, atol=1e-12)


def test_a_student_learns_and_agrees_on_what_it_has_not_seen(bank: Bank, run: Run) -> None:
    model = student()
    before = held_out_agreement(model, bank, held_out_frac=0.2, seed=0)
    fit(model, bank, run)
    after = held_out_agreement(model, bank, held_out_frac=0.2, seed=0)
    assert after.n == 40
    assert after.value > max(before.value, 0.9)


def test_agreement_counts_equal_classes(bank: Bank) -> None:
    perfect = student()
    perfect.net.load_state_dict({"weight": torch.eye(3), "bias": torch.zeros(3)})
    assert held_out_agreement(perfect, bank, held_out_frac=0.5, seed=3).value == 1.0


@pytest.mark.parametrize("share", [0.01, 0.2, 0.999])
def test_the_split_has_each_row_once_and_both_parts(bank: Bank, share: float) -> None:
    train, held_out = split_rows(bank, share, 0)
    assert sorted(torch.cat([train, held_out]).tolist()) == list(range(ROWS))
    assert len(held_out) == min(max(round(ROWS * share), 1), ROWS - 1)
    again, _ = split_rows(bank, share, 0)
    other, _ = split_rows(bank, share, 1)
    assert torch.equal(train, again)
    assert not torch.equal(train, other)


@pytest.mark.parametrize(
    ("step_sizes", "allowed"), [((0.01, 1e9), range(100)), ((0.0, 0.01), range(100, 200)), ((0.0, 0.1), range(200))]
)
def test_the_student_sees_the_step_sizes_asked_for_and_nothing_held_out(
    bank: Bank, run: Run, monkeypatch: pytest.MonkeyPatch, step_sizes: tuple[float, float], allowed: range
) -> None:
    seen: set[int] = set()
    real = Bank.rows
    monkeypatch.setattr(Bank, "rows", lambda self, rows: (seen.update(rows.tolist()), real(self, rows))[1])
    fit(student(), bank, run, step_sizes)
    train, _ = split_rows(bank, 0.2, 0)
    expected = set(train.tolist()) & set(allowed)
    assert seen <= expected
    assert len(seen) > 0.95 * len(expected)  # ten epochs, each without a last batch that is not full


def test_no_row_left_is_an_error_that_names_the_sizes(bank: Bank, run: Run) -> None:
    with pytest.raises(DataError, match=r"no sample(.|\n)*min_step_size 1,(.|\n)*between 0.001 and 0.1"):
        fit(student(), bank, run, (1.0, 2.0))


def test_a_student_of_other_coordinates_is_refused(bank: Bank, run: Run) -> None:
    with pytest.raises(ConfigError, match=r"student and samples differ in mean: \[0.5\] and \[0.0\]"):
        fit(student(mean=0.5), bank, run)


@pytest.mark.parametrize("storage", ["float16", "uint8"])
def test_a_bf16_run_learns_from_a_compact_bank_of_several_shards(
    tmp_path: Path, make_run: Callable[..., Run], storage: StorageType
) -> None:
    # Autocast refuses to concatenate float16 rows, so batches must be made outside it.
    writer = BankWriter(
        tmp_path / "bank", storage=storage, about={"shape": [3], "classes": 3, "mean": [0.0], "std": [1.0]}
    )
    for shard in range(2):
        x = torch.randn(ROWS // 2, 3, generator=torch.Generator().manual_seed(shard))
        writer.write(
            shard, x, answers={"logits": 4 * x, "step_size": torch.full((ROWS // 2,), 0.1)}, record={"sets": []}
        )
    writer.finish(2)
    model, stored = student(), Bank(tmp_path / "bank")
    fit(model, stored, make_run(precision="bf16"))
    assert held_out_agreement(model, stored, held_out_frac=0.2, seed=0).value > 0.9
