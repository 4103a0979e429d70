"""The source "torchvision:<Dataset>": an image data set of torchvision that the user has downloaded. Never downloads.

The class's own training and test splits are used where it has them. Nothing needs torch until samples are read.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from ...results.errors import UserError, unknown
from ...tokenizers.spec import Modality
from .config import DataConfig, require_path
from .file_table import hash_files
from .files import find_folder, list_files
from .source import Changed, Item, Progress, Skip, SourceReader, silent

# Where under the root a class keeps its files, so that the other contents of a shared root do not matter.
_PLACES: dict[str, tuple[str, ...]] = {
    "CIFAR10": ("cifar-10-batches-py/",),
    "CIFAR100": ("cifar-100-python/",),
    "DTD": ("dtd/",),
    "EMNIST": ("EMNIST/",),
    "EuroSAT": ("eurosat/",),
    "FGVCAircraft": ("fgvc-aircraft-2013b/",),
    "FashionMNIST": ("FashionMNIST/",),
    "Flowers102": ("flowers-102/",),
    "Food101": ("food-101/",),
    "KMNIST": ("KMNIST/",),
    "MNIST": ("MNIST/",),
    "OxfordIIITPet": ("oxford-iiit-pet/",),
    "STL10": ("stl10_binary/",),
    "SVHN": ("train_32x32.mat", "test_32x32.mat", "extra_32x32.mat"),
}


# Classes that unpickle a file of their own making beside the data without a check: whoever can write there runs code.
_UNPICKLING = {"LSUN", "LSUNClass"}


class TorchvisionSource:
    """The data source "torchvision"."""

    version: ClassVar[int] = 2

    def content(self, config: DataConfig, *, cache: Path, progress: Progress = silent) -> str:
        """A hash over the names and contents of the class's files. Raises UserError when there are none."""
        name = _class_name(config)
        root = Path(require_path(config)).expanduser()
        places = _PLACES.get(name, ("",))
        files = (
            [file for file in list_files(find_folder(str(root)))[0] if file.startswith(places)] if root.is_dir() else []
        )
        if not files:
            raise _absent(config, f"no files under {root}")
        hashes, _ = hash_files(root, files, cache=cache, progress=progress)
        digest = hashlib.sha256()
        for file in sorted(hashes):
            digest.update(f"{file} {hashes[file].digest}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def read(self, config: DataConfig, *, cache: Path, progress: Progress = silent) -> SourceReader:
        """Every image of the class, capped by `samples` and `val` with a seeded choice."""
        splits = _open(config)
        chosen = {split: _choice(config, split, len(data)) for split, data in splits.items()}
        classes = getattr(next(iter(splits.values())), "classes", ())

        def items() -> Iterator[Item]:
            for split, data in splits.items():
                for index in chosen[split]:
                    yield _item(config, split, data, int(index))

        return SourceReader(
            items=items(),
            total=sum(len(indices) for indices in chosen.values()),
            classes=tuple(str(c[0] if isinstance(c, tuple) else c) for c in classes),
        )


def _class_name(config: DataConfig) -> str:
    if config.modality is not Modality.IMAGE:
        raise UserError(f"data.source: {config.source!r} gives images; for other modalities use source 'folder'")
    name = config.source.partition(":")[2]
    known = _known()
    if name not in known:
        raise unknown("torchvision data set", name, known, where="data.source")
    if name in _UNPICKLING:
        raise UserError(f"data.source: {name} unpickles an unchecked file, which may run any code; use source 'folder'")
    return name


def _known() -> list[str]:
    """The names that torchvision.datasets exports, read from its source: importing it takes seconds."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        raise UserError("data.source: torchvision is not installed")
    tree = ast.parse((Path(spec.origin).parent / "datasets" / "__init__.py").read_text())
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == "__all__":
            return [name for name in ast.literal_eval(node.value) if name not in ("VisionDataset", "FakeData")]
    return []


def _open(config: DataConfig) -> dict[Literal["train", "val"] | None, Any]:
    """The class's instances by split; one under None when it has no splits of its own."""
    import torchvision.datasets

    kind = getattr(torchvision.datasets, _class_name(config))
    options = inspect.signature(kind).parameters
    fixed: dict[str, Any] = {"root": str(Path(require_path(config)).expanduser())}
    if "download" in options:
        fixed["download"] = False
    if "train" in options:
        return {
            "train": _make(config, kind, {**fixed, "train": True}),
            "val": _make(config, kind, {**fixed, "train": False}),
        }
    for key in ("split", "image_set"):
        if key in options:
            train = _make(config, kind, {**fixed, key: "train"})
            for name in ("test", "val", "valid"):
                try:
                    return {"train": train, "val": kind(**fixed, **{key: name})}
                except (ValueError, RuntimeError, FileNotFoundError):
                    continue
    return {None: _make(config, kind, fixed)}


def _make(config: DataConfig, kind: type, options: dict[str, Any]) -> Any:
    try:
        return kind(**options)
    except (RuntimeError, OSError, ValueError, TypeError) as error:
        raise _absent(config, str(error).splitlines()[0][:120]) from None


def _absent(config: DataConfig, reason: str) -> UserError:
    name = config.source.partition(":")[2]
    return UserError(
        f"data.path: {name} is not there ({reason}); get it once in Python: "
        f"torchvision.datasets.{name}({config.path!r}, download=True), where the class can download"
    )


def _choice(config: DataConfig, split: Literal["train", "val"] | None, count: int) -> np.ndarray:
    """Which samples are read, in order. Without splits of its own, a set is shuffled: its first items validate."""
    order = np.random.default_rng([config.seed, 1]).permutation(count)
    if split is None:
        return order
    number = config.samples if split == "train" else config.val
    if isinstance(number, float):
        number = max(1, round(number * count))
    return np.sort(order[:number])


def _item(config: DataConfig, split: Literal["train", "val"] | None, data: Any, index: int) -> Item:
    from .complaints import complaint
    from .image_file import flatten_image, pixels_of
    from .images import cut_image

    name = f"{split or 'all'}[{index}]"
    try:
        image, target = data[index][:2]
    except (OSError, RuntimeError, ValueError, SyntaxError) as error:
        return Item(name=name, blocks=_raising(complaint(error, "image")), split=split)
    pixels = pixels_of(image)

    def blocks() -> Iterator[np.ndarray]:
        yield cut_image(flatten_image(pixels), config, np.random.default_rng([config.seed, 2, index]))

    return Item(name=name, blocks=blocks(), label=int(target) if isinstance(target, int) else None, split=split)


def _raising(reason: Skip | Changed) -> Iterator[np.ndarray]:
    raise reason
    yield
