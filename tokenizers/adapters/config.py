"""What configurations of adapters share, and the registry of them. No torch.

An adapter is a door for somebody else's trained tokenizer: nothing is trained, and its files are its identity.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any, ClassVar, Literal, Self

from ...results.errors import UserError
from ..part import Part
from ..registry import Registry
from ..validation import check, is_file, parse_toml


@dataclass(frozen=True, kw_only=True)
class AdapterConfig(Part):
    """A tokenizer of somebody else's, by its files.

    `path` says where it is; `located` replaces it by `files`, absolute paths by name, whose content is what a job is
    identified by. `spec` is a table (or a TOML file) of what its author says of it, laid over what the adapter knows
    (see `Declaration`). `dtype` is what it is evaluated in, "native" the type of its weights. `posterior`: priors and
    proxies see samples of a posterior, or its mode. `normaliser` "published" gives latents as the published prior saw
    them; with "none" the training split's statistics normalise them. `trust_pickle` admits weights that are pickles,
    `allow_download` names of the Hugging Face hub, at `revision`; neither changes a number.
    """

    packages: ClassVar[tuple[str, ...]] = ()
    extra: ClassVar[str] = ""
    install: ClassVar[str] = ""  # how to get what PyPI does not have
    identity_defaults: ClassVar[frozenset[str]] = frozenset(
        {"path", "trust_pickle", "allow_download", "revision", "dtype", "posterior", "normaliser"}
    )

    path: str = ""
    files: dict[str, str] = field(default_factory=dict)
    spec: str | dict[str, Any] = field(default_factory=dict)
    dtype: Literal["float32", "native", "float16", "bfloat16"] = "float32"
    posterior: Literal["sample", "mode"] = "sample"
    normaliser: Literal["published", "none"] = "published"
    trust_pickle: bool = False
    allow_download: bool = False
    revision: str = ""

    def find(self, where: str) -> Mapping[str, Any]:
        """What takes the place of `path`: `files`, and options that follow from it. Raises UserError."""
        raise NotImplementedError

    def located(self, where: str) -> Self:
        """This with `files` in place of `path`, and `spec` as a table. Raises UserError for what is not there."""
        self.software(where)
        spec = self.spec if isinstance(self.spec, dict) else read_spec(self.spec, f"{where}.spec")
        if self.files:
            return replace(self, spec=spec)
        if not self.path:
            raise UserError(f"{where}.path: missing; {self.kind!r} needs one")
        changes = {"files": {}, **self.find(f"{where}.path")}
        return replace(self, **changes, path="", spec=spec, trust_pickle=False, allow_download=False, revision="")

    def software(self, where: str = "adapter") -> dict[str, str]:
        """Versions of the packages that its numbers depend on. Raises UserError where one is not installed."""
        versions = {}
        for package in self.packages:
            try:
                versions[package] = version(package)
            except PackageNotFoundError:
                cure = f"pip install 'latentbench[{self.extra}]'" if self.extra else f"pip install {package}"
                cure = self.install or cure
                raise UserError(f"{where}: adapter {self.kind!r} needs {package}: {cure}") from None
        return versions


def read_spec(path: str, where: str) -> dict[str, Any]:
    """The table in the TOML file `path`. Raises UserError."""
    from pathlib import Path

    if not is_file(Path(path).expanduser()):
        raise UserError(f"{where}: no such file: {path}")
    try:
        return parse_toml(Path(path).expanduser().read_text(encoding="utf-8"), path)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{where}: {path}: {error}") from None


def adapter_options(kind: str, where: str) -> tuple[str, ...]:
    """The options that an adapter takes from a user. Raises UserError for an unknown adapter."""
    from dataclasses import fields

    return tuple(item.name for item in fields(ADAPTERS.get(kind, where=where)) if item.name != "files")


def read_adapter(kind: str, options: Mapping[str, Any], where: str) -> AdapterConfig:
    """The adapter `kind` with these options, strictly checked. Raises UserError."""
    cls = ADAPTERS.get(kind, where=f"{where}.adapter")
    config: AdapterConfig = check(cls, options, where=where)
    return config


ADAPTERS = Registry(
    "adapter",
    "latentbench.adapters",
    {
        "audiocodecs": "tokenizers.adapters.audio_codecs_config:AudiocodecsConfig",
        "dac": "tokenizers.adapters.audio_codecs_config:DACConfig",
        "diffusers": "tokenizers.adapters.diffusers_config:DiffusersConfig",
        "encodec": "tokenizers.adapters.audio_codecs_config:EnCodecConfig",
        "python": "tokenizers.adapters.python_config:PythonConfig",
        "transformers": "tokenizers.adapters.transformers_config:TransformersConfig",
        "snac": "tokenizers.adapters.audio_codecs_config:SNACConfig",
        "torchscript": "tokenizers.adapters.pair_config:TorchScriptConfig",
        "onnx": "tokenizers.adapters.pair_config:ONNXConfig",
        "live": "tokenizers.adapters.live_config:LiveConfig",
    },
    base=AdapterConfig,
)
