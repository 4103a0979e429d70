"""Placement groups: what a job takes of a node, reserved with Ray, all of it or nothing. Torch-free.

A group has a bundle for each device of its job, all on one node, where the processes of the job meet. Ray itself gives
a group back no sooner than the run ends, so that whoever asked for it does, and the driver for an agent that is gone.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

_FIRST_SECONDS = 1  # that a job is waited for, when its devices are asked for; free ones come in hundredths


class PlacementGroups:
    """The groups that an agent, by the name `owner`, has on the node `node`, by the id of their jobs."""

    def __init__(self, owner: str, node: str) -> None:
        self.owner, self.node = owner, node
        self._groups: dict[str, Any] = {}
        self._gpus: dict[str, tuple[str, ...]] = {}
        self._numbers = itertools.count()

    def reserve(self, job: str, bundles: Sequence[Mapping[str, float]]) -> bool:
        """Whether the job has a bundle of resources for each of its devices now. They are asked for until it has."""
        from ray.util.placement_group import placement_group, placement_group_table

        group = self._groups.get(job)
        if group is None:
            here = [{"ray.io/node-id": self.node}] * len(bundles)
            name = f"{self.owner} {next(self._numbers)} {job}"
            group = self._groups[job] = placement_group(
                [dict(bundle) for bundle in bundles], strategy="STRICT_PACK", name=name, bundle_label_selector=here
            )
            given = group.wait(_FIRST_SECONDS)
        else:
            given = placement_group_table(group).get("state") == "CREATED"
        if given and job not in self._gpus:
            self._gpus[job] = _gpus(group, bundles)
        return given

    def gpus(self, job: str) -> tuple[str, ...]:
        """What CUDA_VISIBLE_DEVICES calls the GPUs that the job has; none where it has CPUs."""
        return self._gpus.get(job, ())

    def free(self, job: str) -> None:
        """Give back what the job has, or was to have."""
        from ray.util.placement_group import remove_placement_group

        self._gpus.pop(job, None)
        if (group := self._groups.pop(job, None)) is not None:
            remove_placement_group(group)

    def close(self) -> None:
        """Give back everything."""
        for job in list(self._groups):
            self.free(job)


def free_groups(owner: str) -> None:
    """Give back the groups of all whose name is `owner`, or begins with it and a space."""
    from ray.util import get_placement_group
    from ray.util.placement_group import placement_group_table, remove_placement_group

    for facts in placement_group_table().values():
        if facts["name"].startswith(f"{owner} ") and facts["state"] != "REMOVED":
            with contextlib.suppress(ValueError):  # somebody has just done so
                remove_placement_group(get_placement_group(facts["name"]))


def _gpus(group: Any, bundles: Sequence[Mapping[str, float]]) -> tuple[str, ...]:
    """The GPUs of the bundles: Ray tells them to a task alone that has them."""
    import ray
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    asked = []
    for index, bundle in enumerate(bundles):
        if "GPU" in bundle:
            place = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=index)
            task = ray.remote(_own_gpu).options(num_cpus=0, num_gpus=bundle["GPU"], scheduling_strategy=place)
            asked.append(task.remote())
    return tuple(ray.get(asked))


def _own_gpu() -> str:
    import ray

    ids: list[str] = ray.get_runtime_context().get_accelerator_ids()["GPU"]
    return ids[0]
