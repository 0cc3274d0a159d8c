"""The history of a run, one row of numbers per batch: as a table and as curves."""

import math

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from mnist_gan.files import atomic_write


def write_history(path, columns, history, epochs) -> None:
    """Write the history (batches, len(columns)) of `epochs` epochs as CSV, one row per batch; `columns` are names."""
    batches = len(history) // epochs
    number = np.arange(len(history))
    table = np.column_stack([number // batches + 1, number % batches + 1, history])
    atomic_write(path, lambda partial: np.savetxt(
        partial, table, fmt=["%d", "%d"] + ["%.7g"] * len(columns), delimiter=",",
        header=",".join(("epoch", "batch", *columns)), comments=""))


def draw_curves(epochs, curves, ylabel, title, reference, reference_label) -> Figure:
    """Draw columns of the history of `epochs` epochs: every batch thin, the mean of every epoch bold.

    `curves` maps the label of a curve to (column (batches,), color); `reference` is a level to mark.
    """
    figure = Figure((9, 6), dpi=100, layout="constrained")
    axes = figure.subplots()
    for label, (column, color) in curves.items():
        position = (np.arange(len(column)) + 1) * epochs / len(column)
        axes.plot(position, column, color=color, linewidth=0.4, alpha=0.35)
        axes.plot(np.arange(epochs) + 0.5, column.reshape(epochs, -1).mean(1), color=color, linewidth=2.5,
                  marker="o", markersize=4, label=f"{label}: epoch mean (thin: every batch)")
    axes.axhline(reference, color="black", linestyle="--", linewidth=1, label=reference_label)
    axes.set(xlabel="epoch", ylabel=ylabel, title=title, xlim=(0, epochs))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center")
    return figure


def draw_losses(epochs, d_loss, g_loss, title="Losses of generator and discriminator") -> Figure:
    """Draw the losses of discriminator and generator, (batches,) each in nats, over `epochs` epochs."""
    figure = draw_curves(
        epochs, {"generator (−log D of generated images)": (g_loss, "tab:orange"),
                 "discriminator (mean of real and generated)": (d_loss, "tab:blue")},
        "binary cross-entropy (nats)", title, math.log(2),
        "ln 2 = 0.693: either loss if the discriminator answered 1/2 to everything")
    # The first batches, whose losses are several times as high, would squeeze all the rest.
    figure.axes[0].set_ylim(0, 1.2 * np.stack([d_loss, g_loss], 1).reshape(epochs, -1, 2).mean(1).max())
    return figure


def draw_conditions(history, epochs, number):
    """Draw the KL term and the matching loss of a stage over its `epochs` epochs from its history (batches, 7)."""
    figure = draw_curves(
        epochs, {"KL divergence of the conditions, per dimension": (history[:, 5], "tab:purple"),
                 "matching loss": (history[:, 6], "tab:green")},
        "nats", f"Stage {'I' * number}: how much of the sentence the generator hears", 0.0,
        "0: conditions that say nothing (KL), pictures whose sentence is certain (matching)")
    # The first batches, whose matching loss is several times as high, would squeeze all the rest.
    figure.axes[0].set_ylim(-0.05, 1.2 * history[:, 5:].reshape(epochs, -1, 2).mean(1).max())
    return figure


def draw_quality(epochs, d_loss, g_loss, scored_epochs, fid, label_accuracy) -> Figure:
    """Draw what tells how good the digits are above the losses, which do not: over `epochs` epochs.

    The losses are (batches,) each; `fid` and `label_accuracy`, in [0, 1], are (n,), after the `scored_epochs` (n,).
    """
    figure = Figure((9, 9), dpi=100, layout="constrained")
    curves = ((fid, "FID", "tab:purple"), (100 * label_accuracy, "label accuracy (%)", "tab:green"))
    axes = figure.subplots(3, 1, sharex=True)
    for panel, (values, label, color) in zip(axes[:2], curves, strict=True):
        panel.plot(scored_epochs, values, color=color, linewidth=2.5, marker="o", markersize=4)
        panel.set(ylabel=label)
    axes[0].set(yscale="log", title="Quality of the digits, and the losses, which do not show it")
    axes[0].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes[0].yaxis.set_major_formatter("{x:g}")
    axes[0].yaxis.set_minor_formatter(NullFormatter())
    for loss, label, color in ((g_loss, "generator", "tab:orange"), (d_loss, "discriminator", "tab:blue")):
        axes[2].plot(np.arange(epochs) + 1, loss.reshape(epochs, -1).mean(1), color=color, linewidth=2.5, marker="o",
                     markersize=4, label=label)
    axes[2].set(xlabel="after epoch", ylabel="loss, epoch mean (nats)", xlim=(0, epochs + 0.5))
    axes[2].legend()
    axes[2].xaxis.get_major_locator().set_params(integer=True)
    for panel in axes:
        panel.grid(alpha=0.3, which="both")
    return figure


def best_answer(label_smoothing, wrong_label_weight) -> float:
    """Return the discriminator's best answer d to images that are equally frequent among real and generated ones.

    It makes the sum of the losses -(1 - `label_smoothing`) log d - `label_smoothing` log(1 - d) and
    -(1 - `wrong_label_weight`) log(1 - d) smallest (Goodfellow et al. 2014, proposition 1, where both are 0 and the
    best answer is 1/2).
    """
    return (1 - label_smoothing) / (2 - wrong_label_weight)


def draw_discriminator_output(epochs, on_real, on_generated, undecided) -> Figure:
    """Draw the discriminator's mean probability on real and on generated images, (batches,) each, over `epochs` epochs.

    `undecided` is its best answer to images that are equally frequent among both.
    """
    figure = draw_curves(
        epochs, {"real images": (on_real, "tab:green"), "generated images": (on_generated, "tab:red")},
        "mean probability of being real", "What the discriminator says, in its own updates", undecided,
        f"{undecided:.3g}: the best answer to images that could as well be real as generated")
    figure.axes[0].set_ylim(0, 1)
    return figure
