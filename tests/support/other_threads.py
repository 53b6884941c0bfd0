"""Whether others than the thread that calls compute."""

from __future__ import annotations

import time
from collections.abc import Callable

from threadpoolctl import threadpool_limits


def others_share(call: Callable[[], object]) -> float:
    """Processor time of other threads, as a share of the caller's own, while NumPy may have two.

    The least of up to 30 runs: threads that have just been started compute for a while for nothing,
    and what other tests left in this process may be at work for seconds.
    """
    others = []
    with threadpool_limits(2, user_api="blas"):
        for _ in range(30):
            before, own = time.process_time(), time.thread_time()
            call()
            seconds, its_own = time.process_time() - before, time.thread_time() - own
            others.append((seconds - its_own) / its_own)
            if others[-1] < 0.1:
                break
    return min(others)
