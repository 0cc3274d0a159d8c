"""Variants of the CGAN side by side: their metrics over the training, in numbers and in a figure."""

import numpy as np
from coursework.figures import COLORS, MARKERS, SHOWN_DIGITS, images_to_text, text_to_images
from coursework.trainings import score_images, train_variants
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from mnist_gan.data.mnist import SIDE
from mnist_gan.drawing.pictures import tile_images

# The metrics that are drawn of every variant: name in the results, title, factor.
METRICS = {"fid": ("FID", 1), "label_accuracy": ("label accuracy (%)", 100), "recall": ("recall", 1)}


def summarize(scores):
    """Return mean and half range of every metric over `scores`, a dictionary for each seed whose `images` do not count.

    The half range is half the distance between the lowest and the highest seed.
    """
    values = {name: [metrics[name] for metrics in scores] for name in scores[0] if name != "images"}
    return {name: {"mean": float(np.mean(column)), "half_range": (max(column) - min(column)) / 2, "seeds": column}
            for name, column in values.items()}


def score_real_images(context):
    """Return the metrics of real images, the level of a perfect generator, and the text of images of SHOWN_DIGITS."""
    images, labels = context.real_images
    positions = {digit: iter(np.flatnonzero(labels == digit)) for digit in set(SHOWN_DIGITS)}
    shown = images[[next(positions[digit]) for digit in SHOWN_DIGITS]]
    return {"scores": score_images(context, images, labels), "images": images_to_text(shown)}


def compare(context, variants, title):
    """Train `variants`, a dictionary of `Variant`, with every seed and return (results, figure).

    The results of a variant are what `summarize` returns of its last scores, and as `curves` those of METRICS over
    the training, (seeds, scorings) each.
    """
    found = train_variants(context, variants)
    real = context.cached("real images", lambda: score_real_images(context))
    results = {name: {**summarize([numbers["scores"][-1] for numbers in seeds]), "curves": {
        "batches": [scores["batches"] for scores in seeds[0]["scores"]],
        **{metric: [[scores[metric] for scores in numbers["scores"]] for numbers in seeds] for metric in METRICS}}}
        for name, seeds in found.items()}
    results["real images"] = summarize([real["scores"]])
    pictures = {**{name: seeds[0]["images"] for name, seeds in found.items()}, "real images": real["images"]}
    seconds = sum(numbers["seconds"] for seeds in found.values() for numbers in seeds)
    return ({"training_seconds": round(seconds, 1), "variants": results},
            draw_comparison(results, pictures, title))


def draw_comparison(results, pictures, title):
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
        if metric == "fid":
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter("")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", fontsize=9,
                  ncols=min(4, len(names)), title="dashed: real images", title_fontsize=9)
    return figure
