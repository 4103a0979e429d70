"""What a training is between two steps: parameters, optimisers, averages, sums of losses and its position, and the
checkpoint that holds them.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError
from torch import Tensor

from ..results.record import explain
from ..tokenizers import memory_format, ranks
from ..tokenizers.interface import Trainable
from ..tokenizers.optimisers import AdamW
from ..tokenizers.training import TrainingConfig
from .checkpoint import InvalidCheckpoint, check_alike, read_checkpoint, write_checkpoint

# FLOPs of what is computed at a time from which on precision "auto" is bfloat16 on a GPU: below, the casts of weights
# and activations (two operators in five) cost more than the products save. An estimate: no GPU has confirmed it.
BFLOAT16_FLOPS = 1e11

# What AdamW keeps of a parameter; the first is a count, the others have the parameter's shape.
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


@dataclass(kw_only=True)
class TrainingPosition:
    """What a checkpoint holds beside tensors: `rows` the deterministic loss curve, `summed` how many steps are in
    each sum of its next row, `seconds` the time so far."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    step: int = 0
    steps: int = 0
    summed: dict[str, int] = field(default_factory=dict)
    flops_per_step: float = 0.0
    first_loss: float | None = None
    rows: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0


_POSITION = TypeAdapter(TrainingPosition)


