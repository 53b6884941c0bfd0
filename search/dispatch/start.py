"""How long Ray and its workers take to start on this machine."""

from __future__ import annotations

import multiprocessing
import time

import ray

from fusion_search.search.declaration.specification import Resources
from fusion_search.search.dispatch.connection import connection


def seconds_to_start(resources: Resources, workers: int) -> float:
    """From a new process until Ray has so many workers that know what a trial needs, and its end.

    Raises:
        ChildProcessError: Ray cannot be started here.
    """
    process = multiprocessing.get_context("spawn").Process(
        target=_start, args=(resources.cpus_per_trial, workers)
    )
    started = time.perf_counter()
    process.start()
    process.join()
    if process.exitcode:
        raise ChildProcessError("Ray could not be started on this machine; see the lines above")
    return time.perf_counter() - started


def _start(cpus: float, workers: int) -> None:
    with connection("local"):
        task = ray.remote(num_cpus=cpus)(_import_trial)
        ray.get([task.remote() for _ in range(workers)])


def _import_trial() -> None:
    import fusion_search.search.running.recorded_trial  # noqa: F401
