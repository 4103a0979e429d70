"""What the tests of several auxiliary objectives share."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
from torch import Tensor

from latentbench.tokenizers.auxiliary.base import LossTerms, TrainingStep
from latentbench.tokenizers.composed import ComposedTokenizer

Observed = tuple[TrainingStep, LossTerms, Mapping[str, Tensor]]


@pytest.fixture
def observe() -> Callable[[ComposedTokenizer, str, Tensor], Observed]:
    """A function that makes one training step on signals: the step as the objective of a name saw it, the terms that
    the objective added, and the tokenizer's losses."""

    def run(tokenizer: ComposedTokenizer, name: str, x: Tensor) -> Observed:
        objective, observed = tokenizer.auxiliary_objectives[name], list[tuple[TrainingStep, LossTerms]]()
        original = objective.losses

        def spy(training_step: TrainingStep) -> LossTerms:
            observed.append((training_step, original(training_step)))
            return observed[-1][1]

        objective.losses = spy  # type: ignore[method-assign]
        losses = dict(tokenizer.losses(x, group="model", step=0, steps=1))
        del objective.losses
        return *observed[0], losses

    return run
