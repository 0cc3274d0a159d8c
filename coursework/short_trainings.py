"""Short trainings of the CGAN and of its variants, and what is measured of them.

A short training has STEPS batches, the same for all variants: enough to tell recipes apart, far from the digits of a
whole run. Its metrics are comparable with each other and with nothing else.
"""

import functools
import json

import numpy as np
from cgan_mnist import CGAN, build_networks, generate_images, parse_arguments, recalibrate
from coursework.comparison import summarize
from coursework.figures import SHOWN_DIGITS, images_to_text
from mnist_gan.data.mnist import DIGITS, scale_images
from mnist_gan.files import read_npz
from mnist_gan.metrics.classifiers import classify
from mnist_gan.metrics.distances import frechet_distance, nearest, precision_recall, total_variance
from mnist_gan.running.checkpoints import restore, save_checkpoint
from mnist_gan.running.run import shuffled_batches
from mnist_gan.running.settings import record_settings

BATCH_SIZE = 64
STEPS, QUICK_STEPS = 600, 20
# A higher rate of the generator than the default's, a narrower first layer and Keras's start, for digits within so few
# batches; less mode seeking and no stretched grays, as when these were chosen.
HURRIED = ("--generator-learning-rate", "2e-3", "--discriminator-learning-rate", "1e-3", "--discriminator-units", "256",
           "--discriminator-embedding-mean", "0", "--mode-seeking-weight", "0.24", "--gray-stretch", "0",
           "--dark-start", "0")
# The default, and the default without label smoothing, wrong labels and mode seeking, in which losses are compared.
VANILLA = ("--label-smoothing", "0", "--dropout", "0", "--wrong-label-weight", "0", "--mode-seeking-weight", "0")
RECIPES = {"default": (), "vanilla": VANILLA}


def short_settings(context, seed, arguments=()):
    """Return the settings of a short training with the command line's `arguments`, which prevail over HURRIED."""
    settings = parse_arguments(["--batch-size", str(BATCH_SIZE), "--seed", str(seed), *HURRIED, *arguments])
    settings.train_size = min(len(context.x_train), BATCH_SIZE * (QUICK_STEPS if context.quick else STEPS))
    return settings


def build(context, settings, model=CGAN, networks=build_networks, jit_compile=True):
    """Return `model`, CGAN or a subclass, with `networks`, a function like `build_networks`, before its first batch.

    XLA, which `jit_compile` asks for, compiles for longer than a quick training takes, which therefore has none.
    """
    return model(settings, context.x_train, context.y_train, networks, jit_compile and not context.quick)


def train(context, seed, arguments=(), **variant):
    """Train for STEPS batches with the command line's `arguments`; return (CGAN, history), float32 (batches, 6).

    `variant` are keywords of `build`. The `ema_generator` is ready to draw.
    """
    settings = short_settings(context, seed, arguments)
    gan = build(context, settings, **variant)
    history = np.stack([gan.train_step(indices, step).numpy() for step, indices in shuffled_batches(settings, 0)])
    if not np.isfinite(history).all():
        raise FloatingPointError("a loss is no longer finite in a short training")
    recalibrate(gan.ema_generator, seed)
    return gan, history


def cached_training(context, seed, recipe="default"):
    """Return what `train` returns for one of RECIPES, trained once and cached in a file for all experiments."""
    path = context.folder / f"{recipe}_{seed}.npz"
    settings = short_settings(context, seed, RECIPES[recipe])
    record = {**record_settings(settings, context.x_train, context.y_train), "code_crc32": context.code}
    arrays = read_npz(path) if path.is_file() else {"settings": None}
    if str(arrays["settings"]) != json.dumps(record):
        gan, history = train(context, seed, RECIPES[recipe])
        save_checkpoint(path, record, 1, 0.0, history, [variable.numpy() for variable in gan.variables])
        arrays = read_npz(path)
    gan = build(context, settings)  # also after a training, so that what follows is the same whether it was cached
    restore(gan.variables, [arrays[name] for name in sorted(arrays) if name.startswith("variable")], path)
    return gan, arrays["history"]


# ------------------------------------------------------------------------------------------- metrics


def score_images(context, images, labels):
    """Return metrics, a dictionary, of images (n, 28, 28, 1) in [-1, 1] meant to show `labels` (n,).

    `reached` counts the training images that are the nearest to one of the images at least, in the classifier's
    features: a generator that has collapsed to m images reaches m at most. It is given as a multiple of what
    as many test images reach.
    """
    features, seen = classify(context.classifier, images)
    precision, recall = precision_recall(context.test_features, features)
    test_labels = context.compared[1]
    variances = [total_variance(features[labels == digit]) / total_variance(context.test_features[test_labels == digit])
                 for digit in range(DIGITS)]
    return {
        "fid": float(frechet_distance(features, context.test_features)),
        "label_accuracy": float((seen == labels).mean()),
        "precision": float(precision), "recall": float(recall), "total_variance": float(np.mean(variances)),
        "reached": len(np.unique(nearest(features, context.train_features)[1])) / context.reached_by_test_images}


def score_generator(context, generator, seed=0):
    """Return the metrics, and as `images` the text of images of SHOWN_DIGITS, of what a generator draws."""
    labels = np.tile(np.arange(DIGITS), context.samples // DIGITS)
    images = generate_images(generator, labels, seed)
    return {**score_images(context, images, labels),
            "images": images_to_text(generate_images(generator, SHOWN_DIGITS, seed))}


def score_real_images(context):
    """Return what `score_generator` does of as many training images: the level of a perfect generator."""
    images, labels = scale_images(context.x_train[-context.samples:]).numpy(), context.y_train[-context.samples:]
    positions = {digit: iter(np.flatnonzero(labels == digit)) for digit in range(DIGITS)}
    shown = images[[next(positions[digit]) for digit in SHOWN_DIGITS]]
    return {**score_images(context, images, labels), "images": images_to_text(shown)}


def train_variant(context, seed, name, variant):
    """Return what `train` returns for the keywords `variant`, or `cached_training` for None, a `name` in RECIPES."""
    return cached_training(context, seed, name) if variant is None else train(context, seed, **variant)


def compute_variants(context, variants, compute):
    """Return for each of `variants` the list of `compute(variant, seed)` for every seed, each cached, a dictionary."""
    jobs = [(name, seed) for name in variants for seed in context.seeds]
    found = {name: [] for name in variants}
    for number, (name, seed) in enumerate(jobs, 1):
        found[name].append(context.cached(f"{name}, seed {seed}", functools.partial(compute, name, seed),
                                          len(jobs) - number))
    return found


def train_and_score(context, variants, measure=None):
    """Train every one of `variants` with every seed and return (results, pictures).

    `variants` maps names to what `train_variant` takes. `measure(gan, history)` returns more metrics. `results` has
    what `summarize` returns for each variant and for "real images", `pictures` the text of the first seed's images.
    """
    def score(name, seed):
        gan, history = train_variant(context, seed, name, variants[name])
        return {**score_generator(context, gan.ema_generator), **(measure(gan, history) if measure else {})}
    scores = compute_variants(context, variants, score)
    scores["real images"] = [context.cached("real images", functools.partial(score_real_images, context))]
    return ({name: summarize(columns) for name, columns in scores.items()},
            {name: columns[0]["images"] for name, columns in scores.items()})
