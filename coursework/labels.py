"""How the label is merged, and what the discriminator says of images with right and with wrong labels."""

import numpy as np
from cgan_mnist import build_networks, generate_images
from coursework.runs import (RECIPES, draw_variants, judge, cached_training, real_images, rewire, summarize,
                             train, train_and_score)
from keras import layers, ops
from matplotlib.figure import Figure
from mnist_gan.data.mnist import DIGITS, scale_images


def concatenate(pair):
    """Return image or noise and what was made of the label, a pair of (n, ...), side by side."""
    return ops.concatenate(pair, axis=-1)


def one_hot(label):
    """Return labels (n,) as (n, 10)."""
    return ops.one_hot(label, DIGITS)


def first(pair):
    """Return the image or noise of a pair, without the label."""
    return pair[0]


def projection():
    """Return the replacements that make a discriminator judge by projection.

    The logit is w · f + e(y) · f for the last hidden activations f (n, 512) and an embedding e of the label, which
    enters nowhere else (Miyato & Koyama 2018, https://arxiv.org/abs/1802.05637, equation 3).
    """
    given = []

    def probability(features):
        embedding = layers.Embedding(DIGITS, features.shape[-1], name="label_projection")(given[0])
        return ops.sigmoid(layers.Dense(1)(features) + ops.sum(embedding * features, axis=-1, keepdims=True))
    return {"label_embedding": lambda label: given.append(label) or label, "pixels_times_label": first,
            "probability": probability}


def merging(generator=None, discriminator=None):
    """Return the keywords of `train` for networks that merge the label otherwise.

    `generator` and `discriminator`, if given, return replacements for `rewire`.
    """
    def build(settings):
        drawing, averaged, judging = build_networks(settings)
        if generator:
            drawing, averaged = rewire(drawing, generator()), rewire(averaged, generator())
        return drawing, averaged, rewire(judging, discriminator()) if discriminator else judging
    return {"networks": build}


MERGINGS = {
    "embedding, concatenated": merging(lambda: {"noise_times_label": concatenate},
                                       lambda: {"pixels_times_label": concatenate}),
    "one-hot, concatenated": merging(lambda: {"label_embedding": one_hot, "noise_times_label": concatenate},
                                     lambda: {"label_embedding": one_hot, "pixels_times_label": concatenate}),
    "projection in D": merging(discriminator=projection),
    "label in G only": merging(discriminator=lambda: {"pixels_times_label": first}),
}


def label_merging(options, part):
    """Ways to merge the label: product with an embedding (ours), concatenation, projection, in one network only."""
    results, pictures = train_and_score(options, part, {"default": None, **MERGINGS})
    return {"variants": results}, draw_variants(results, pictures, "Ways to merge the label (the default: product)")


def answers(options, training):
    """Return what a discriminator says of images with each label, and what can be read from that.

    `right`, `wrong` and `generated` are shares of its answers in 20 bins from 0 to 1: of real test images with their
    own and with one of the nine other labels, and of generated images. `classified` is the share of test images for
    which it finds their own label the most probable of the ten.
    """
    _, _, x_test, y_test = options.data
    images, y_test = scale_images(x_test[::5]).numpy(), y_test[::5]
    said = np.stack([judge(training.discriminator, images, np.full(len(images), digit)).numpy()[:, 0]
                     for digit in range(DIGITS)], axis=1)
    own = np.arange(DIGITS) == y_test[:, np.newaxis]
    labels = np.tile(np.arange(DIGITS, dtype=np.int32), real_images(options).samples // DIGITS)
    drawn = generate_images(training.ema_generator, labels, 0)
    generated = judge(training.discriminator, drawn, labels).numpy()[:, 0]
    return {"means": {"right": float(said[own].mean()), "wrong": float(said[~own].mean()),
                      "generated": float(generated.mean()), "classified": float((said.argmax(1) == y_test).mean())},
            "histograms": {name: (np.histogram(values, 20, (0, 1))[0] / len(values)).tolist() for name, values in
                           (("right", said[own]), ("wrong", said[~own]), ("generated", generated))}}


def label_answers(options, part):
    """What the discriminator says of digits with right and wrong labels, with and without wrong ones in training."""
    recipes = {"default": None, "default without wrong labels": ("--wrong-label-weight", "0")}
    results, histograms = {}, {}
    for name, arguments in recipes.items():
        def compute(seed, name=name, arguments=arguments):
            training = cached_training(options, seed, name) if name in RECIPES else train(options, seed, arguments)
            return answers(options, training)
        found = [part(f"{name}, seed {seed}", lambda seed=seed: compute(seed)) for seed in options.seeds]
        histograms[name] = found[0]["histograms"]
        results[name] = summarize([entry["means"] for entry in found])
    figure = Figure((11, 4.2), dpi=100, layout="constrained")
    for axes, (name, shares) in zip(figure.subplots(1, len(histograms), sharey=True), histograms.items(), strict=True):
        for kind, label, color in (("right", "test images, right label", "tab:green"),
                                   ("wrong", "test images, wrong label", "tab:red"),
                                   ("generated", "generated images, label asked for", "tab:blue")):
            axes.stairs(100 * np.array(shares[kind]), np.linspace(0, 1, 21), color=color, linewidth=2, label=label)
        axes.set(title=name, xlabel="what the discriminator says: probability of being real", xlim=(0, 1))
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("share of images (%)")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return {"variants": results}, figure
