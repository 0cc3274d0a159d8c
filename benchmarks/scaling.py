"""How much faster more workers train: a small model of one training step that several of them share.

A step takes the time that a worker computes, a constant and so much for each of its rows, and then that of the
reductions, one after the other. For each of these a ring of n workers sends 2 (n - 1) messages one after the other with
1/n of the numbers each (Patarasuk & Yuan 2009, Bandwidth optimal all-reduce algorithms for clusters of workstations,
https://doi.org/10.1016/j.jpdc.2008.09.002). That nothing is computed while something is sent makes it a lower bound.
"""

import math

import numpy as np
from matplotlib.figure import Figure


def fit_compute(batch_size, whole, half):
    """Return (seconds per step, seconds per row) of the line through two measured steps of one process.

    `whole` are the seconds of a step with `batch_size` rows, `half` those of one with half as many.
    """
    per_row = max(whole - half, 0.0) / (batch_size - batch_size // 2)
    return whole - batch_size * per_row, per_row


def reduction_seconds(workers, reductions, size, latency, bandwidth):
    """Return the seconds in which `workers` add up `reductions` vectors of together `size` bytes, one after the other.

    `latency` is in seconds per message, `bandwidth` in bytes per second.
    """
    return 2 * (workers - 1) * (reductions * latency + size / (workers * bandwidth))


def speed_up(compute, communication, rows, workers):
    """Return how many times as many rows per second `workers` train, with `rows` each, as one alone with its `rows`.

    `compute` is what `fit_compute` returns, `communication` the seconds of all reductions of a step.
    """
    alone = compute[0] + compute[1] * rows
    return workers * alone / (alone + communication)


def worthwhile_rows(compute, communication):
    """Return the smallest number of rows per worker for which it computes at least as long as it communicates.

    With fewer, more than half of every worker's time is lost. It is math.inf if no row takes any time.
    """
    if communication <= compute[0]:
        return 1
    return math.ceil((communication - compute[0]) / compute[1]) if compute[1] else math.inf


def draw_scaling(predictions, measured, rows):
    """Draw predicted speed-ups, one panel for each network, and the measured ones of as many workers as there were.

    `predictions` maps the title of a panel to {script: (workers (n,), speed-ups (n,))}, with `rows` per worker;
    `measured` maps a script to (workers, measured speed-up, predicted speed-up) of one batch that the workers shared.
    """
    figure = Figure((9, 4.6), dpi=100, layout="constrained")
    for axes, (title, curves) in zip(np.atleast_1d(figure.subplots(1, len(predictions), sharey=True)),
                                     predictions.items(), strict=True):
        for script, (workers, speed_ups) in curves.items():
            line, = axes.plot(workers, speed_ups, label=f"{script}, predicted")
            count, found, expected = measured[script]
            axes.plot(count, found, "o", color=line.get_color(), label=f"{script}, measured here, one batch shared")
            axes.plot(count, expected, "x", color=line.get_color())
        axes.plot(workers, workers, color="black", linestyle="--", linewidth=1, label="nothing lost")
        axes.set(xscale="log", yscale="log", xlabel=f"workers with {rows} images each", title=title)
        axes.set_xticks(workers, workers)
        axes.set_yticks([0.25, 0.5, *workers], ["1/4", "1/2", *workers])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("images per second, relative to one worker")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=9,
                  title="cross: predicted for the measured point", title_fontsize=9)
    return figure
