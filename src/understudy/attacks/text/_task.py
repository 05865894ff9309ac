"""One search on its way: what it waits for, what it has spent, and the record it ends with."""

import numpy as np
from jaxtyping import Float64

from understudy.attacks.text.base import Found, Record, Search, Sentence, Status
from understudy.attacks.text.budget import Budget
from understudy.attacks.text.words import Words


class Task:
    """The search of one sentence, driven by whoever scores texts.

    Args:
        sentence: the sentence.
        words: its words.
        search: the search, not yet begun: a sentence that is classified wrong at once is never searched.
        queries: the budget.
        classes: of the victim.
    """

    def __init__(self, sentence: Sentence, words: Words, search: Search, queries: int | None, classes: int) -> None:
        self.sentence = sentence
        self.wanted: list[str] = []
        """Texts that the search waits for; empty once it has ended."""
        self._words, self._search, self._classes = words, search, classes
        self._budget = Budget(queries)
        self._found: Found | None = None
        self._asked, self.wanted = self._budget.afford([sentence.text])
        self._begun = False

    def advance(self, probs: Float64[np.ndarray, "w c"]) -> None:
        """Take the probabilities of the wanted texts and run the search until it wants more, or to its end."""
        for text, row in zip(self.wanted, probs, strict=True):
            self._budget.remember(text, row)
        self.wanted = []
        if not self._begun and int(self._probs(self.sentence.text).argmax()) != self.sentence.label:
            self._search.close()
            self._found = Found(self._words)
        while self._found is None and not self.wanted:
            try:
                self._asked, self.wanted = self._budget.afford(self._step())
            except StopIteration as end:
                self._found = end.value

    def record(self, attack: str) -> Record:
        """Return the record of the search, which has ended.

        Raises:
            RuntimeError: the search ended with a text that it never asked about.
        """
        assert self._found is not None  # only ended searches have records
        found = self._found
        before, after = self._probs(self.sentence.text), self._probs(found.words.text)
        label = self.sentence.label
        status = self._status(before, after)
        return Record(
            attack=attack,
            row=self.sentence.row,
            text=self.sentence.text,
            attacked=found.words.text,
            label=label,
            status=status,
            queries=self._budget.spent,
            changed=self._words.changed(found.words),
            exhausted=self._budget.cut and status == "failed",
            no_candidates=found.no_candidates,
            score_before=1.0 - float(before[label]),
            score_after=1.0 - float(after[label]),
            predicted_before=int(before.argmax()),
            predicted_after=int(after.argmax()),
            context=self.sentence.context,
        )

    def _step(self) -> list[str]:
        if self._begun:
            return self._search.send(self._budget.answers(self._asked, self._classes))
        self._begun = True
        return next(self._search)

    def _status(self, before: Float64[np.ndarray, " c"], after: Float64[np.ndarray, " c"]) -> Status:
        if int(before.argmax()) != self.sentence.label:
            return "skipped"
        return "failed" if int(after.argmax()) == self.sentence.label else "success"

    def _probs(self, text: str) -> Float64[np.ndarray, " c"]:
        if not self._budget.knows(text):
            raise RuntimeError("a search ended with a text that it had not scored")
        probs: Float64[np.ndarray, " c"] = self._budget.answers([text], self._classes)[0]
        return probs
