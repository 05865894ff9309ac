"""The endpoint: the one way to ask a target. Target, normalise, defences, ledger, in this order and no other."""

import threading
import time
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from understudy.errors import BudgetExhausted, ConfigError, TargetError, UnderstudyError
from understudy.runs.interrupts import Interrupted, asked_to_stop
from understudy.targets._checks import check_answers, check_images
from understudy.targets._records import Account, Counts, Grant
from understudy.targets._rows import decode_answers, draw_keys, encode_answers, hash_rows, query_keys
from understudy.targets.access import Access
from understudy.targets.defences import Client, Defence, describe
from understudy.targets.ledger import Ledger
from understudy.targets.target import Target

_LONGEST_WAIT_S = 10.0


class Endpoint:
    """A target behind its owner's defences and a ledger: what a client can ask, and what it is charged for.

    Args:
        target: what answers.
        ledger: of this target.
        account: what queries are charged to. Evaluation is never charged to extraction.
        defences: applied to each answer in this order, before it is put on file and leaves.
        client: who asks; None is a client of seed 0.
        normalise: bring embeddings to length 1 before the defences. No embeddings, nothing to normalise: False.
        replay: an input that was answered is answered from file and not charged, on whatever occasion. False is for
            targets and defences that answer at random: the same input on another occasion is another query. What was
            answered is not paid for again when a run goes on, either way.
        over_budget: "cut" sends the first rows of a request that fit, "refuse" none of them.
        batch_rows: rows that are reserved, sent and put on file at a time; a crash loses no more.
        retries: further attempts after an exception of the target. What a time-out left unanswered stays charged.
        retry_wait_s: seconds before the first retry; each wait is twice the one before.

    Raises:
        ConfigError: the ledger is of another target or was begun with other defences, a defence cannot take rows of
            this width, or an option is out of range.
    """

    def __init__(
        self,
        target: Target,
        ledger: Ledger,
        *,
        account: Account = "extraction",
        defences: Sequence[Defence] = (),
        client: Client | None = None,
        normalise: bool = True,
        replay: bool = True,
        over_budget: Literal["cut", "refuse"] = "cut",
        batch_rows: int = 256,
        retries: int = 2,
        retry_wait_s: float = 0.1,
    ) -> None:
        _check_options(target, ledger, normalise, batch_rows, retries, retry_wait_s)
        self.target = target
        self.ledger = ledger
        self.account: Account = account
        self.defences = tuple(defences)
        self.normalise = normalise
        self.replay = replay
        self.over_budget = over_budget
        self.width = target.width
        """Numbers of an answer as it leaves, after the defences."""
        for defence in self.defences:
            defence.check(self.width)
            self.width = defence.width(self.width)
        self.input_shape = target.input_shape
        self._batch_rows, self._retries, self._retry_wait_s = batch_rows, retries, retry_wait_s
        seed = 0 if client is None else client.seed
        self._number = ledger.register(account, _terms(self.defences, normalise, seed))
        self._client = Client(seed, ledger.memory(self._number))
        self._defending = threading.Lock()

    @property
    def remaining(self) -> int | None:
        """Rows that may still be charged; None where there is no limit."""
        return self.ledger.remaining(self.account)

    def counts(self) -> Counts:
        """Return the state of the account."""
        return self.ledger.counts(self.account)

    def free(self, images: Tensor, *, occasion: int = 0) -> list[bool]:
        """Return for each input whether `ask` would charge nothing for it: it was answered, or is paid for already."""
        keys = query_keys(hash_rows(images), occasion=occasion, replay=self.replay)
        return self.ledger.free(self._number, keys)

    def ask(self, images: Tensor, *, occasion: int = 0) -> Float[Tensor, "b e"]:
        """Return the answers to inputs, from file where they were answered before.

        Args:
            images: float32 in [0, 1], on any device. Shape (b, *input_shape).
            occasion: which of several times the same images are asked about, such as the step of a run; matters
                without `replay` alone.

        Returns:
            Answers as they leave the endpoint, float32 on the CPU. Shape (b, e).

        Raises:
            ShapeError, DataError: the inputs are none; nothing was reserved.
            BudgetExhausted: the budget ran out, after `answered` rows of this request; they are on file.
            TargetError: the target failed or answered what cannot be used. What was answered before is on file, and
                asking again pays for nothing twice.
            StorageError: an answer could not be put on file.
        """
        check_images(images, self.target)
        inputs = hash_rows(images)
        keys = query_keys(inputs, occasion=occasion, replay=self.replay)
        if self.over_budget == "refuse":
            self.ledger.hold(self._number, keys, inputs)
        answers = torch.empty(len(images), self.width)
        for start in range(0, len(images), self._batch_rows):
            if asked_to_stop():
                raise Interrupted
            piece = slice(start, start + self._batch_rows)
            granted = self._ask_piece(images[piece], keys[piece], inputs[piece], answers[piece])
            if granted < len(keys[piece]):
                raise self._exhausted(start + granted, len(images))
        return answers

    def _ask_piece(self, images: Tensor, keys: list[bytes], inputs: list[bytes], out: Tensor) -> int:
        """Fill `out` with as many answers as the budget allows, and return their number."""
        for attempt in range(self._retries + 1):
            grant = self.ledger.reserve(self._number, keys, inputs)
            if not grant.send:
                _fill(out, grant.filed, grant.repeats)
                return grant.granted
            try:
                raw = self.target.answer(_take(images, grant.send))
            except UnderstudyError:  # it says what is wrong, and asking again would not change it
                self.ledger.fail(grant)
                raise
            except Exception as error:
                if not _may_have_answered(error):
                    self.ledger.fail(grant)
                if attempt == self._retries:
                    raise self._failed(error) from error
                time.sleep(min(self._retry_wait_s * 2**attempt, _LONGEST_WAIT_S))
                continue
            with self._defending:  # what the defences know of the client grows by one request after the other
                rows = self._leaving(raw, grant)
                earlier = self.ledger.commit(grant, encode_answers(rows), self._client.memory)
            out[list(grant.send)] = rows
            _fill(out, grant.filed | earlier, grant.repeats)
            return grant.granted
        raise AssertionError("a last attempt returns or raises")

    def _leaving(self, raw: object, grant: Grant) -> Float[Tensor, "b e"]:
        """Return what leaves the endpoint in the place of raw answers; they are as good as lost if it cannot."""
        try:
            rows = check_answers(raw, len(grant.send), self.target)
            if self.normalise:
                rows = functional.normalize(rows, dim=1)
            for defence in self.defences:
                rows = defence.transform(rows, keys=draw_keys(grant.keys), client=self._client)
        except Exception:
            self.ledger.fail(grant)
            raise
        return rows

    def _exhausted(self, answered: int, rows: int) -> BudgetExhausted:
        budget = self.ledger.budget(self.account)
        return BudgetExhausted(
            f"the budget of {budget} queries ({self.account}) is used up: {answered} of {rows} rows of this request "
            "were answered",
            answered=answered,
            where=self.ledger.path,
            fix="raise the budget; what was answered is on file",
        )

    def _failed(self, error: Exception) -> TargetError:
        return TargetError(
            f"the target failed {self._retries + 1} times in a row: {type(error).__name__}: {error}",
            where=self.target.name,
            fix="mend it, and run the same command again; what was answered is on file and is not paid for twice",
        )


