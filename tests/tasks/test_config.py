"""Options of the tasks are checked at the border."""

from __future__ import annotations

from typing import Any

import pytest

from latentbench.results.errors import UserError
from latentbench.tasks.config import GenerationConfig, ModelabilityConfig, ReconstructionConfig
from latentbench.tokenizers.validation import check


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (ReconstructionConfig, {"samples": -1}, "samples must be at least 0"),
        (ReconstructionConfig, {"batch_size": 0}, "batch_size must be at least 1"),
        (ReconstructionConfig, {"vocoder_iterations": 0}, "vocoder_iterations must be at least 1"),
        (ReconstructionConfig, {"keep": -1}, "keep must be at least 0"),
        (GenerationConfig, {"samples": 1}, "samples must be at least 2"),
        (GenerationConfig, {"batch_size": 0}, "batch_size must be at least 1"),
        (GenerationConfig, {"keep": -1}, "keep must be at least 0"),
        (GenerationConfig, {"vocoder_iterations": 0}, "vocoder_iterations must be at least 1"),
        (ModelabilityConfig, {"samples": -1}, "samples must be at least 0"),
    ],
)
def test_values_out_of_range(kind: type, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"^s.toml: task: {message}$"):
        check(kind, options, where="s.toml: task")


def test_a_choice_names_what_can_be_chosen() -> None:
    with pytest.raises(UserError, match=r"^task: reference: input should be 'train' or 'val', got \"test\"$"):
        check(GenerationConfig, {"reference": "test"}, where="task")


def test_keeping_no_pairs_is_as_before_there_was_the_choice() -> None:
    assert "keep" not in ReconstructionConfig().identity()
    assert ReconstructionConfig(keep=3).identity() == ReconstructionConfig().identity() | {"keep": 3}