def micro_batch(model: Trainable, config: TrainingConfig, divide: int = 1) -> int:
    """How many samples of a batch a device computes at a time: what `config` says, or the largest part of it that is
    at most a `divide`-th of it and divides it. Raises ValueError where the model's batches can't be divided."""
    size = config.micro_batch or config.device_batch
    if config.devices > 1 and model.rank_coupled is not None:
        raise ValueError(f"several devices can't share a batch here ({model.rank_coupled})")
    if model.batch_coupled is not None:
        if config.micro_batch not in (None, config.device_batch):
            raise ValueError(f"a batch can't be divided here ({model.batch_coupled})")
        return config.device_batch
    return next(part for part in range(max(1, size // divide), 0, -1) if size % part == 0)


class TrainingState:
    """The state of the training of `model` as `config` has it. `state` is its position, `average` its parameters'
    means, `sums` those of losses since the last row of the curve."""

    def __init__(
        self, model: Trainable, config: TrainingConfig, *, seed: int, device: torch.device, divide: int = 1
    ) -> None:
        if ranks.count() != config.devices:
            raise ValueError(f"training.devices is {config.devices}, and the processes here are {ranks.count()}")
        self.micro_batch = micro_batch(model, config, divide)
        self.model, self.config, self.seed, self.device = model, config, seed, device
        self.state = TrainingPosition()
        self.sums: dict[str, Tensor] = {}
        # A closed form (steps = 0) may leave a model without a single trainable parameter.
        self.param_groups = {name: params for name, params in model.param_groups().items() if params}
        self.optimisers = {
            name: AdamW(params, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay, fused=True)
            for name, params in self.param_groups.items()
        }
        self.parameters: list[Tensor] = [p for params in self.param_groups.values() for p in params]
        self.average = [p.detach().clone() for p in self.parameters] if config.ema else []
        self.choose_precision()

    def choose_precision(self) -> None:
        """Autocast for what `config` asks for; "auto" looks at the step's FLOPs, once they are counted."""
        at_a_time = self.state.flops_per_step * self.micro_batch / self.config.batch_size
        pays = self.device.type == "cuda" and at_a_time >= BFLOAT16_FLOPS
        bfloat16 = self.config.precision == "bfloat16" or (
            self.config.precision == "auto" and pays and torch.cuda.is_bf16_supported(including_emulation=False)
        )
        self.autocast = torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=bfloat16)
        layout = memory_format.resolved(self.config.memory_format, self.device, bfloat16=bfloat16)
        if layout is not None:
            memory_format.set_format(self.model, layout)
            like = zip(self.average, self.parameters, strict=False)  # no averages without `ema`
            self.average = [torch.empty_like(parameter).copy_(value) for value, parameter in like]

    def planned_steps(self, flops_per_step: float) -> int:
        """The steps of the whole training: as many as asked for, or as the budget pays for."""
        if self.config.flops is None:
            return self.config.steps
        return max(1, math.floor(self.config.flops / flops_per_step))

    def resume_all(self, path: Path) -> bool:
        """`resume` on all ranks, if the first finds something: they read it before its next step can be written."""
        first = ranks.number() == 0
        resumed = bool(ranks.told(first and self.resume(path)))
        if resumed and not first and not self.resume(path):
            raise RuntimeError(f"{path}: rank {ranks.number()} can't read it")
        return resumed

    def save(self, path: Path, started: float) -> None:
        """Write the checkpoint atomically; `started` is when this process began training."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"average.{i}": value for i, value in enumerate(self.average)}
        tensors |= {f"sum.{name}": value for name, value in self.sums.items()}
        for group, optimiser in self.optimisers.items():
            for i, parameter in enumerate(self.param_groups[group]):
                for name, value in optimiser.state.get(parameter, {}).items():
                    tensors[f"optimiser.{group}.{i}.{name}"] = value
        facts = vars(self.state) | {"seconds": self.state.seconds + time.monotonic() - started, "seed": self.seed}
        write_checkpoint(path, tensors, facts)

    def resume(self, path: Path) -> bool:
        """Restore what `save` wrote, tensors keeping the layout of the model's own; False where there is nothing.

        A file that is not, in every name, shape, type and bit, a checkpoint of this training is removed and said to be.
        """
        try:
            tensors, facts = read_checkpoint(path)
            state = self._checked(tensors, facts)
        except FileNotFoundError:
            return False
        except InvalidCheckpoint as error:
            print(f"{path}: not a checkpoint of this training ({error}); it starts anew")
            with suppress(OSError):
                path.unlink()
            return False
        self.state = state
        self.choose_precision()
        self.sums = {k.removeprefix("sum."): v.to(self.device) for k, v in tensors.items() if k.startswith("sum.")}
        self.model.load_state_dict({k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")})
        with torch.no_grad():
            for i, value in enumerate(self.average):
                value.copy_(tensors[f"average.{i}"])
        for group, optimiser in self.optimisers.items():
            for i, parameter in enumerate(self.param_groups[group]):
                for name in _MOMENTS:
                    moment = tensors.get(f"optimiser.{group}.{i}.{name}")
                    if moment is None:
                        continue
                    like = torch.empty_like(parameter if moment.shape == parameter.shape else moment)
                    optimiser.state[parameter][name] = like.to(parameter.device).copy_(moment)
        return True

    def _checked(self, tensors: Mapping[str, Tensor], facts: dict[str, Any]) -> TrainingPosition:
        """The state in `facts`, if it and the tensors are of this training. Raises InvalidCheckpoint."""
        seed = facts.pop("seed", None)
        if seed != self.seed:
            raise InvalidCheckpoint(f"its seed is {seed!r} and not {self.seed}")
        try:
            _POSITION.validate_json(json.dumps(facts), strict=True)
        except ValidationError as error:
            raise InvalidCheckpoint(explain(error)) from None
        state = TrainingPosition(**facts)
        steps = (
            self.planned_steps(state.flops_per_step) if self.config.flops is None or state.flops_per_step > 0 else None
        )
        if state.steps != steps or not 0 <= state.step <= state.steps:
            raise InvalidCheckpoint(f"step {state.step} of {state.steps} where {steps} steps are planned")
        expected = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        expected |= {f"average.{i}": value for i, value in enumerate(self.average)}
        expected |= {f"sum.{name}": torch.empty(()) for name in state.summed}
        moments = {  # a parameter that no step has reached yet has none
            f"optimiser.{group}.{i}": parameter
            for group in self.optimisers
            for i, parameter in enumerate(self.param_groups[group])
        }
        present = [name for name in moments if f"{name}.{_MOMENTS[0]}" in tensors]
        for name in present:
            expected |= {f"{name}.{moment}": moments[name] for moment in _MOMENTS[1:]}
            expected[f"{name}.{_MOMENTS[0]}"] = torch.empty(())
        if state.step and moments and not present:
            raise InvalidCheckpoint("the optimiser's state is missing")
        check_alike(tensors, expected)
        return state
