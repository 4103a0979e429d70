"""Files of reference statistics as pytorch-fid and ADM's evaluator exchange them: an .npz of moments, or of pictures.

pytorch-fid's holds `mu` `[D]` and `sigma` `[D, D]` of FID's Inception. ADM's reference batches hold these of the whole
training set, `mu_s` and `sigma_s` of sFID's spatial features, row by row of their maps, and `arr_0`, uint8 pictures
`[N, H, W, 3]`. Ours also say which net they are of (`net`, `protocol`) and of how many signals (`n`). Pickled arrays
are never read. No torch.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from ..results.errors import UserError
from ..results.output_file import output_file

# The nets whose moments a file holds that does not say so.
FID_NETS = ("inception", "fidelity:inception-v3-compat")
SPATIAL_NET = "inception_spatial"
EXTERNAL = "external"  # the split of such a reference
_TEXT = ("net", "protocol")


@dataclass(frozen=True, kw_only=True)
class StatisticsFile:
    """What an .npz of statistics holds, by its headers: the lengths of `mu` and `mu_s` (0: no moments), the shape of
    `arr_0` (empty: no pictures); `net` and `protocol` are "" and `n` is 0 where it does not say."""

    path: Path
    dim: int = 0
    spatial_dim: int = 0
    pictures: tuple[int, ...] = ()
    net: str = ""
    protocol: str = ""
    n: int = 0

    @classmethod
    def inspect(cls, path: str | Path, *, where: str = "") -> StatisticsFile:
        """Reads no more than headers and a few words. Raises UserError for what is no such file, and for pickles."""
        path, prefix = Path(path).expanduser(), f"{where}: " if where else ""
        if not path.is_file():
            raise UserError(f"{prefix}{path}: no such file; expected an .npz of mu and sigma, or of arr_0")
        if not zipfile.is_zipfile(path):
            raise UserError(f"{prefix}{path}: not an .npz file")
        try:
            with zipfile.ZipFile(path) as archive:
                names = [name for name in archive.namelist() if name.endswith(".npy")]
                headers = {name.removesuffix(".npy"): _header(archive.open(name)) for name in names}
        except (ValueError, OSError, zipfile.BadZipFile, EOFError) as error:
            raise UserError(f"{prefix}{path}: not a readable .npz file ({_brief(error)})") from None
        pickled = [name for name, (_, dtype) in headers.items() if dtype.hasobject]
        if pickled:
            raise UserError(
                f"{prefix}{path}: {pickled[0]} is a pickled array, which could run code and is not read; save it again "
                "as numbers"
            )
        shapes = {name: shape for name, (shape, _) in headers.items()}
        dim, spatial_dim, pictures = _checked(shapes, headers, f"{prefix}{path}")
        words = _read(path, [name for name in (*_TEXT, "n") if name in shapes])
        return cls(
            path=path,
            dim=dim,
            spatial_dim=spatial_dim,
            pictures=pictures,
            net=str(words.get("net", "")),
            protocol=str(words.get("protocol", "")),
            n=int(words.get("n", 0)),
        )

    def unsupported_reason(self, net: str, dim: int) -> str | None:
        """Why it is no reference for the features of length `dim` of the net of this name; None where it is one."""
        if self.has_moments_of(net):
            name, length = ("mu_s", self.spatial_dim) if self._spatial(net) else ("mu", self.dim)
            return None if length == dim else f"its {name} has {length} numbers, and {net} has {dim} features"
        if self.pictures:
            return None
        of = self.net or "FID's Inception"
        return f"it holds moments of {of} alone, and none of {net}"

    def has_moments_of(self, net: str) -> bool:
        """Whether its moments are those of this net's features."""
        return self._spatial(net) or (bool(self.dim) and (net == self.net or (not self.net and net in FID_NETS)))

    def moments(self, net: str = "") -> tuple[np.ndarray, np.ndarray]:
        """`mu` `[D]` and `sigma` `[D, D]`, float64; for sFID's net `mu_s` and `sigma_s`. Raises UserError where they
        are not finite."""
        names = ["mu_s", "sigma_s"] if self._spatial(net) else ["mu", "sigma"]
        arrays = _read(self.path, names)
        mu, sigma = (arrays[name].astype(np.float64) for name in names)
        if not (np.isfinite(mu).all() and np.isfinite(sigma).all()):
            raise UserError(f"{self.path}: {names[0]} or {names[1]} hold values that are not finite")
        return mu, sigma

    def _spatial(self, net: str) -> bool:
        return net == SPATIAL_NET and bool(self.spatial_dim)

    def images(self) -> np.ndarray:
        """`arr_0` `[N, H, W, 3]` uint8."""
        return _read(self.path, ["arr_0"])["arr_0"]


def write_moments(path: Path, *, mu: np.ndarray, sigma: np.ndarray, n: int, net: str, protocol: str) -> None:
    """An .npz with `mu` and `sigma` that pytorch-fid reads too. Raises UserError when it can't be written."""
    _write(path, {"mu": mu, "sigma": sigma, "n": np.array(n), "net": np.array(net), "protocol": np.array(protocol)})


def write_pictures(path: Path, pictures: np.ndarray) -> None:
    """An .npz with `arr_0`, uint8 `[N, H, W, 3]`, of which ADM's evaluator takes all it needs. Raises UserError."""
    _write(path, {"arr_0": pictures})


def _write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    with output_file(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def _read(path: Path, names: list[str]) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in names}
    except (ValueError, OSError, zipfile.BadZipFile, EOFError) as error:
        raise UserError(f"{path}: not a readable .npz file ({_brief(error)})") from None


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    with file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
        return shape, dtype


def _checked(
    shapes: Mapping[str, tuple[int, ...]], headers: Mapping[str, tuple[tuple[int, ...], np.dtype]], where: str
) -> tuple[int, int, tuple[int, ...]]:
    """The lengths of mu and mu_s and the shape of arr_0. Raises UserError where there is neither mu nor arr_0, or where
    they are no such."""
    pictures: tuple[int, ...] = ()
    dim, spatial_dim = (_length_of(*names, shapes, where) for names in (("mu", "sigma"), ("mu_s", "sigma_s")))
    if "arr_0" in shapes:
        pictures = shapes["arr_0"]
        if len(pictures) != 4 or pictures[3] != 3 or headers["arr_0"][1] != np.uint8:
            shown = f"{headers['arr_0'][1]} {list(pictures)}"
            raise UserError(f"{where}: arr_0 must be uint8 pictures [N, H, W, 3], got {shown}")
    if not dim and not pictures:
        known = ", ".join(sorted(shapes)) or "nothing"
        raise UserError(f"{where}: holds {known}; expected mu and sigma, or arr_0")
    return dim, spatial_dim, pictures


def _length_of(mean: str, covariance: str, shapes: Mapping[str, tuple[int, ...]], where: str) -> int:
    if mean not in shapes and covariance not in shapes:
        return 0
    mu, sigma = shapes.get(mean, ()), shapes.get(covariance, ())
    if len(mu) != 1 or sigma != (mu[0], mu[0]):
        raise UserError(f"{where}: expected {mean} [D] and {covariance} [D, D], got {list(mu)} and {list(sigma)}")
    return mu[0]


def _brief(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
