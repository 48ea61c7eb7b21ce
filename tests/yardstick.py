"""How slow this machine is just now, so that a limit of time fails for a slow program and not for a busy machine."""

import time


def slowness() -> float:
    """Processor time of a fixed piece of Python over what it takes on a quiet core of 2026 (0.065 s), at least 1.

    Under a tracer, as for coverage, it is as much slower as what is being timed.
    """
    started = time.process_time()
    counts = dict[str, int]()
    for i in range(250_000):
        word = str(i % 977)
        counts[word] = counts.get(word, 0) + len(word)
    assert sum(counts.values()) > 0
    return max(1.0, (time.process_time() - started) / 0.065)
