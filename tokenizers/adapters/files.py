"""Where a tokenizer's files are: folders, hub names, single files; which of them are pickles; its licence. No torch."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ...results.errors import UserError

StoredType = Literal["float32", "float16", "bfloat16"]
PICKLES = (".bin", ".pth", ".pt", ".th", ".ckpt", ".pkl")
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_TYPES: dict[str, StoredType] = {"F16": "float16", "BF16": "bfloat16"}
_SNAPSHOT = re.compile(r"snapshots/([0-9a-f]{40})(?:/|$)")


def weights_file(path: str, *, trust_pickle: bool, where: str) -> Path:
    """The absolute path of one file of weights. Raises UserError where there is none, or for a pickle untrusted."""
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(f"{where}: no such file: {path}")
    refuse_pickle(file, trust_pickle=trust_pickle, where=where)
    return file.resolve()


def refuse_pickle(file: Path, *, trust_pickle: bool, where: str) -> None:
    """Raises UserError for weights that are a pickle, which can run code, unless the user trusts it."""
    if file.suffix in PICKLES and not trust_pickle:
        raise UserError(
            f"{where}: {file.name} is a pickle, which can run code when it is read; convert it to safetensors, or say "
            "that you trust it: --trust-pickle (trust_pickle = true)"
        )


def model_folder(
    path: str, *, allow_download: bool, revision: str, patterns: Sequence[str], where: str
) -> tuple[Path, dict[str, Any]]:
    """The folder with a model's config.json, and that file's content; a pipeline's folder has it in `vae`.

    A name of the hub is fetched where `allow_download` says so, at `revision`. Raises UserError.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        if not _HUB_NAME.fullmatch(path):
            raise UserError(f"{where}: no such folder: {path}")
        if not allow_download:
            cure = f"--allow-download fetches {path!r} from the Hugging Face hub"
            raise UserError(f"{where}: no such folder: {path}; {cure}, at a revision that is recorded")
        folder = _fetched(path, revision, patterns, where)
    for place in (folder, folder / "vae"):
        if (place / "config.json").is_file():
            try:
                config = json.loads((place / "config.json").read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise UserError(f"{where}: {place / 'config.json'}: {error}") from None
            if not isinstance(config, dict):
                raise UserError(f"{where}: {place / 'config.json'}: expected a table")
            return place.resolve(), config
    raise UserError(f"{where}: no config.json in {folder} (nor in its vae/)")


def _fetched(name: str, revision: str, patterns: Sequence[str], where: str) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise UserError(f"{where}: a name of the hub needs huggingface_hub: pip install huggingface_hub") from None
    try:
        return Path(snapshot_download(name, revision=revision or None, allow_patterns=list(patterns)))
    except Exception as error:
        cause = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{where}: {name} can't be fetched: {cause}") from error


def model_files(folder: Path, stem: str, *, trust_pickle: bool, where: str) -> dict[str, str]:
    """config.json and the weights `stem`.safetensors (or its shards, or a pickle that is trusted) by file name.

    Raises UserError where there are none.
    """
    files = {"config.json": str(folder / "config.json")}
    for name in (f"{stem}.safetensors", f"{stem}.safetensors.index.json", *_pickled(stem)):
        file = folder / name
        if not file.is_file():
            continue
        refuse_pickle(
            file.with_suffix("") if name.endswith(".index.json") else file, trust_pickle=trust_pickle, where=where
        )
        files[name] = str(file)
        if name.endswith(".index.json"):
            try:
                shards = sorted(set(json.loads(file.read_text())["weight_map"].values()))
            except (OSError, ValueError, KeyError, AttributeError) as error:
                raise UserError(f"{where}: {file}: not an index of weights ({error})") from None
            for shard in shards:
                if not (folder / shard).is_file():
                    raise UserError(f"{where}: {folder / shard}: missing, and {name} names it")
                files[shard] = str(folder / shard)
        return files
    raise UserError(f"{where}: no weights in {folder}: looked for {stem}.safetensors")


def _pickled(stem: str) -> tuple[str, ...]:
    base = "pytorch_model" if stem == "model" else stem
    return (f"{base}.bin", f"{base}.bin.index.json")


def weights_of(files: Mapping[str, str]) -> Path:
    """The one file of weights among `files`. Raises UserError where they are in several."""
    paths = [Path(path) for name, path in files.items() if name != "config.json"]
    if len(paths) != 1:
        raise UserError(f"{paths[0].parent}: its weights are in several files; join them in one")
    return paths[0]


def stored_type(files: dict[str, str]) -> StoredType:
    """The type that weights are stored in: of the first floating-point tensor of a safetensors file."""
    for name, path in files.items():
        if name.endswith(".safetensors"):
            with open(path, "rb") as file:
                header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
            kinds = [entry.get("dtype", "") for entry in header.values()]
            return next((_TYPES.get(kind, "float32") for kind in kinds if "F" in kind), "float32")
    return "float32"


def revision_of(files: dict[str, str]) -> str:
    """The hub's revision that the files are of, "" where they did not come from there."""
    match = next((m for path in files.values() if (m := _SNAPSHOT.search(path))), None)
    return match[1] if match else ""


def licence_of(folder: Path, config: dict[str, Any]) -> str:
    """The licence that a model's card or configuration names, "" where neither does."""
    for place in (folder, folder.parent):
        card = place / "README.md"
        if card.is_file():
            head = card.read_text(encoding="utf-8", errors="replace")[:4000]
            match = re.search(r"^license(?:_name)?:\s*(\S.*)$", head, re.MULTILINE)
            if head.startswith("---") and match:
                return match[1].strip()
    stated = config.get("license")
    return stated if isinstance(stated, str) else ""


def all_loaded(loaded: tuple[Any, Mapping[str, Any]], class_name: str) -> Any:
    """The model of what `from_pretrained` gave with its loading info.

    Raises UserError where tensors are left over, or have no weights: libraries warn, and go on with another model.
    """
    model, info = loaded
    for key, says in (
        ("unexpected_keys", "has no place for {}: its weights are of another architecture"),
        ("missing_keys", "finds no weights for {}, which would stay random"),
    ):
        names = sorted(info[key])
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise UserError(f"{class_name} {says.format(names[0] + more)}")
    return model
