"""How many values or codes a latent has per position: as told, or solved for a TSR or a bitrate. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..results.errors import UserError
from .bottlenecks.config import BOTTLENECKS, BottleneckConfig
from .geometry import Layout, require_kbps, require_tsr, solve_kbps, solve_tsr
from .part import read_part
from .spec import LatentGrid, SignalSpec


def sized_bottleneck(
    options: Mapping[str, Any], signal: SignalSpec, layout: Layout, features: int, *, at: Callable[[str], str]
) -> tuple[BottleneckConfig, int]:
    """The bottleneck of a tokenizer's `options` and the latent's channels, with a `tsr` or `kbps` solved for whichever
    of them it decides. Raises UserError at the option, whose path `at` gives."""
    tsr, kbps, channels = (options.get(key) for key in ("tsr", "kbps", "channels"))
    for key, value, kinds, what in (
        ("tsr", tsr, int | float, "a number > 0"),
        ("kbps", kbps, int | float, "a number > 0"),
        ("channels", channels, int, "a whole number >= 1"),
    ):
        if value is not None and (isinstance(value, bool) or not isinstance(value, kinds) or value <= 0):
            raise UserError(f"{at(key)}: expected {what}, got {value!r}")
    if kbps is not None and tsr is not None:
        raise UserError(f"{at('kbps')}: a bitrate or a tsr, not both")
    sizing = _Sizing(options.get("bottleneck", {}), signal, layout, at("bottleneck"))
    bottleneck = sizing.read()
    try:
        if kbps is None:
            bottleneck, channels = sizing.of_tsr(tsr, bottleneck, channels, features)
        else:
            bottleneck, channels = sizing.of_bitrate(kbps, bottleneck, channels)
    except ValueError as error:
        raise UserError(f"{at('tsr' if kbps is None else 'kbps')}: {error}") from None
    if channels is None:
        needs = "channels or a tsr" if kbps is None else "channels"
        raise UserError(f"{at('channels')}: missing; {bottleneck.kind!r} needs {needs}")
    return bottleneck, channels


@dataclass(frozen=True)
class _Sizing:
    """A bottleneck's table, the signal and the layout of its latent. Its methods give the bottleneck and the channels,
    None where nobody says how many, and raise ValueError for a rate that can't be."""

    table: Any
    signal: SignalSpec
    layout: Layout
    where: str

    def read(self, changes: Mapping[str, Any] | None = None) -> BottleneckConfig:
        table = {**self.table, **changes} if changes else self.table
        return read_part(BottleneckConfig, BOTTLENECKS, table, where=self.where)

    @property
    def place(self) -> str:
        return f"at {'x'.join(map(str, self.layout.shape))} positions"

    def solvable(self, bottleneck: BottleneckConfig) -> str | None:
        """The option that is the number of codes per position, unless it is told."""
        return None if bottleneck.tsr_option in self.table else bottleneck.tsr_option

    def of_tsr(
        self, tsr: float | None, bottleneck: BottleneckConfig, channels: int | None, features: int
    ) -> tuple[BottleneckConfig, int | None]:
        if tsr is None:
            return bottleneck, channels or bottleneck.default_channels()
        discrete = bool(bottleneck.codebook_sizes(channels or bottleneck.default_channels() or 1))
        option = self.solvable(bottleneck)
        if discrete and option is not None:
            bottleneck = self.read({option: solve_tsr(tsr, self.signal, self.layout, what=option)})
        elif not discrete and channels is None:
            limit = features if bottleneck.projects else None
            channels = solve_tsr(tsr, self.signal, self.layout, what="channels", limit=limit)
        channels = channels or bottleneck.default_channels()
        if channels is not None:
            grids = bottleneck.grids(self.layout, channels)
            codes = sum(grid.heads for grid in grids)
            what = f"{codes} code{'s' * (codes > 1)} per position" if discrete else f"channels = {channels}"
            require_tsr(tsr, self.signal, sum(grid.elements for grid in grids), why=f"{what} {self.place}")
        return bottleneck, channels

    def of_bitrate(
        self, kbps: float, bottleneck: BottleneckConfig, channels: int | None
    ) -> tuple[BottleneckConfig, int | None]:
        option = self.solvable(bottleneck)
        if option is not None:

            def grids_of(codes: int) -> Sequence[LatentGrid]:
                one = self.read({option: codes})
                return one.grids(self.layout, channels or one.default_channels() or 1)

            bottleneck = self.read({option: solve_kbps(kbps, self.signal, grids_of, what=option)})
        channels = channels or bottleneck.default_channels()
        grids = bottleneck.grids(self.layout, channels or 1)
        require_kbps(kbps, self.signal, grids, why=f"its codes {self.place}")
        return bottleneck, channels
