"""Short trainings of the CGAN and of its variants, scored and drawn alike.

A short training has STEPS batches, the same for all variants: enough to tell recipes apart, far from the digits of a
whole run. Its figures are comparable with each other and with nothing else.
"""

import json
from types import SimpleNamespace

import keras
import numpy as np
import tensorflow as tf
from cgan_mnist import build_networks, build_training, generate_images, parse_arguments, recalibrate, train_epoch
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from mnist_gan.running.checkpoints import restore, save_checkpoint
from mnist_gan.metrics.classifiers import classify, load_classifier
from mnist_gan.metrics.distances import frechet_distance, nearest, precision_recall, total_variance
from mnist_gan.files import read_npz
from mnist_gan.data.mnist import DIGITS, SIDE, scale_images
from mnist_gan.drawing.pictures import tile_images
from mnist_gan.running.settings import record_settings

BATCH_SIZE = 64
STEPS, QUICK_STEPS = 600, 20
# A higher rate of the generator than the default's, a narrower first layer and Keras's start, for digits within so few
# batches; less mode seeking and no stretched grays, as when these were chosen.
HURRIED = ("--generator-learning-rate", "2e-3", "--discriminator-learning-rate", "1e-3", "--discriminator-units", "256",
           "--discriminator-embedding-mean", "0", "--mode-seeking-weight", "0.24", "--gray-stretch", "0")
SAMPLES, QUICK_SAMPLES = 5000, 500  # fewer than evaluate.py's 10,000, which makes all FIDs somewhat higher
SHOWN = (*range(DIGITS), 4, 4, 4, 4)  # the digits in a variant's row of pictures
# The default, and the game of Goodfellow et al. 2014 with nothing that was invented since, to which remedies are added.
RECIPES = {"default": (), "vanilla": ("--label-smoothing", "0", "--dropout", "0", "--wrong-label-weight", "0",
                                   "--mode-seeking-weight", "0")}
FIGURES = {"fid": ("FID", 1), "label_accuracy": ("label accuracy (%)", 100), "recall": ("recall", 1),
           "total_variance": ("variance within\ndigits, real = 1", 1), "reached": ("training images\nreached, real = 1", 1)}
LOGARITHMIC = ("fid",)  # figures whose differences are ratios


def short_settings(options, seed, arguments=()):
    """Return the settings of a short training with the command line's `arguments`, which prevail over HURRIED."""
    settings = parse_arguments(["--batch-size", str(BATCH_SIZE), "--seed", str(seed), *HURRIED, *arguments])
    settings.train_size = min(len(options.data[0]), BATCH_SIZE * (QUICK_STEPS if options.quick else STEPS))
    return settings


def train(options, seed, arguments=(), networks=build_networks, change=None):
    """Train a CGAN for STEPS batches with the command line's `arguments`, and return its training.

    `networks` is a function like `build_networks`; `change(training, settings)`, if given, may change the optimizers
    or replace `train_batch` before the first batch, to be compiled by XLA if `training.jit_compile`.
    The training also has `history`, float32 (batches, 6); its averaged generator is ready to draw.
    """
    settings = short_settings(options, seed, arguments)
    # XLA compiles for longer than a quick training takes.
    training = build_training(settings, *options.data[:2], jit_compile=not options.quick, networks=networks)
    training.jit_compile = not options.quick
    if change:
        change(training, settings)
    training.history = train_epoch(training, settings, 0)
    recalibrate(training.ema_generator, seed)
    return training


def cached_training(options, seed, recipe="default"):
    """Return what `train` returns for one of RECIPES, trained once and kept in a file for all experiments."""
    path, settings = options.networks / f"{recipe}_{seed}.npz", short_settings(options, seed, RECIPES[recipe])
    record = record_settings(settings, *options.data[:2])
    arrays = read_npz(path) if path.is_file() else {"settings": None}
    if str(arrays.pop("settings")) != json.dumps(record):
        training = train(options, seed, RECIPES[recipe])
        save_checkpoint(path, record, 1, 0.0, training.history, [variable.numpy() for variable in training.variables])
        arrays = read_npz(path)
    training = build_training(settings, *options.data[:2], jit_compile=not options.quick)
    restore(training.variables, [arrays[name] for name in sorted(arrays) if name.startswith("variable")], path)
    training.history = arrays["history"]
    return training


