"""The job "contract": whether a tokenizer of somebody else's does what every task takes for granted."""

from __future__ import annotations

from dataclasses import asdict

from ...results.errors import UserError
from ...results.metric import Metric
from ...results.record import JobResult
from ...tasks.metrics.config import metrics
from ...tokenizers.spec import Modality
from .base import CONTRACT, JobContext, JobKind, PlanContext, Price

PROTOCOL = "contract checks that did not pass, on 4 validation samples and 4 of noise; reasons stand in the notes"


class Contract(JobKind):
    """Every job that reads an adapter's tokenizer waits for it; an error stops them, a mark stands in the table."""

    name, order, version = CONTRACT, 45, 1
    requires = ("data", "tokenizer")

    def versions(self, at: PlanContext) -> dict[str, int]:
        return super().versions(at) | {"metric.psnr": metrics.version("psnr")}

    def price(self, at: PlanContext) -> Price:
        forward = at.cell.tokenizer.estimate_flops()
        return Price(flops=forward * 40, step_flops=forward * 4)

    def reports(self, modality: Modality) -> tuple[str, ...] | None:
        return ("contract", "contract_latent_mean", "contract_latent_std", "native_psnr")

    def run(self, ctx: JobContext) -> JobResult:
        """Raises UserError, one line with all reasons, for what would make every number wrong."""
        import numpy as np

        from ...tasks.contract import BATCH, check_contract, failures
        from ...tokenizers.adapters.network import NetworkUsedError, network_cut
        from ...tokenizers.adapters.tokenizer import AdapterTokenizer

        config = ctx.tokenizer_config
        adapter = config.adapter
        assert adapter is not None
        split = ctx.dataset.val
        real = split.batch(np.arange(BATCH) % len(split), ctx.device)
        try:
            with network_cut():
                tokenizer = ctx.tokenizer
                assert isinstance(tokenizer, AdapterTokenizer)
                findings, measured = check_contract(
                    tokenizer,
                    real,
                    native=lambda: AdapterTokenizer(adapter, config.signal, config.spec.grids, dtype="native").to(
                        ctx.device
                    ),
                )
        except NetworkUsedError as error:
            raise UserError(f"{config.recipe}: {error}: a job must work without one") from None
        errors, marks = failures(findings, "error"), failures(findings, "marked")
        if errors:
            raise UserError("; ".join(errors))
        numbers = {"latent_mean": measured.get("mean"), "latent_std": measured.get("std")}
        results = [
            Metric(name="contract", value=float(len(marks)), protocol=PROTOCOL, role="latents"),
            *(
                Metric(name=f"contract_{name}", value=value, n=BATCH, shown="asked", role="latents")
                for name, value in numbers.items()
                if value is not None
            ),
        ]
        if "native_db" in measured:
            line = "PSNR between reconstructions in float32 and in the type of the weights"
            results.append(
                Metric(
                    name="native_psnr",
                    value=measured["native_db"],
                    n=BATCH,
                    unit="dB",
                    direction="higher",
                    protocol=line,
                    role="latents",
                    shown="asked",
                )
            )
        facts = {"findings": [asdict(finding) for finding in findings], "marks": marks}
        return JobResult(metrics=tuple(results), extra={"contract": facts})
