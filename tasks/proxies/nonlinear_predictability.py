"""What the causal neighbours of a position tell of it, by a small network: usable information beyond the linear fit.

Shape legend: N samples, C channels, P positions, *grid the axes of a latent.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ...results.metric import Metric
from ...tokenizers.optimisers import Adam
from ..metrics.balls import evenly
from ..metrics.jackknife import of_sums
from .interface import NORMALISED, Proxy, ProxyInput, Value, metric, sums_by_group
from .predictability import causal_offsets, neighbourhoods

HIDDEN = 64
STEPS = 300
VALUES = 1 << 22  # neighbours' values that are read: beyond, fewer samples are
_BATCH = 1024
_EVERY = 50
_RIDGE = 1e-3
_LARGEST = 2048
_LEAST = 40


class CausalNet(nn.Module):
    """A linear map plus two hidden layers of 64 whose output starts at 0, so that it starts at the linear fit."""

    def __init__(self, linear: Tensor) -> None:
        """From the fit's weights `[1 + inputs, C]`, the intercept first."""
        super().__init__()
        inputs, outputs = linear.shape[0] - 1, linear.shape[1]
        self.linear = nn.Linear(inputs, outputs)
        self.linear.weight.data.copy_(linear[1:].t())
        self.linear.bias.data.copy_(linear[0])
        last = nn.Linear(HIDDEN, outputs)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.rest = nn.Sequential(nn.Linear(inputs, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, HIDDEN), nn.GELU(), last)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) + self.rest(x)


def pairs(z: Tensor) -> tuple[Tensor, Tensor]:
    """`[N, C, *grid]` to the causal neighbours' values with a mark of each that lies inside, `[N, P, (C + 1) x
    neighbours]`, and to the positions' own, `[N, P, C]`."""
    rows = neighbourhoods(torch.cat([z, torch.ones_like(z[:, :1])], dim=1))
    channels = z.shape[1]
    return rows[..., channels + 1 :], rows[..., :channels]


def ridge(x: Tensor, y: Tensor) -> Tensor:
    """Weights `[1 + inputs, C]` of y on x, the intercept first."""
    x = torch.cat([torch.ones_like(x[:, :1]), x], dim=1).double()
    gram = x.t() @ x
    gram.diagonal()[1:] += _RIDGE * len(x)
    return torch.linalg.solve(gram + 1e-9 * len(x) * torch.eye(len(gram)), x.t() @ y.double()).float()


def fitted_net(x: Tensor, y: Tensor, other_x: Tensor, other_y: Tensor) -> CausalNet:
    """The network after that number of steps (0: the linear fit) at which the other rows' squared error is least."""
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        net = CausalNet(ridge(x, y))
        optimiser = Adam(net.parameters(), lr=3e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
        best, state = math.inf, net.state_dict()
        for step in range(STEPS + 1):
            if step % _EVERY == 0:
                with torch.no_grad():
                    error = float((net(other_x) - other_y).square().mean())
                if error < best:
                    best, state = error, {name: tensor.clone() for name, tensor in net.state_dict().items()}
            rows = torch.randint(len(x), (_BATCH,))
            loss = (net(x[rows]) - y[rows]).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    net.load_state_dict(state)
    return net


def error_sums(z: Tensor) -> Tensor:
    """Each held-out sample's positions, Σ own values, Σ squares and Σ squared errors by channel: `[n, 4, C]`.

    Three of every five samples are fitted, one says how long to train, one is held out.
    """
    x, y = pairs(z)
    part = torch.arange(len(z)) % 5
    fit, choose, held_out = part < 3, part == 3, part == 4
    net = fitted_net(x[fit].flatten(0, 1), y[fit].flatten(0, 1), x[choose].flatten(0, 1), y[choose].flatten(0, 1))
    with torch.no_grad():
        own, error = y[held_out].double(), (net(x[held_out]).double() - y[held_out]).square().sum(1)
    return torch.stack([torch.full_like(error, y.shape[1]), own.sum(1), own.square().sum(1), error], dim=1)


def information_bits(sums: Tensor) -> float:
    """Mean over channels of ½ log2 1/(1 - R²) from sums over samples `[4, C]`; 0 where the mean does as well."""
    n, first, second, error = sums
    ratio = (error / (second - first.square() / n)).clamp(1e-12, 1)
    return float((-0.5 * ratio.log2()).mean())


class NonlinearPredictability(Proxy):
    """See `NonlinearPredictabilityConfig`."""

    def metrics(self, latents: ProxyInput) -> tuple[Metric, ...]:
        z = latents.normalised
        value: Value = None
        offsets = len(causal_offsets(tuple(z.shape[2:])))
        if z.numel() and len(z) >= _LEAST and 0 < z.shape[1] * offsets <= _LARGEST:
            size = (z.shape[1] + 1) * offsets * z[0, 0].numel()
            z = z[evenly(len(z), max(_LEAST, VALUES // size))]
            value = of_sums(sums_by_group(error_sums(z)), information_bits)
        protocol = (
            f"mean over channels of ½ log2 1/(1 - R²), a linear fit and a network of 2 x {HIDDEN} ({STEPS} steps of "
            f"{_BATCH}) on causal neighbours in raster order, R² held out (1/5 of samples); {NORMALISED}"
        )
        return (metric("causal_information_mlp", value, latents, direction="higher", unit="bit", protocol=protocol),)
