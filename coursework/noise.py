"""What the noise of a generator is for, and what its length, distribution and scale change."""

import functools

import numpy as np
from cgan_mnist import generate_images
from coursework.comparison import compare, summarize
from coursework.figures import SHOWN_DIGITS, images_to_text, text_to_images
from coursework.trainings import RECIPES, Variant, load_trained, score_images
from coursework.variants import DISTRIBUTIONS, other_noise, with_noise
from keras import ops
from matplotlib.figure import Figure
from mnist_gan.data.mnist import SIDE
from mnist_gan.drawing.pictures import tile_images


LENGTHS = {
    "default": RECIPES["default"],
    # Ones, because zeros would be multiplied into the label and erase it.
    "no noise": Variant(networks=other_noise(ops.ones_like)),
    **{f"length {length}": Variant(arguments=("--latent-dim", str(length))) for length in (2, 8, 200)}}
DISTRIBUTED = {
    "default": RECIPES["default"],
    **{name: Variant(networks=other_noise(transform)) for name, transform in DISTRIBUTIONS.items()}}


def noise_length(context):
    """The length of the noise, and none at all: diversity, quality, whether digits are as asked for."""
    return compare(context, LENGTHS, "Noise of other lengths (default: 100 numbers)")


def noise_distribution(context):
    """Noise of other distributions: diversity, quality, whether digits are as asked for."""
    return compare(context, DISTRIBUTED, "Noise of other distributions (default: normal)")


SCALES, QUICK_SCALES = (0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 2), (0.5, 1)


def draw_with_scales(context, scales, recipe, seed):
    """Return for each of `scales` of the noise the metrics of what a trained generator draws, and SHOWN_DIGITS."""
    generator, labels = load_trained(context, recipe, seed, RECIPES[recipe]).ema_generator, context.real_images[1]
    found = []
    for scale in scales:
        scaled = with_noise(generator, functools.partial(ops.multiply, scale))
        found.append({"scores": score_images(context, generate_images(scaled, labels, 0), labels),
                      "images": images_to_text(generate_images(scaled, SHOWN_DIGITS, 0))})
    return found


def noise_scale(context):
    """The scale of the noise when trained generators draw: precision against recall, from less noise to more."""
    scales = QUICK_SCALES if context.quick else SCALES
    found = context.cached_for_variants(RECIPES, functools.partial(draw_with_scales, context, scales))
    results = {recipe: {f"× {scale}": summarize([entries[number]["scores"] for entries in seeds])
                        for number, scale in enumerate(scales)} for recipe, seeds in found.items()}
    return results, draw_scales(scales, found)


def draw_scales(scales, found):
    """Draw `found`, for each recipe and seed what `draw_with_scales` returns for `scales`."""
    figure = Figure((9, 6.6), dpi=100, layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(1.25, 1))
    axes = above.subplots()
    shown = [text_to_images(entry["images"]) for entry in found["default"][0]]
    axes.imshow(tile_images(np.concatenate(shown), len(SHOWN_DIGITS)), cmap="gray", vmin=-1, vmax=1)
    axes.set_yticks((np.arange(len(scales)) + 0.5) * SIDE, [f"× {scale}" for scale in scales], fontsize=10)
    axes.set_xticks([])
    axes.set_title("The default's digits from less and from more noise", fontsize=12)
    *curves, accuracy = below.subplots(1, 3)
    for axes, (recipe, seeds), color in zip(curves, found.items(), ("#332288", "#CC6677"), strict=True):
        for number, entries in enumerate(seeds):
            scores = [entry["scores"] for entry in entries]
            axes.plot(*zip(*((score["recall"], score["precision"]) for scale, score in zip(scales, scores, strict=True)
                             if scale), strict=True), "o-", color=color, markersize=4)  # without noise, one image each
            accuracy.plot(scales, [100 * score["label_accuracy"] for score in scores], "o-", color=color, markersize=4,
                          label=None if number else recipe)
        for scale, score in zip(scales, scores, strict=True):
            if scale in (0.5, 1, 2):
                axes.annotate(f"× {scale}", (score["recall"], score["precision"]), (4, 4), textcoords="offset points",
                              fontsize=9)
        axes.set(xlabel="recall", ylabel="precision", title=recipe)
    accuracy.set(xlabel="scale of the noise", title="label accuracy (%)")
    accuracy.legend(loc="lower right")
    for axes in below.axes:
        axes.grid(alpha=0.3)
    return figure
