"""The `statistics` command: a data set's own split as an .npz of moments, or of pictures, that others read too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.text import Text

from ..results.display import printable
from ..results.errors import UserError, unknown
from ..tasks.nets import nets
from ..tokenizers.spec import Modality
from .datasets import default_cache, open_dataset
from .datasets.config import DataConfig, signal_spec
from .imports import load_imports
from .kinds.reference import Waveforms
from .progress import StderrConsole
from .suite import Suite, load_suite

_BATCH = 64


def write_statistics(
    suite: str | Path | Mapping[str, Any],
    sets: Sequence[str] = (),
    *,
    data: str | None = None,
    split: str = "val",
    net: str = "inception",
    pictures: bool = False,
    device: str = "cpu",
    out: Path,
    imports: Sequence[str] = (),
) -> str:
    """Write `out`: mean and covariance of the features of a suite's data set, cropped and rounded as the suite has it,
    or with `pictures` the pictures themselves. Returns a line about it.

    Raises UserError for unknown names, weights that are absent, and what can't be read or written.
    """
    load_imports(imports)
    config = _chosen(load_suite(suite, sets), data)
    if out.suffix != ".npz":
        raise UserError(f"--out {out}: expected a name that ends in .npz")
    if pictures and config.modality is not Modality.IMAGE:
        raise UserError(f"--pictures: {printable(config.label)} holds {config.modality.value}s; arr_0 is of pictures")
    if not pictures:
        nets.get(net, where="--net").check(signal_spec(config), where="--net")
    return _write(config, split, net, pictures, device, out)


def _chosen(suite: Suite, label: str | None) -> DataConfig:
    labels = [data.label for data in suite.data]
    if label is None and len(labels) > 1:
        raise UserError(f"--data: {suite.where} has several data sets; choose one of {', '.join(labels)}")
    if label is not None and label not in labels:
        raise unknown("data set", label, labels, where="--data")
    return suite.data[0 if label is None else labels.index(label)]


def _write(config: DataConfig, split: str, net: str, pictures: bool, device: str, out: Path) -> str:
    import numpy as np
    import torch

    from ..tasks.features import collect
    from ..tasks.interface import batches
    from ..tasks.metrics.frechet import Gaussian
    from ..tasks.metrics.psnr import to_uint8
    from ..tasks.statistics_file import write_moments, write_pictures

    with StderrConsole().status(Text(f"reading {printable(config.label)}")):
        dataset = open_dataset(config, cache=default_cache())
        read = dataset.train if split == "train" else dataset.val
        if len(read) < 2:
            raise UserError(f"--split {split}: {printable(config.label)} has {len(read)} samples in it, 2 are needed")
        place = torch.device(device)
        if pictures:
            parts = [to_uint8(x).permute(0, 2, 3, 1).numpy() for x in batches(read, _BATCH, torch.device("cpu"))]
            shown = np.concatenate(parts)
            write_pictures(out, np.repeat(shown, 3, axis=3) if shown.shape[3] == 1 else shown)
            return f"{out}: arr_0, {len(read)} pictures of {printable(config.label)}, {split}"
        loaded = nets.get(net)().load(dataset.signal, place)
        source = Waveforms(read) if loaded.reads == "waveform" else read
        gaussian = Gaussian(loaded.dim)
        for batch in batches(source, _BATCH, place):
            gaussian.update(collect(loaded, [batch]))
    write_moments(
        out,
        mu=gaussian.mean.numpy(),
        sigma=gaussian.covariance.numpy(),
        n=gaussian.n,
        net=loaded.name,
        protocol=loaded.protocol,
    )
    return f"{out}: mu and sigma of {gaussian.n} samples of {printable(config.label)}, {split}, under {loaded.name}"