def real_images(options):
    """Return what all images are compared to, a namespace; made once.

    `classifier`; `test_features` (n, 128) and `test_labels` (n,) of test images; `train_features` (2n, 128) of training
    images; `reached`, the number of different ones of these that are the nearest of the n test images.
    """
    if not hasattr(options, "real"):
        x_train, y_train, x_test, y_test = options.data
        samples = QUICK_SAMPLES if options.quick else SAMPLES
        classifier = load_classifier(options.classifiers, "classifier", "in whose features images are compared",
                                     x_train, y_train)
        every = max(1, len(x_test) // samples)  # MNIST's test images are sorted by the kind of their writers
        test_features, _ = classify(classifier, scale_images(x_test[::every]).numpy())
        train_features, _ = classify(classifier, scale_images(x_train[:2 * samples]).numpy())
        options.real = SimpleNamespace(
            classifier=classifier, samples=samples, test_features=test_features, test_labels=y_test[::every],
            train_features=train_features, reached=len(np.unique(nearest(test_features, train_features)[1])))
    return options.real


def score_images(options, images, labels):
    """Return FIGURES, a dictionary, of images (n, 28, 28, 1) in [-1, 1] meant to show `labels` (n,).

    `reached` counts the training images that are the nearest to one of the images at least, in the classifier's
    features: a generator that has collapsed to m images reaches m at most. It is given as a multiple of what
    as many test images reach.
    """
    real = real_images(options)
    features, seen = classify(real.classifier, images)
    precision, recall = precision_recall(real.test_features, features)
    return {
        "fid": float(frechet_distance(features, real.test_features)),
        "label_accuracy": float((seen == labels).mean()),
        "precision": float(precision), "recall": float(recall),
        "total_variance": float(np.mean([total_variance(features[labels == digit])
                                 / total_variance(real.test_features[real.test_labels == digit]) for digit in range(DIGITS)])),
        "reached": len(np.unique(nearest(features, real.train_features)[1])) / real.reached}


def score(options, generator, seed=0):
    """Return FIGURES and `images`, a row of pictures for `draw_variants`, of what a generator draws."""
    labels = np.tile(np.arange(DIGITS), real_images(options).samples // DIGITS)
    images = generate_images(generator, labels, seed)
    shown = generate_images(generator, SHOWN, seed)
    return {**score_images(options, images, labels), "images": encode(shown)}


def score_real(options):
    """Return FIGURES and `images` of as many real training images: the level of a perfect generator."""
    x_train, y_train, _, _ = options.data
    samples = real_images(options).samples
    images, labels = scale_images(x_train[-samples:]).numpy(), y_train[-samples:]
    ranks = {digit: iter(np.flatnonzero(labels == digit)) for digit in range(DIGITS)}
    return {**score_images(options, images, labels),
            "images": encode(images[[next(ranks[digit]) for digit in SHOWN]])}


def encode(images):
    """Return images (n, 28, 28, c) in [-1, 1] as text that JSON can hold, in 256 levels."""
    return np.round((np.clip(images, -1, 1) + 1) * 127.5).astype(np.uint8).tobytes().hex()


def decode(text, channels=1):
    """Return the images (n, 28, 28, channels) in [-1, 1] that `encode` turned into text."""
    pixels = np.frombuffer(bytes.fromhex(text), np.uint8)
    return pixels.reshape(-1, SIDE, SIDE, channels) / np.float32(127.5) - 1


def summarize(scores):
    """Return mean and half range of every figure over `scores`, one dictionary for each seed.

    The half range is half the distance between the lowest and the highest seed.
    """
    values = {name: [figures[name] for figures in scores] for name in scores[0] if name != "images"}
    return {name: {"mean": float(np.mean(column)), "half_range": (max(column) - min(column)) / 2, "seeds": column}
            for name, column in values.items()}


def train_and_score(options, part, variants, measure=None):
    """Train every one of `variants` with every seed and return (results, pictures).

    `variants` maps a name to the keywords of `train`; those of RECIPES map to None. `measure(training)` returns more
    figures. `results` has for each variant and for "real images" what `summarize` returns; `pictures` has the images of
    the first seed.
    """
    jobs = [(name, seed) for name in variants for seed in options.seeds]
    scores = {}
    for number, (name, seed) in enumerate(jobs):
        def compute(name=name, seed=seed):
            training = cached_training(options, seed, name) if name in RECIPES else train(options, seed, **variants[name])
            return {**score(options, training.ema_generator), **(measure(training) if measure else {})}
        scores.setdefault(name, []).append(part(f"{name}, seed {seed}", compute, len(jobs) - number - 1))
    scores["real images"] = [part("real images", lambda: score_real(options))]
    return ({name: summarize(columns) for name, columns in scores.items()},
            {name: columns[0]["images"] for name, columns in scores.items()})


def draw_variants(results, pictures, title, figures=FIGURES):
    """Draw a row for each variant in `results`: pictures of the first seed and, of each seed, a dot in each figure."""
    names = list(results)
    width = len(SHOWN) * 0.42
    figure = Figure((width + 2.3 + 1.75 * len(figures), 0.42 * len(names) + 1.7), dpi=100, layout="constrained")
    grid = figure.add_gridspec(1, 1 + len(figures), width_ratios=[width, *[1.75] * len(figures)])
    axes = figure.add_subplot(grid[0])
    mosaic = tile_images(np.concatenate([decode(pictures[name]) for name in names]), len(SHOWN))
    axes.imshow(mosaic, cmap="gray", vmin=-1, vmax=1, aspect="auto", extent=(0, len(SHOWN), len(names) - 0.5, -0.5))
    axes.set_yticks(range(len(names)), names, fontsize=12)
    axes.set_xticks(np.arange(len(SHOWN)) + 0.5, SHOWN, fontsize=12)
    axes.set_xlabel("drawn with the first seed, digit asked for", fontsize=12)
    axes.tick_params(length=0)
    for number, (name, (label, factor)) in enumerate(figures.items(), 1):
        axes = figure.add_subplot(grid[number])
        for row, variant in enumerate(names):
            if name not in results[variant]:
                continue
            values = factor * np.array(results[variant][name]["seeds"])
            color = {"real images": "black", names[0]: "tab:orange"}.get(variant, "tab:blue")
            axes.plot(values, [row] * len(values), "o", color=color, alpha=0.7, markersize=6)
            axes.plot([values.min(), values.max()], [row, row], color=color, linewidth=1.5)
        axes.set(ylim=(len(names) - 0.5, -0.5), yticks=range(len(names)), yticklabels=[])
        axes.set_title(label, fontsize=12)
        axes.grid(alpha=0.4)
        if name in LOGARITHMIC:
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter("")
        else:
            axes.set_xlim(0, 1.08 * axes.get_xlim()[1])  # no dot is cut off
    figure.suptitle(title, fontsize=15)
    return figure


def baseline(options, part):
    """The default recipe and a vanilla one in short trainings, which the other experiments change one thing of."""
    results, pictures = train_and_score(options, part, dict.fromkeys(RECIPES))
    batches = len(cached_training(options, options.seeds[0]).history)
    return ({"batches": batches, "batch_size": BATCH_SIZE, "hurried": HURRIED, "samples": real_images(options).samples,
             "training_images_reached_by_test_images": real_images(options).reached, "variants": results},
            draw_variants(results, pictures, f"Both recipes after {batches} batches"))


def rewire(network, replacements):
    """Return a new network like `network` in which functions take the place of some layers.

    `replacements` maps the name of a layer to a function of what the layer is given, symbolic tensors. The other layers
    are new ones with the same settings, so that they fit whatever the functions return.
    """
    def call(layer, *args, **kwargs):
        return replacements[layer.name](*args) if layer.name in replacements else layer(*args, **kwargs)
    return keras.models.clone_model(network, call_function=call)


def judge(discriminator, images, labels):
    """Return the probabilities (n, 1), a tensor, that a discriminator gives images (n, 28, 28, 1) with labels (n,)."""
    return discriminator([tf.convert_to_tensor(images), tf.convert_to_tensor(labels, tf.int32)], training=False)
