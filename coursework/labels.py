"""How the label is merged, and what the discriminator says of images with right and with wrong labels."""

import functools

import numpy as np
from cgan_mnist import build_networks, generate_images
from coursework.figures import draw_variants
from coursework.short_trainings import compute_variants, summarize, train_and_score, train_variant
from coursework.variants import probabilities, rewire
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


class Projection:
    """The head of a discriminator that compares image and label by projection.

    The logit is w · f + e(y) · f for the last hidden activations f (n, 512) and an embedding e of the label, which
    enters nowhere else (Miyato & Koyama 2018, https://arxiv.org/abs/1802.05637, equation 3).
    """

    def take_label(self, label):
        """Remember the label (n,), in the place of its embedding by the trunk, and return it."""
        self.label = label
        return label

    def logit(self, features):
        """Return the logit (n, 1) of features (n, d)."""
        embedding = layers.Embedding(DIGITS, features.shape[-1], name="label_projection")(self.label)
        projected = ops.sum(embedding * features, axis=-1, keepdims=True)
        return layers.Add(name="logit")([layers.Dense(1)(features), projected])


def project(discriminator):
    """Return a discriminator like the given one with a `Projection` as its head."""
    head = Projection()
    return rewire(discriminator, {"label_embedding": head.take_label, "pixels_times_label": first,
                                  "logit": head.logit})


def build_otherwise(settings, change_generator, change_discriminator):
    """Build networks as `build_networks` does, replaced by what the functions, unless None, make of each."""
    *generators, discriminator = build_networks(settings)
    if change_generator:
        generators = [change_generator(generator) for generator in generators]
    if change_discriminator:
        discriminator = change_discriminator(discriminator)
    return *generators, discriminator


def merge_otherwise(generator=None, discriminator=None):
    """Return the keywords of `train` for networks that these functions make of the default's."""
    return {"networks": functools.partial(build_otherwise, change_generator=generator,
                                          change_discriminator=discriminator)}


def rewired(**replacements):
    """Return a function of a network that returns it with these replacements, as `rewire` does."""
    return functools.partial(rewire, replacements=replacements)


MERGINGS = {
    "embedding, concatenated": merge_otherwise(rewired(noise_times_label=concatenate),
                                               rewired(pixels_times_label=concatenate)),
    "one-hot, concatenated": merge_otherwise(rewired(label_embedding=one_hot, noise_times_label=concatenate),
                                             rewired(label_embedding=one_hot, pixels_times_label=concatenate)),
    "projection in D": merge_otherwise(discriminator=project),
    "label in G only": merge_otherwise(discriminator=rewired(pixels_times_label=first)),
}


def label_merging(context):
    """Ways to merge the label: product with an embedding (ours), concatenation, projection, in one network only."""
    results, pictures = train_and_score(context, {"default": None, **MERGINGS})
    return {"variants": results}, draw_variants(results, pictures, "Ways to merge the label (the default: product)")


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
    labels = np.tile(np.arange(DIGITS, dtype=np.int32), context.samples // DIGITS)
    drawn = generate_images(gan.ema_generator, labels, 0)
    generated = probabilities(gan.discriminator, drawn, labels).numpy()[:, 0]
    return {"means": {"right": float(said[own].mean()), "wrong": float(said[~own].mean()),
                      "generated": float(generated.mean()), "classified": float((said.argmax(1) == y_test).mean())},
            "histograms": {name: (np.histogram(values, 20, (0, 1))[0] / len(values)).tolist() for name, values in
                           (("right", said[own]), ("wrong", said[~own]), ("generated", generated))}}


def label_answers(context):
    """What the discriminator says of digits with right and wrong labels, with and without wrong ones in training."""
    variants = {"default": None, "default without wrong labels": {"arguments": ("--wrong-label-weight", "0")}}

    def measure(name, seed):
        return measure_answers(context, train_variant(context, seed, name, variants[name])[0])

    found = compute_variants(context, variants, measure)
    figure = Figure((11, 4.2), dpi=100, layout="constrained")
    for axes, (name, entries) in zip(figure.subplots(1, len(found), sharey=True), found.items(), strict=True):
        shares = entries[0]["histograms"]
        for kind, label, color in (("right", "test images, right label", "tab:green"),
                                   ("wrong", "test images, wrong label", "tab:red"),
                                   ("generated", "generated images, label asked for", "tab:blue")):
            axes.stairs(100 * np.array(shares[kind]), np.linspace(0, 1, 21), color=color, linewidth=2, label=label)
        axes.set(title=name, xlabel="what the discriminator says: probability of being real", xlim=(0, 1))
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("share of images (%)")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return {"variants": {name: summarize([entry["means"] for entry in entries])
                         for name, entries in found.items()}}, figure
