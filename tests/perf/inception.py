"""Inception features a second: ours against torch-fidelity's, same weights, same images, interleaved in one run.

LATENTBENCH_WEIGHTS=<folder> python tests/perf/inception.py [images per batch] [rounds]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch

from latentbench.tasks.nets import nets
from latentbench.tasks.nets.resize import tf1_matrix, tf1_resize
from latentbench.tokenizers import weights
from latentbench.tokenizers.spec import Modality, SignalSpec

sys.path.append(str(Path(__file__).parent))  # with -P a script's folder is not on the path
from timing import interleaved


def main() -> None:
    """Print medians and ratios."""
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 8
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 7
    images = torch.randint(0, 256, (n, 3, 64, 64), dtype=torch.uint8)
    signal = images.float() / 127.5 - 1
    spec = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(64, 64))
    net = nets.get("inception")().load(spec, torch.device("cpu"))
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x
    except ImportError:
        print("torch-fidelity is not installed: nothing to compare with")
        return
    tensors = dict(weights.load(weights.require("inception")))
    tensors |= {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "inception.pth"
        torch.save(tensors, path)
        peer = FeatureExtractorInceptionV3("peer", ["2048"], feature_extractor_weights_path=str(path))
    matrix, large = tf1_matrix(64, 299), images.float()
    rows = {
        "features": (lambda: net(signal), lambda: peer(images)[0]),
        "resize to 299": (
            lambda: tf1_resize(large, matrix, matrix),
            lambda: interpolate_bilinear_2d_like_tensorflow1x(large, size=(299, 299), align_corners=False),
        ),
    }
    print(f"{n} images of 64 px a call, {rounds} rounds, {torch.get_num_threads()} threads; medians, images a second")
    with torch.inference_mode():
        for name, pair in rows.items():
            medians, values = interleaved(dict(zip(("ours", "theirs"), pair, strict=True)), rounds)
            error = float((values["ours"] - values["theirs"]).abs().max())
            ours, theirs = n / medians["ours"], n / medians["theirs"]
            print(
                f"{name:14} ours {ours:8.1f}  torch-fidelity {theirs:8.1f}  {ours / theirs:.2f}x  (max |d| {error:.1e})"
            )


if __name__ == "__main__":
    main()
