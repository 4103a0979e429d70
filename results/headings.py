"""What stands above a column or beside an axis: names that a newcomer can read, with their units."""

from __future__ import annotations

# The word that a column's name is read as, where it is not the name with blanks in the place of underscores.
_NAMES = {
    "tsr": "TSR",
    "tsr_input": "TSR of the input",
    "real_bits": "rate",
    "real_bits_per_pixel": "rate",
    "real_kbits_per_second": "rate",
    "bits_per_sample": "nominal rate",
    "bits_per_element": "nominal rate",
    "bitrate": "nominal rate",
    "rate_bits": "rate of rounded latents",
    "stream_bits": "rate of the stream",
    "parameters": "parameters",
    "flops": "training FLOPs",
    "tokenizer_flops": "tokenizer FLOPs",
    "prior_flops": "prior FLOPs",
    "seconds": "time",
    "train_seconds": "training time",
    "prior_seconds": "prior time",
    "sampling_per_second": "sampling",
    "peak_memory_bytes": "memory",
    "viv_full": "VIV, full",
    "gfid": "gFID",
    "rfid": "rFID",
    "gkid": "gKID",
    "rkid": "rKID",
    "si_sdr": "SI-SDR",
}
_UNITS = {
    "real_bits_per_pixel": "bpp",
    "real_kbits_per_second": "kbit/s",
    "real_bits": "bit",
    "bits_per_sample": "bit",
    "bits_per_element": "bit/element",
    "bitrate": "bit/s",
    "seconds": "s",
    "train_seconds": "s",
    "prior_seconds": "s",
    "sampling_per_second": "1/s",
}
# Words inside a name that the field writes in its own way.
_WORDS = {
    **{name: name.upper() for name in ("psnr", "ssim", "lpips", "tsr", "nll", "viv", "stft", "pesq", "stoi", "dwt")},
    **{name: name.upper() for name in ("kl", "fd", "kd", "l1", "l2", "pca", "dct", "f0")},
    **{f"{side}{kind}": f"{side}{kind.upper()}" for side in "rg" for kind in ("fd", "kd")},
    "flops": "FLOPs",
}


def name_of(column: str) -> str:
    """The column's name in words: "rFD scattering", "PSNR". Never empty."""
    if column in _NAMES:
        return _NAMES[column]
    words = " ".join(_WORDS.get(word, word) for word in column.split("_") if word)
    return words or column


def unit_of(column: str, unit: str = "") -> str:
    """The column's unit, `unit` being what a metric declares; "" for a number without one."""
    return _UNITS.get(column, unit)


def heading(column: str, *, unit: str = "", counts: str = "") -> str:
    """Name, the samples that it was measured on (`counts`, as "@256") and unit: "gFD scattering@256", "PSNR (dB)"."""
    unit = unit_of(column, unit)
    return f"{name_of(column)}{counts}" + (f" ({unit})" if unit else "")
