"""How long functions take beside each other."""

import time

import numpy as np


def time_in_turns(functions, repeats):
    """Return the median seconds of each of `functions`, called in turns, so that other load meets all alike.

    The first turn, in which they may be compiled, does not count.
    """
    seconds = []
    for _ in range(repeats + 1):
        seconds.append([])
        for function in functions:
            started = time.perf_counter()
            function()
            seconds[-1].append(time.perf_counter() - started)
    return np.median(seconds[1:], axis=0).tolist()
