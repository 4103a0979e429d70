"""The commands, a file each: `HELP`, its line in the overview; `add_options`; `run`, which returns the exit code."""

from __future__ import annotations

from types import ModuleType

from . import bd_rate, calibrate, check, doctor, eval, gallery, leaderboard, list, plan, plot, run, score, statistics

# in the order of the overview; a command's name has dashes where its module has underscores
COMMANDS: tuple[ModuleType, ...] = (
    run,
    eval,
    check,
    plan,
    leaderboard,
    bd_rate,
    plot,
    calibrate,
    score,
    gallery,
    statistics,
    list,
    doctor,
)
