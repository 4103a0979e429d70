"""Sinks: where a run's curves and metrics go besides its records, as they come."""

from ...tokenizers.registry import Registry
from .interface import Sink

sinks = Registry(
    "sink",
    "latentbench.sinks",
    {
        "tensorboard": "bench.sinks.tensorboard:TensorBoardSink",
        "wandb": "bench.sinks.wandb:WandbSink",
        "mlflow": "bench.sinks.mlflow:MlflowSink",
    },
    base=Sink,
)
