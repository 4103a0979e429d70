"""An encoder and a decoder as ONNX graphs, run by onnxruntime on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...results.errors import UserError
from .pair_config import ONNXConfig
from .python import ObjectAdapter

_TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
}


class _Pair:
    """Two sessions as one object. A graph exported for a batch of one is run sample by sample."""

    def __init__(self, encoder: str, decoder: str) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self._sessions = []
        for path in (encoder, decoder):
            session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            if len(session.get_inputs()) != 1:
                names = ", ".join(item.name for item in session.get_inputs())
                raise UserError(f"{path}: takes {names}; an encoder or decoder takes one tensor")
            self._sessions.append(session)

    def encode(self, signal: Tensor) -> Tensor:
        """The first output of the encoder's graph."""
        return _run(self._sessions[0], signal)

    def decode(self, latents: Tensor) -> Tensor:
        """The first output of the decoder's graph."""
        return _run(self._sessions[1], latents)


def _run(session: Any, tensor: Tensor) -> Tensor:
    (source,) = session.get_inputs()
    output = session.get_outputs()[0].name
    array = tensor.detach().cpu().numpy().astype(_TYPES.get(source.type, np.float32))
    single = isinstance(source.shape[0], int) and source.shape[0] == 1 and len(array) > 1
    batches = np.split(array, len(array)) if single else [array]
    results = [torch.from_numpy(session.run([output], {source.name: batch})[0]) for batch in batches]
    return torch.cat(results).to(tensor.device)


class ONNXAdapter(ObjectAdapter):
    """The pair, with what the user's spec says of it."""

    def __init__(self, config: ONNXConfig) -> None:
        table = config.spec if isinstance(config.spec, dict) else {}
        super().__init__(_Pair(config.files["encoder"], config.files["decoder"]), table, "ONNX")
