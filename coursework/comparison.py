"""Variants of the CGAN side by side: their metrics over the training, in numbers and in a figure."""

import numpy as np

from coursework.figures import METRICS, SHOWN_DIGITS, draw_curves, images_to_text
from coursework.trainings import score_images, train_variants


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
            draw_curves(results, pictures, title))
