"""The commands, a file each: `HELP`, its line in the overview; `add_options`; `run`, which returns the exit code."""

from __future__ import annotations

from types import ModuleType

from . import (
    bd_rate,
    calibrate,
    cancel,
    check,
    doctor,
    eval,
    export,
    gallery,
    gc,
    leaderboard,
    list,
    logs,
    merge,
    plan,
    plot,
    publish,
    report,
    retry,
    run,
    score,
    serve,
    slurm,
    statistics,
    status,
    submit_check,
    work,
)

# in the order of the overview; a command's name has dashes where its module has underscores
COMMANDS: tuple[ModuleType, ...] = (
    run,
    work,
    slurm,
    status,
    logs,
    retry,
    cancel,
    gc,
    merge,
    export,
    eval,
    check,
    plan,
    leaderboard,
    bd_rate,
    plot,
    calibrate,
    score,
    gallery,
    report,
    serve,
    publish,
    submit_check,
    statistics,
    list,
    doctor,
)
