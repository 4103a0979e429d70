"""The tokenizer that is composed of parts: encoder, projection, bottleneck, projection, decoder, losses.

Shape legend: B batch, C channels, F features, *signal and *grid the axes of a signal and a latent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from . import ranks
from .auxiliary.base import AuxiliaryObjective, TrainingStep
from .backbones.conv import pointwise
from .backbones.layers import zero_last_layer
from .backbones.shortcut import Shortcut
from .bottlenecks.base import BottleneckOutput
from .config import TokenizerConfig
from .diffusion_decoders.base import DiffusionDecoder
from .interface import Latents, TrainableTokenizer, number_of
from .losses.objective import Objective
from .regularisers.base import Regulariser
from .sets import sorted_set, sorted_values
from .spec import LatentSpec
from .step_precision import float32_inside


class ComposedTokenizer(TrainableTokenizer):
    """Built from a `TokenizerConfig`; state dict and parameters are those of the parts, losses' networks excluded.

    The bottleneck and the objective run in float32 also under autocast: codes and likelihoods must not depend on it.
    Networks beside them (a discriminator's, a diffusion decoder's) are trained in the step's precision.
    """

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self._spec = config.spec
        features, rank = config.features, len(config.layout.shape)
        outputs = config.bottleneck.outputs(config.channels, features)
        self.encoder = config.backbone.build_encoder(config.signal, config.downsample)
        self.bottleneck = config.bottleneck.build(config.spec, features=features)
        self.decoder = config.decoding.build_decoder(config.signal, config.downsample)
        self.project_in: nn.Module = nn.Identity()
        self.project_out: nn.Module = nn.Identity()
        if not config.bottleneck.projects:
            self.project_in = pointwise(features, config.bottleneck.inputs(config.channels, features), rank)
        if not config.bottleneck.projects or outputs != config.decoder_features:
            self.project_out = pointwise(outputs, config.decoder_features, rank)
        self.shortcut = self._make_shortcut(outputs)
        self.objective = Objective(config.losses, config.signal)
        self.corruption = (
            None if config.corruption is None else config.corruption.build(config.signal, config.downsample)
        )
        self.diffusion_decoder: DiffusionDecoder | None = None
        if config.diffusion_decoder is not None:
            self.diffusion_decoder = config.diffusion_decoder.build(config.signal)
        # Last, so that a seed gives the other parts the same weights with and without them.
        self.auxiliary_objectives = nn.ModuleDict(
            {item.kind: item.build(config) for item in config.auxiliary_objectives}
        )

    @property
    def spec(self) -> LatentSpec:
        return self._spec

    def encode(self, signal: Tensor) -> Latents:
        """`[B, C, *signal]` to latents on the grid of `spec`: the posterior's mode, or the nearest codes.

        A set comes in ascending order.
        """
        features = self.features(signal)
        with torch.autocast(signal.device.type, enabled=False):
            latents = self.bottleneck.encode(features)
        return sorted_set(latents) if self._spec.topology == "set" else latents

    def features(self, signal: Tensor) -> Tensor:
        """What the bottleneck reads of `[B, C, *signal]`: `[B, inputs, *grid]` float32."""
        features = self.project_in(self.encoder(signal))
        if self.shortcut is not None and self.config.backbone.has_shortcut():
            channels = self.config.channels  # what follows them (log-variances) has no shortcut
            shortcut = features[:, :channels] + self.shortcut.encode(signal)
            features = torch.cat([shortcut, features[:, channels:]], dim=1)
        return features.float()

    def decode_values(self, values: Tensor) -> Tensor:
        """The feed-forward decoder's output for what it reads: `[B, outputs, *grid]` to `[B, C, *signal]`."""
        signal: Tensor = self.decoder(self.project_out(values))
        if self.shortcut is None or not self.config.decoding.has_shortcut():
            return signal
        return signal + self.shortcut.decode(values)

    def decode(self, latents: Latents) -> Tensor:
        """Latents to `[B, C, *signal]`, not clamped; reads the codes when there are no values.

        With `lengths` only the first positions count; regularisers decide what stands for the others.
        """
        return self._rendered(self._condition(latents))

    def operating_points(self) -> Mapping[str, Callable[[Latents], Tensor]]:
        """Those of the bottleneck, the regularisers and the diffusion decoder."""
        points = self.bottleneck.operating_points(self.decode)
        for regulariser in self._regularisers():
            points |= regulariser.operating_points(self)
        if self.diffusion_decoder is not None:
            numbers = self.diffusion_decoder.operating_points()
            points |= {f"steps_{n}": partial(self._decode_in, steps=n) for n in numbers}
        return points

    def read_at(self, point: str, latents: Latents) -> Latents | None:
        """The bottleneck's or a regulariser's part; a diffusion decoder reads the same in any number of steps."""
        if self.diffusion_decoder is not None and number_of(point, "steps") is not None:
            return latents
        parts = (owner.read_at(point, latents) for owner in (self.bottleneck, *self._regularisers()))
        return next((part for part in parts if part is not None), None)

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        """ "model", the tokenizer's parameters, and the groups that auxiliary objectives train apart from it."""
        others: dict[str, list[nn.Parameter]] = {}
        for objective in self._objectives():
            others |= objective.param_groups()
        apart = {id(parameter) for parameters in others.values() for parameter in parameters}
        return {"model": [p for p in self.parameters() if p.requires_grad and id(p) not in apart], **others}

    def on_train_start(self, batches: Iterable[Any]) -> None:
        """Starts the shortcut at PCA, then lets the bottleneck see the training split's features (k-means start)."""
        if self.shortcut is not None:
            self.shortcut.on_train_start(batches, whiten=self.bottleneck.whiten)
        self.bottleneck.on_train_start(_Features(self, batches))
        for objective in self._objectives():
            objective.on_train_start(self, batches)

    def losses(self, batch: Tensor, *, group: str, step: int, steps: int) -> Mapping[str, Tensor]:
        """The weighted losses of objective, bottleneck, diffusion decoder and auxiliary objectives; "loss" sums them.

        The objective compares with the clean batch. Other groups than "model" have losses of their own.
        """
        objectives, regularisers = self._objectives(), self._regularisers()
        if group != "model":
            owner = next(objective for objective in objectives if group in objective.param_groups())
            with float32_inside(batch.device):
                return owner.group_losses(group, step=step, steps=steps)
        corruption = self.corruption if self.training else None
        read = batch if corruption is None else corruption(batch)
        for objective in objectives:
            read = objective.read(read, step=step, steps=steps)
        features = self.features(read)
        frozen = self._encoder_frozen(step, steps)
        if frozen or any(objective.detaches_features for objective in objectives):
            features = features.detach()
        with torch.autocast(batch.device.type, enabled=False):
            for regulariser in regularisers:
                features = regulariser.features(features)
            output = self._frozen_output(features) if frozen else self.bottleneck(features)
            values = output.values
            for regulariser in regularisers:
                values = regulariser.values(values)
            if self.training and self.config.latent_noise:
                values = with_noise(values, self.config.latent_noise)
        decoded_values = values
        if any(objective.detaches_values for objective in objectives):
            # A leaf with a gradient: torch's group norm on a CPU crashes where its channels-last input has none.
            decoded_values = values.detach().requires_grad_(values.requires_grad)
        decoded = self.decode_values(decoded_values).float()
        with float32_inside(batch.device):
            terms = dict(self.objective(decoded, batch))
            if self.diffusion_decoder is not None:
                terms |= self.diffusion_decoder.losses(batch.float(), decoded, step=step, steps=steps)
            fidelity = torch.stack(list(terms.values())).sum()
            terms |= output.losses
            logs = dict(output.logs)
            for objective in objectives:
                added = objective.losses(
                    TrainingStep(
                        tokenizer=self,
                        signal=batch,
                        features=features,
                        bottleneck_output=output,
                        values=values,
                        reconstruction=decoded,
                        fidelity=fidelity,
                        step=step,
                        steps=steps,
                    )
                )
                terms |= added.losses
                logs |= added.logs
            for objective in objectives:
                terms = dict(objective.balanced(terms, decoded))
            loss = torch.stack(list(terms.values())).sum()
        return {"loss": loss, **{name: term.detach() for name, term in terms.items()}, **logs}

    @torch.no_grad()
    def after_step(self, *, step: int, steps: int) -> None:
        """Updates of bottleneck (moving-average codes, dead codes), auxiliary objectives and diffusion decoder."""
        if not self._encoder_frozen(step, steps):
            self.bottleneck.after_step(step=step, steps=steps)
        for objective in self._objectives():
            objective.after_step(self, step=step, steps=steps)
        if self.diffusion_decoder is not None:
            self.diffusion_decoder.after_step(step=step, steps=steps)

    @torch.no_grad()
    def on_train_end(self, batches: Iterable[Any]) -> None:
        """Lets the auxiliary objectives change the trained weights."""
        for objective in self._objectives():
            objective.on_train_end(self)

    @property
    def batch_coupled(self) -> str | None:
        return self.config.batch_coupled

    @property
    def rank_coupled(self) -> str | None:
        return self.config.rank_coupled

    def schedule_milestones(self) -> tuple[float, ...]:
        return self.config.schedule_milestones()

    def drop_training_modules(self) -> None:
        """Drops the auxiliary objectives that inference does not need, and a diffusion decoder's teacher."""
        for kind, objective in list(self.auxiliary_objectives.items()):
            if isinstance(objective, AuxiliaryObjective) and not objective.keep_at_inference:
                del self.auxiliary_objectives[kind]
        if self.diffusion_decoder is not None:
            self.diffusion_decoder.drop_training_modules()

    def _make_shortcut(self, outputs: int) -> Shortcut | None:
        """The linear shortcut, and zeros where the halves that it runs around end."""
        config = self.config
        encoding, decoding = config.backbone.has_shortcut(), config.decoding.has_shortcut()
        if not (encoding or decoding) or config.bottleneck.projects or outputs != config.channels:
            return None
        owner = config.backbone if encoding else config.decoding
        shortcut = owner.build_shortcut(config.signal, config.downsample, config.channels)
        if shortcut is not None and encoding:
            zero_last_layer(self.project_in)
        if shortcut is not None and decoding:
            zero_last_layer(self.decoder)
        return shortcut

    def _encoder_frozen(self, step: int, steps: int) -> bool:
        """Whether the diffusion decoder freezes encoder and bottleneck in this step: the decoder alone learns."""
        return self.diffusion_decoder is not None and self.diffusion_decoder.freezes_encoder(step=step, steps=steps)

    def _frozen_output(self, features: Tensor) -> BottleneckOutput:
        """The training pass of a bottleneck that stays as it is: its losses are only logged."""
        with torch.no_grad():
            output: BottleneckOutput = self.bottleneck(features)
        values = output.values.detach().requires_grad_(torch.is_grad_enabled())  # see decoded_values
        return replace(output, values=values, losses={}, logs={**output.logs, **output.losses})

    def _objectives(self) -> list[AuxiliaryObjective]:
        return [item for item in self.auxiliary_objectives.values() if isinstance(item, AuxiliaryObjective)]

    def _regularisers(self) -> list[Regulariser]:
        return [item for item in self._objectives() if isinstance(item, Regulariser)]

    def _condition(self, latents: Latents) -> Tensor:
        """What the feed-forward decoder makes of latents; of a set the same bits, whatever its order."""
        unordered = self._spec.topology == "set"
        with torch.autocast(_device(latents).type, enabled=False):
            values = self.bottleneck.expand(sorted_set(latents) if unordered else latents)
            values = sorted_values(values) if unordered else values
            if latents.lengths is not None:
                for regulariser in self._regularisers():
                    values = regulariser.truncate(values, latents.lengths)
        return self.decode_values(values)

    def _rendered(self, condition: Tensor, steps: int | None = None) -> Tensor:
        if self.diffusion_decoder is None:
            return condition
        with torch.autocast(condition.device.type, enabled=False):
            return self.diffusion_decoder.sample(condition.float(), steps=steps)

    def _decode_in(self, latents: Latents, *, steps: int) -> Tensor:
        return self._rendered(self._condition(latents), steps)


class _Features:
    """The encoder's projected outputs over batches of signals, computed as they are asked for."""

    def __init__(self, tokenizer: ComposedTokenizer, batches: Iterable[Tensor]) -> None:
        self.tokenizer = tokenizer
        self.batches = batches

    def __iter__(self) -> Iterator[Tensor]:
        for batch in self.batches:
            with torch.no_grad():
                features = self.tokenizer.features(batch)
            yield features


def with_noise(values: Tensor, noise: float) -> Tensor:
    """`[B, C, *grid]` with Gaussian noise of `noise` times each channel's deviation over the batch (latent noise, B8).

    The deviation takes no gradient, so the encoder can't escape the noise by larger latents. A prior's errors are such
    noise, as it models latents that are normalised per channel.
    """
    axes = (0, *range(2, values.ndim))
    deviation = ranks.gathered(values.detach()).float().std(axes, correction=0, keepdim=True)
    return values + noise * deviation.to(values.dtype) * torch.randn_like(values)


def _device(latents: Latents) -> torch.device:
    tensor = latents.values if latents.values is not None else latents.codes
    return tensor.device if tensor is not None else torch.device("cpu")
