"""Objects of the user's own: whatever has encode and decode."""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping, Sequence
from hashlib import sha256
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from ...results.errors import UserError
from ..interface import Latents
from ..spec import LatentSpec
from ..weights import load
from .base import Adapter
from .config import read_spec
from .declaration import Declaration, declared
from .python_config import PythonConfig


class ObjectAdapter(Adapter):
    """An object with `encode` and `decode`.

    `encode` gives a tensor of values or of whole numbers (codes: `[B, *grid]` of one codebook, `[B, H, *grid]` of
    several), or an object with `latent_dist`, `latents` or `latent`; `decode` takes such a tensor, and returns one, an
    object with `sample`, or a tuple that starts with it. What it says of itself is its `spec`: a table or a TOML file.
    A `Tokenizer`, whose `spec` is a `LatentSpec`, gives and takes `Latents`, and so does what has several grids.
    """

    def __init__(self, target: Any, table: Mapping[str, Any], name: str) -> None:
        self.target, self.class_name = target, name
        for method in ("encode", "decode"):
            if not callable(getattr(target, method, None)):
                raise UserError(f"{name} has no method {method!r}; a tokenizer has encode and decode")
        own = getattr(target, "spec", None)
        own = read_spec(own, f"{name}.spec") if isinstance(own, str) else own
        self._takes_latents = isinstance(own, LatentSpec)
        if isinstance(own, LatentSpec):
            own = {"modalities": [own.signal.modality], "channels": own.signal.channels, "rate": own.signal.rate} | (
                {"codebook_sizes": list(own.grid.codebook_sizes)} if own.discrete else {}
            )
        self.declaration: Declaration = declared(None, {**(own if isinstance(own, Mapping) else {}), **table})

    def modules(self) -> list[nn.Module]:
        if isinstance(self.target, nn.Module):
            return [self.target]
        held = vars(self.target).values() if hasattr(self.target, "__dict__") else ()
        return [value for value in held if isinstance(value, nn.Module)]

    def state(self) -> str:
        return state_digest(self.modules())

    def encode(self, signal: Tensor) -> Latents:
        output = self.target.encode(signal)
        return output if isinstance(output, Latents) else self._latents(output)

    def decode(self, latents: Latents) -> Tensor:
        if self._takes_latents or latents.rest:
            output = self.target.decode(latents)
        elif latents.codes is not None:
            output = self.target.decode(latents.codes if self._several else latents.codes.squeeze(1))
        else:
            output = self.target.decode(latents.values)
        output = getattr(output, "sample", output)
        output = output[0] if isinstance(output, tuple) else output
        if not isinstance(output, Tensor):
            raise UserError(f"{self.class_name}: decode gave a {type(output).__name__}, expected a tensor")
        return output

    @property
    def _several(self) -> bool:
        """Whether a position has several codes, so that they have an axis of heads."""
        return len(self.declaration.codebook_sizes) > 1

    def _latents(self, output: Any) -> Latents:
        if hasattr(output, "latent_dist"):
            return Latents(values=output.latent_dist.mean, scale=output.latent_dist.std)
        for name in ("latents", "latent"):
            output = getattr(output, name, output)
        if not isinstance(output, Tensor):
            kinds = "a tensor, or an object with latent_dist, latents or latent"
            raise UserError(f"{self.class_name}: encode gave a {type(output).__name__}, expected {kinds}")
        if output.is_floating_point():
            return Latents(values=output)
        return Latents(codes=output if self._several else output.unsqueeze(1))


class PythonAdapter(ObjectAdapter):
    """The object that a configuration names, constructed with its options."""

    def __init__(self, config: PythonConfig) -> None:
        module, _, attribute = config.target.partition(":")
        target: Any = _imported(module, Path(config.files["module"]))
        for part in attribute.split("."):
            if not hasattr(target, part):
                known = ", ".join(name for name in vars(target) if not name.startswith("_"))
                raise UserError(f"{config.files['module']}: has no {attribute!r}; it has {known or 'nothing'}")
            target = getattr(target, part)
        if isinstance(target, type) or (callable(target) and not callable(getattr(target, "encode", None))):
            target = target(**config.options)
        elif config.options:
            raise UserError(f"options: {attribute} is an object, which takes none")
        else:
            target = copy.deepcopy(target)
        if "weights" in config.files:
            if not isinstance(target, nn.Module):
                raise UserError(f"weights: {attribute} is no nn.Module: give it its files in options")
            target.load_state_dict(dict(load(Path(config.files["weights"]))))
        table = config.spec if isinstance(config.spec, dict) else {}
        super().__init__(target, table, attribute)


def _imported(name: str, file: Path) -> ModuleType:
    """The module of that dotted name below its package's folder, or the file as a module of its own."""
    if name:
        depth = len(name.split(".")) + (file.name == "__init__.py")
        folder = str(file.parents[depth - 1])
        if folder not in sys.path:
            sys.path.append(folder)
        return import_module(name)
    source = file.read_bytes()
    digest = sha256(str(file).encode() + source).hexdigest()[:12]
    own = f"{file.stem}_{digest}"
    if own in sys.modules:
        return sys.modules[own]
    spec = spec_from_file_location(own, file)
    assert spec is not None
    module = module_from_spec(spec)
    sys.modules[own] = module  # dataclasses look their module up
    try:
        # Not by the loader: the bytecode that it keeps is told apart by size and second, and may be of other content.
        exec(compile(source, str(file), "exec"), module.__dict__)
    except BaseException:
        del sys.modules[own]
        raise
    return module


def state_digest(modules: Sequence[nn.Module]) -> str:
    """Sixteen hexadecimal digits of the weights of modules, "" of none."""
    hashed = sha256()
    for module in modules:
        for name, tensor in sorted(module.state_dict().items()):
            if isinstance(tensor, Tensor):
                raw = tensor.detach().cpu().contiguous()
                hashed.update(f"{name} {raw.dtype} {tuple(raw.shape)}".encode())
                hashed.update(raw.reshape(-1).view(torch.uint8).numpy().data)
    return hashed.hexdigest()[:16] if modules else ""
