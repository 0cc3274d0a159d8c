"""How the label is merged, and what the discriminator says of images with right and with wrong labels."""

import numpy as np
from cgan_mnist import generate_images
from coursework.comparison import compare, summarize
from coursework.trainings import RECIPES, Variant, load_trained
from coursework.variants import (MERGED, AuxiliaryClassifier, classify_labels, merge_otherwise, probabilities,
                                 without_label)
from matplotlib.figure import Figure
from mnist_gan.data.mnist import DIGITS, scale_images


BLIND = ("--wrong-label-weight", "0")  # for a discriminator that does not see the label
MERGINGS = {
    "default": RECIPES["default"],
    **{name: Variant(networks=networks) for name, networks in MERGED.items()},
    "label in G only": Variant(arguments=BLIND, networks=merge_otherwise(discriminator=without_label)),
    "auxiliary classifier": Variant(arguments=BLIND, model=AuxiliaryClassifier,
                                    networks=merge_otherwise(discriminator=classify_labels))}


def label_merging(context):
    """Ways to merge the label: product with an embedding (ours), concatenation, projection, auxiliary classifier."""
    return compare(context, MERGINGS, "Ways to merge the label (default: product with an embedding)")


def measure_answers(context, gan):
    """Return what a discriminator says of images with each label, and what can be read from that.

    `right`, `wrong` and `generated` are shares of its answers in 20 bins from 0 to 1: of real test images with their
    own and with one of the nine other labels, and of generated images. `classified` is the share of test images for
    which it finds their own label the most probable of the ten.
    """
    images, y_test = scale_images(context.x_test[::5]).numpy(), context.y_test[::5]
    said = np.stack([probabilities(gan.discriminator, images, np.full(len(images), digit)).numpy()[:, 0]
                     for digit in range(DIGITS)], axis=1)
    own = np.arange(DIGITS) == y_test[:, np.newaxis]
    labels = context.real_images[1]
    drawn = generate_images(gan.ema_generator, labels, 0)
    generated = probabilities(gan.discriminator, drawn, labels).numpy()[:, 0]
    return {"means": {"right": float(said[own].mean()), "wrong": float(said[~own].mean()),
                      "generated": float(generated.mean()), "classified": float((said.argmax(1) == y_test).mean())},
            "histograms": {name: (np.histogram(values, 20, (0, 1))[0] / len(values)).tolist() for name, values in
                           (("right", said[own]), ("wrong", said[~own]), ("generated", generated))}}


def label_answers(context):
    """What the discriminators of both recipes say of digits with right and wrong labels."""
    found = context.cached_for_variants(RECIPES, lambda recipe, seed: measure_answers(
        context, load_trained(context, recipe, seed, RECIPES[recipe])))
    figure = Figure((9, 3.6), dpi=100, layout="constrained")
    for axes, (name, entries) in zip(figure.subplots(1, len(found), sharey=True), found.items(), strict=True):
        shares = entries[0]["histograms"]
        for kind, label, color in (("right", "test images, right label", "#117733"),
                                   ("wrong", "test images, wrong label", "#CC6677"),
                                   ("generated", "generated images, label asked for", "#332288")):
            axes.stairs(100 * np.array(shares[kind]), np.linspace(0, 1, 21), color=color, linewidth=2, label=label)
        axes.set(title=f"recipe: {name}", xlabel="D's probability of being real", xlim=(0, 1))
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("share of images (%)")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return {"variants": {name: summarize([entry["means"] for entry in entries])
                         for name, entries in found.items()}}, figure