def _may_have_answered(error: Exception) -> bool:
    """Return whether nobody knows if the request was answered: it took too long, or the line broke.

    Client libraries have time-outs of their own that are no `TimeoutError`; their names tell.
    """
    return isinstance(error, TimeoutError | ConnectionError) or "timeout" in type(error).__name__.lower()


def _check_options(
    target: Target, ledger: Ledger, normalise: bool, batch_rows: int, retries: int, retry_wait_s: float
) -> None:
    if (ledger.target, ledger.width) != (target.identity, target.width):
        raise ConfigError(
            f"the ledger is of target {ledger.target} with {ledger.width} numbers an answer, "
            f"and {target.name} is {target.identity} with {target.width}",
            where=ledger.path,
        )
    if normalise and target.access is not Access.EMBEDDINGS:
        raise ConfigError(f"{target.name} gives {target.access.value}, and only embeddings are normalised")
    if batch_rows < 1 or retries < 0 or not 0 <= retry_wait_s < float("inf"):
        raise ConfigError(
            f"batch_rows {batch_rows}, retries {retries}, retry_wait_s {retry_wait_s}",
            expected="1 or more rows, 0 or more retries, 0 or more seconds",
        )


def _terms(defences: Sequence[Defence], normalise: bool, seed: int) -> str:
    """Return all that decides the answers beside the target; the seed only where a defence depends on it."""
    personal = any(defence.personal for defence in defences)
    form = "unit" if normalise else "raw"
    return f"{form} answers, defences {describe(defences)}" + (f", client {seed}" if personal else "")


def _take(images: Tensor, positions: Sequence[int]) -> Tensor:
    return images if len(positions) == len(images) else images[list(positions)]


def _fill(out: Tensor, filed: dict[int, bytes], repeats: dict[int, int]) -> None:
    if filed:
        out[list(filed)] = decode_answers(list(filed.values()), out.shape[1])
    if repeats:
        out[list(repeats)] = out[list(repeats.values())]
