"""Figures that several experiments draw: variants side by side, in pictures and in metrics."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from mnist_gan.data.mnist import DIGITS, SIDE
from mnist_gan.drawing.pictures import tile_images

SHOWN_DIGITS = (*range(DIGITS), 4, 4, 4, 4)  # in a variant's row of pictures
# The metrics that are drawn of every variant: name in the results, title, factor.
METRICS = {"fid": ("FID", 1), "label_accuracy": ("label accuracy (%)", 100), "recall": ("recall", 1)}
LOGARITHMIC = ("fid",)  # metrics whose differences are ratios
# Paul Tol's muted colours, which the colour-blind tell apart; black is that of what the others are compared with.
COLORS = ("black", "#CC6677", "#332288", "#117733", "#88CCEE", "#999933", "#AA4499", "#44AA99", "#882255")
MARKERS = "os^vDP*Xd"


def images_to_text(images):
    """Return images (n, 28, 28, c) in [-1, 1] as text that JSON can hold, in 256 levels."""
    return np.round((np.clip(images, -1, 1) + 1) * 127.5).astype(np.uint8).tobytes().hex()


def text_to_images(text, channels=1):
    """Return the images (n, 28, 28, channels) in [-1, 1] that `images_to_text` turned into text."""
    pixels = np.frombuffer(bytes.fromhex(text), np.uint8)
    return pixels.reshape(-1, SIDE, SIDE, channels) / np.float32(127.5) - 1


def draw_variants(results, pictures, title, metrics):
    """Draw a row for each variant in `results`: pictures of the first seed and a dot in each metric for every seed.

    `results` maps a variant to what `summarize` returns, `pictures` to the text of its images of SHOWN_DIGITS.
    `metrics` maps a name in the results to title and factor.
    """
    names = list(results)
    figure = Figure((9, 0.3 * len(names) + 1.6), dpi=100, layout="constrained")
    grid = figure.add_gridspec(1, 1 + len(metrics), width_ratios=[4.2, *[3.6 / len(metrics)] * len(metrics)])
    axes = figure.add_subplot(grid[0])
    mosaic = tile_images(np.concatenate([text_to_images(pictures[name]) for name in names]), len(SHOWN_DIGITS))
    axes.imshow(mosaic, cmap="gray", vmin=-1, vmax=1, aspect="auto",
                extent=(0, len(SHOWN_DIGITS), len(names) - 0.5, -0.5))
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.set_xticks(np.arange(len(SHOWN_DIGITS)) + 0.5, SHOWN_DIGITS, fontsize=9)
    axes.set_xlabel("drawn with the first seed, digit asked for", fontsize=9)
    axes.tick_params(length=0)
    for number, (name, (label, factor)) in enumerate(metrics.items(), 1):
        axes = figure.add_subplot(grid[number])
        for row, variant in enumerate(names):
            if name not in results[variant]:
                continue
            values = factor * np.array(results[variant][name]["seeds"])
            axes.plot(values, [row] * len(values), "o", color="black" if variant in ("real images", names[0])
                      else COLORS[1], alpha=0.7, markersize=5)
        axes.set(ylim=(len(names) - 0.5, -0.5), yticks=range(len(names)), yticklabels=[])
        axes.set_title(label, fontsize=10)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.4)
        if name in LOGARITHMIC:
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter("")
        else:
            axes.set_xlim(0, 1.08 * axes.get_xlim()[1])  # no dot is cut off
    figure.suptitle(title, fontsize=11)
    return figure


def draw_curves(results, pictures, title):
    """Draw what trainings came to draw, a row of digits for each, and how they came there, a curve for every seed.

    `results` maps a variant to its `curves` and "real images" to numbers alone, as `compare` returns them; `pictures`
    maps all of these to the text of images of SHOWN_DIGITS.
    """
    names = [name for name in results if name != "real images"]
    rows = [*names, "real images"]
    styles = dict(zip(names, zip(COLORS, MARKERS, strict=False), strict=False))
    figure = Figure((9, 0.37 * len(rows) + 3.4), dpi=100, layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(0.37 * len(rows) + 0.6, 2.8))
    axes = above.subplots()
    mosaic = tile_images(np.concatenate([text_to_images(pictures[name]) for name in rows]), len(SHOWN_DIGITS))
    axes.imshow(mosaic, cmap="gray", vmin=-1, vmax=1)
    axes.set_yticks((np.arange(len(rows)) + 0.5) * SIDE, rows, fontsize=10)
    for label in axes.get_yticklabels()[:-1]:
        label.set_color(styles[label.get_text()][0])
    axes.set_xticks((np.arange(len(SHOWN_DIGITS)) + 0.5) * SIDE, SHOWN_DIGITS, fontsize=10)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    above.suptitle(title, fontsize=12)
    for axes, (metric, (label, factor)) in zip(below.subplots(1, len(METRICS)), METRICS.items(), strict=True):
        for name in names:
            curves, (color, marker) = results[name]["curves"], styles[name]
            for seed, values in enumerate(curves[metric]):
                axes.plot(curves["batches"], factor * np.array(values), color=color, marker=marker, markersize=4,
                          linewidth=1, alpha=0.8, label=None if seed else name)
        axes.axhline(factor * results["real images"][metric]["mean"], color="gray", linestyle="--")
        axes.set_xscale("log")
        axes.set_xticks(curves["batches"], [f"{batches:,}" for batches in curves["batches"]], fontsize=8)
        axes.minorticks_off()
        axes.set_xlabel("batches", fontsize=10)
        axes.set_title(label, fontsize=11)
        axes.tick_params(labelsize=9)
        axes.grid(alpha=0.3)
        if metric in LOGARITHMIC:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter("")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", fontsize=9,
                  ncols=min(4, len(names)), title="dashed: real images", title_fontsize=9)
    return figure
