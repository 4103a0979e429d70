from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HIFIGAN: dict[str, Any] = {
    "model_in_dim": 24,
    "sampling_rate": 8000,
    "upsample_initial_channel": 16,
    "upsample_rates": [8, 8],
    "upsample_kernel_sizes": [16, 16],
    "resblock_kernel_sizes": [3],
    "resblock_dilation_sizes": [[1]],
    "initializer_range": 0.3,
}
UNIVNET: dict[str, Any] = {
    "num_mel_bins": 24,
    "model_in_channels": 4,
    "model_hidden_channels": 4,
    "kernel_predictor_hidden_channels": 4,
    "kernel_predictor_num_blocks": 1,
    "resblock_kernel_sizes": [3],
    "resblock_stride_sizes": [64],
    "resblock_dilation_sizes": [[1]],
}


@pytest.fixture
def save_vocoder(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """`(class_name, **options)`: the folder of a tiny vocoder of transformers with random weights."""
    transformers = pytest.importorskip("transformers")
    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()

    def save(class_name: str, **options: Any) -> Path:
        sizes = HIFIGAN if class_name == "SpeechT5HifiGan" else UNIVNET
        cls = getattr(transformers, class_name)
        cls(cls.config_class(**sizes | options)).save_pretrained(tmp_path / class_name)
        return tmp_path / class_name

    yield save
    transformers.logging.set_verbosity(before)
