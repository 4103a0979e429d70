"""A rectified flow of what the condition misses (diffusion decoder, B9). Its training may end with distillation
(few-step decoders, B10) or with mode seeking (B18).

DiTo (Chen et al. 2025, arXiv 2501.18593), SWYCC (Birodkar et al. 2024, arXiv 2409.02529) and epsilon-VAE (Zhao et al.
2024, arXiv 2410.04081) decode latents by a flow or diffusion that is trained on squared errors alone. Here the flow
refines the feed-forward decoder's output c, as in Whang et al. 2022 (arXiv 2112.02475): with the residual
u = (x - c) / s, s its running deviation, the path is y_t = (1 - t) u + t k e, the data at t = 0 and noise of deviation
k = `noise_std` at t = 1 (Liu et al. 2022, arXiv 2209.03003), and the sample is c + s y_0.

The network does not predict the whole velocity v = k e - u. For white u of variance 1 its best linear estimate is

    E[v | y_t] = a y_t,   a = (k^2 t - (1 - t)) / q,   q = Var y_t = (1 - t)^2 + k^2 t^2,

and the rest, v - a y_t = b f with b = k / sqrt(q), gives the target f = ((1 - t) e - k t u) / sqrt(q) of variance 1
(for k = 1 the trigonometric velocity of Salimans & Ho 2022, arXiv 2202.00512; the scaling is that of Karras et al.
2022, arXiv 2206.00364). The network reads y_t / sqrt(q) and predicts f; it starts at 0. So at t = 1, where q = k^2 and
a = b = 1, one step gives c - s f: at the start of training the condition itself, later the condition with its mean
correction (the least squared error). More steps give a sample; at the start of training that is the condition plus
white noise of the residual's size.

The loss is s^2 |v' - v|^2, on the signal's scale: at t = 1 it is the squared error of the one-step reconstruction, so
that it can be added to `l2` of the condition.

Shape legend: B batch, C channels, *signal the signal's axes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import pairwise

import torch
from torch import Tensor

from .. import ranks
from ..backbones.time import logit_normal_times, stratified_times
from ..spec import SignalSpec
from ..step_precision import step_precision
from .base import DiffusionDecoder
from .diffusion_config import FlowDecoderConfig
from .mode_seeking import sample_distance
from .unet import DecoderUNet

# Numbers of steps whose quality and latency are reported; with 0 the condition is decoded as it is.
POINTS = (0, 1, 2, 4, 8)
# Moving average and floor (60 dB below the signal) of the residual's deviation.
_DECAY, _FLOOR = 0.99, 1e-3
_SEED = 0


class FlowDecoder(DiffusionDecoder):
    """A rectified flow, and from `distill_start` on a student of few steps, which then decodes."""

    noise: Tensor
    scale: Tensor
    seen: Tensor

    def __init__(self, config: FlowDecoderConfig, signal: SignalSpec) -> None:
        super().__init__()
        self.config = config
        levels = config.levels(signal)
        self.net: DecoderUNet | None = DecoderUNet(config, levels, channels=signal.channels, reads_step_size=False)
        self.student: DecoderUNet | None = None
        if config.distilled:
            self.student = DecoderUNet(config, levels, channels=signal.channels, reads_step_size=True)
        # The same noise for all samples, so that the decoded signal depends on the latents alone.
        noise = torch.randn(1, signal.channels, *signal.shape, generator=torch.Generator().manual_seed(_SEED))
        self.register_buffer("noise", noise, persistent=False)
        self.register_buffer("scale", torch.zeros(()))
        self.register_buffer("seen", torch.zeros(()))
        self._square: Tensor | None = None

    def losses(self, signal: Tensor, condition: Tensor, *, step: int, steps: int) -> Mapping[str, Tensor]:
        """ "flow", and once distillation has begun "distillation": squared errors on the signal's scale.

        In mode-seeking post-training also "sample", the distance of a sample from its signal.
        """
        if self.net is None:
            raise ValueError("without its training modules the decoder can't be trained any further")
        config = self.config
        residual = signal - condition
        square = ranks.averaged(residual.detach().square().mean())
        if self.training:
            self._square = square
        scale = torch.where(self.seen > 0, self.scale, square.sqrt().clamp_min(_FLOOR))
        clean, noise = residual / scale, torch.randn_like(residual)
        t = self._times(len(signal), signal.device)
        noisy = self._path(clean, noise, t)
        error = self._raw(self.net, noisy, condition, t) - self._target(clean, noise, t)
        losses = {"flow": config.weight * self._error(error, t, scale)}
        if self.student is not None and step >= self._start(steps):
            error, t = self._student_error(self.student, clean.detach(), noise, condition.detach())
            losses["distillation"] = config.weight * self._error(error, t, scale)
        if self.freezes_encoder(step=step, steps=steps):
            losses["sample"] = config.seek_weight * sample_distance(self._seek(condition), signal)
        return losses

    def freezes_encoder(self, *, step: int, steps: int) -> bool:
        """In mode-seeking post-training."""
        return self.config.seek_start > 0 and step >= math.ceil(self.config.seek_start * steps)

    def sample(self, condition: Tensor, *, steps: int | None = None) -> Tensor:
        """`[B, C, *signal]` in `steps` equal steps from the fixed noise; 0 steps give the condition."""
        if steps == 0:
            return condition
        start = self.config.noise_std * self.noise.expand_as(condition)
        steps = steps or (self.config.student_steps if self.student is not None else self.config.steps)
        if self.student is not None:
            residual = integrate(self._student_velocity(self.student, condition), start, steps=steps)
        else:
            residual = integrate(self._flow_velocity(condition), start, steps=steps, solver=self.config.solver)
        return condition + self.scale * residual

    def operating_points(self) -> tuple[int, ...]:
        return POINTS

    @torch.no_grad()
    def after_step(self, *, step: int, steps: int) -> None:
        """Updates the residual's deviation; before distillation begins the student takes over the flow's weights."""
        if self._square is not None:
            decay = torch.clamp((1 + self.seen) / (10 + self.seen), max=_DECAY)
            square = torch.where(self.seen > 0, torch.lerp(self._square, self.scale.square(), decay), self._square)
            self.scale.copy_(square.sqrt().clamp_min(_FLOOR))
            self.seen += 1
            self._square = None
        if self.student is not None and self.net is not None and step + 1 == self._start(steps):
            self.student.load_state_dict(self.net.state_dict(), strict=False)  # the net has no `step_size`

    def drop_training_modules(self) -> None:
        """Drops the flow if a student decodes."""
        if self.student is not None:
            self.net = None

    def _student_error(
        self, student: DecoderUNet, clean: Tensor, noise: Tensor, condition: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The student's errors against the flow, and the times `[B]` at which its steps start.

        One step of the student is regressed on the mean velocity of the `teacher_steps` / count steps of the flow over
        the same span, starting from the noisy signal: Luhman & Luhman 2021 (arXiv 2101.02388) for one step, Salimans &
        Ho 2022 for several, here in one round instead of by repeated halving. The step size is an input, so that one
        network serves several numbers of steps (Frans et al. 2024, arXiv 2410.12557), each on an equal part of the
        batch.
        """
        counts = [2**power for power in range(self.config.student_steps.bit_length())]
        targets, times, step_sizes, starts = [], [], [], []
        parts = zip(*(x.tensor_split(len(counts)) for x in (clean, noise, condition)), counts, strict=True)
        for clean_part, noise_part, condition_part, count in parts:
            if len(clean_part) == 0:
                continue
            t = 1 - torch.randint(count, (len(clean_part),), device=clean.device) / count
            y = self._path(clean_part, noise_part, t)
            with torch.no_grad():
                velocity = self._flow_velocity(condition_part)
                end = integrate(velocity, y, steps=self.config.teacher_steps // count, start=t, span=1 / count)
                skip, gain, _ = self._coefficients(t, y)
                targets.append(((y - end) * count - skip * y) / gain)
            times.append(t)
            step_sizes.append(torch.full_like(t, 1 / count))
            starts.append(y)
        t = torch.cat(times)
        return self._raw(student, torch.cat(starts), condition, t, torch.cat(step_sizes)) - torch.cat(targets), t

    def _seek(self, condition: Tensor) -> Tensor:
        """A sample from noise of its own, with the gradient through every step."""
        start = self.config.noise_std * torch.randn_like(condition)
        steps, solver = self.config.seek_steps, self.config.solver
        scale = torch.where(self.seen > 0, self.scale, torch.ones_like(self.scale))
        return condition + scale * integrate(self._flow_velocity(condition), start, steps=steps, solver=solver)

    def _flow_velocity(self, condition: Tensor) -> Callable[[Tensor, Tensor, float], Tensor]:
        """The flow's velocity at (y, t); the step size does not matter."""
        net = self.net
        assert net is not None
        return lambda y, t, step_size: self._velocity(self._raw(net, y, condition, t), y, t)

    def _student_velocity(self, student: DecoderUNet, condition: Tensor) -> Callable[[Tensor, Tensor, float], Tensor]:
        """The student's mean velocity over a step from (y, t)."""
        return lambda y, t, step_size: self._velocity(
            self._raw(student, y, condition, t, torch.full_like(t, step_size)), y, t
        )

    def _velocity(self, raw: Tensor, y: Tensor, t: Tensor) -> Tensor:
        """a y + b f, the velocity for a predicted f."""
        skip, gain, _ = self._coefficients(t, y)
        return skip * y + gain * raw

    def _raw(
        self, net: DecoderUNet, y: Tensor, condition: Tensor, t: Tensor, step_size: Tensor | None = None
    ) -> Tensor:
        """A network's prediction of f."""
        _, _, deviation = self._coefficients(t, y)
        with step_precision(y.device):
            raw: Tensor = net(y / deviation, condition, t, step_size)
        return raw.float()

    def _coefficients(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """a, b and sqrt(q) at times `[B]`, shaped to multiply `like`."""
        t, noise = t.view(-1, *([1] * (like.dim() - 1))), self.config.noise_std
        square = (1 - t).square() + (noise * t).square()
        return (noise**2 * t - (1 - t)) / square, noise / square.sqrt(), square.sqrt()

    def _path(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        t = t.view(-1, *([1] * (clean.dim() - 1)))
        return (1 - t) * clean + self.config.noise_std * t * noise

    def _target(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        _, _, deviation = self._coefficients(t, clean)
        t = t.view(-1, *([1] * (clean.dim() - 1)))
        return ((1 - t) * noise - self.config.noise_std * t * clean) / deviation

    def _error(self, error: Tensor, t: Tensor, scale: Tensor) -> Tensor:
        """Mean over the batch of the squared error of the velocity, on the signal's scale."""
        _, gain, _ = self._coefficients(t, error)
        return scale.square() * (gain * error).square().mean()

    def _times(self, n: int, device: torch.device) -> Tensor:
        """`[n]` training times, one from each of n equal strata of their distribution."""
        if self.config.times == "uniform":
            return stratified_times(n, device)
        return logit_normal_times(n, self.config.time_mean, self.config.time_std, device)

    def _start(self, steps: int) -> int:
        """The step with which distillation begins."""
        return math.ceil(self.config.distill_start * steps)


def integrate(
    velocity: Callable[[Tensor, Tensor, float], Tensor],
    y: Tensor,
    *,
    steps: int,
    solver: str = "euler",
    start: Tensor | float = 1.0,
    span: float = 1.0,
) -> Tensor:
    """Solve dy/dt = velocity(y, t, step size) from t = `start` (`[B]` or one number) down by `span` in equal steps.

    `solver` is "euler" or "heun" (the trapezoidal rule, two evaluations per step).
    """
    first = start if isinstance(start, Tensor) else torch.full((len(y),), start, device=y.device)
    step_size = span / steps
    times = [first - k * step_size for k in range(steps + 1)]
    for t, following in pairwise(times):
        slope = velocity(y, t, step_size)
        if solver == "heun":
            slope = (slope + velocity(y - step_size * slope, following, step_size)) / 2
        y = y - step_size * slope
    return y
