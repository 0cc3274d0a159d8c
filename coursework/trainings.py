"""The trainings that the report compares: as a user runs them, with one thing changed, scored along the way.

Each has all training images and 9,380 batches: 10 epochs of the default recipe or all 20 of the coursework's.
"""

import contextlib
import json
import re
import time
import zlib
from typing import NamedTuple

import numpy as np
from cgan_mnist import CGAN, build_networks, generate_images, parse_arguments
from coursework.context import ROOT
from coursework.figures import SHOWN_DIGITS, images_to_text
from coursework.variants import probabilities
from mnist_gan.data.mnist import DIGITS, scale_images
from mnist_gan.files import atomic_write, open_folder, read_npz
from mnist_gan.metrics.classifiers import classify
from mnist_gan.metrics.components import count_components
from mnist_gan.metrics.distances import frechet_distance, precision_recall, total_variance
from mnist_gan.running.command_line import readable_time
from mnist_gan.running.run import shuffled_batches
from mnist_gan.running.settings import record_settings

EPOCHS = {"default": 10, "coursework": 20}
SCORED = (0.1, 0.2, 0.5, 1.0)  # shares of the training after which it is scored
# The code that decides what a training's numbers are.
CODE = ("cgan_mnist.py", "mnist_gan/networks.py", "mnist_gan/data/mnist.py", "mnist_gan/metrics/*.py",
        "mnist_gan/running/distribution.py", "mnist_gan/running/ema.py", "mnist_gan/running/run.py",
        "coursework/trainings.py")


class Variant(NamedTuple):
    """A recipe and what is changed of it: options of the command line, the updates, the networks.

    `model` is `CGAN` or a subclass and `networks` a function like `build_networks`. `jit_compile` compiles with XLA,
    which makes Dense layers faster and convolutions slower. With `keep` the trained networks are kept, too.
    """

    recipe: str = "default"
    arguments: tuple = ()
    model: type = CGAN
    networks: object = build_networks
    jit_compile: bool = True
    keep: bool = False


RECIPES = {recipe: Variant(recipe, keep=True) for recipe in EPOCHS}


def variant_settings(context, variant, seed):
    """Return the settings of the training of a `Variant` with a `seed`."""
    epochs = 1 if context.quick else EPOCHS[variant.recipe]
    settings = parse_arguments(["--recipe", variant.recipe, "--epochs", str(epochs), "--seed", str(seed),
                                *variant.arguments])
    settings.train_size = len(context.x_train)
    return settings


def build(context, variant, seed):
    """Return the CGAN of a `Variant` before its first batch. A quick one has no XLA, which compiles for longer."""
    settings = variant_settings(context, variant, seed)
    return variant.model(settings, context.x_train, context.y_train, variant.networks,
                         variant.jit_compile and not context.quick)


def train(context, variant, seed):
    """Train a `Variant` and return (CGAN, numbers).

    The numbers, fit for JSON, are `scores`, what `score` returns after each share in SCORED, with the batches until
    then; `losses`, the means of HISTORY_COLUMNS in each epoch; and `images`, the text of images of SHOWN_DIGITS.
    Raises FloatingPointError when a loss is no longer finite.
    """
    gan = build(context, variant, seed)
    epochs, scores, losses, batches = gan.settings.epochs, [], [], 0
    for epoch in range(epochs):
        history = [gan.train_step(indices, step).numpy() for step, indices in shuffled_batches(gan.settings, epoch)]
        batches += len(history)
        losses.append(np.mean(history, axis=0, dtype=np.float64).tolist())
        if not np.isfinite(losses[-1]).all():
            raise FloatingPointError(f"a loss is no longer finite in epoch {epoch + 1}")
        if epoch + 1 in {round(share * epochs) for share in SCORED}:
            gan.finish_ema_generator()
            scores.append({"batches": batches, **score(context, gan)})
    shown = generate_images(gan.ema_generator, SHOWN_DIGITS, 0)
    return gan, {"scores": scores, "losses": losses, "images": images_to_text(shown)}


def score(context, gan):
    """Return the metrics, a dictionary, of what a CGAN draws and what its discriminator says of test images.

    `said_of_right` and `said_of_wrong` are its mean probabilities that test images are real with their own and with
    other labels; `classified` is the share of test images for which it finds their own label the most probable.
    """
    labels = context.real_images[1]  # those of the images beside which the drawn ones stand
    images = generate_images(gan.ema_generator, labels, 0)
    test_images, test_labels = scale_images(context.x_test[::5]).numpy(), context.y_test[::5]
    said = np.stack([probabilities(gan.discriminator, test_images, np.full(len(test_images), digit)).numpy()[:, 0]
                     for digit in range(DIGITS)], axis=1)
    own = np.arange(DIGITS) == test_labels[:, np.newaxis]
    return {**score_images(context, images, labels), "said_of_right": float(said[own].mean()),
            "said_of_wrong": float(said[~own].mean()), "classified": float((said.argmax(1) == test_labels).mean())}


def score_images(context, images, labels):
    """Return the metrics, a dictionary, of images (n, 28, 28, 1) in [-1, 1] meant to show `labels` (n,).

    They are those of `evaluate.py` and compare with all test images, in the same features.
    """
    features, seen = classify(context.classifier, images)
    real, digits = context.all_test_features, context.y_test
    precision, recall = precision_recall(real, features)
    components, off_component_ink = count_components(images)
    return {
        "fid": float(frechet_distance(features, real)), "label_accuracy": float((seen == labels).mean()),
        "precision": float(precision), "recall": float(recall),
        "variance": float(np.mean([total_variance(features[labels == digit]) / total_variance(real[digits == digit])
                                   for digit in range(DIGITS)])),
        "components": float(components.mean()), "off_component_ink": float(off_component_ink.mean())}


# --------------------------------------------------------------------------------------- what is kept


def checksum(root, variant):
    """Return the CRC-32 of the code below the folder `root` that decides the numbers of a `Variant`."""
    changed = ("coursework/variants.py",) if (variant.model, variant.networks) != (CGAN, build_networks) else ()
    total = 0
    for pattern in (*CODE, *changed):
        for path in sorted(root.glob(pattern)):
            total = zlib.crc32(path.read_bytes(), total)
    return total


def kept_path(context, name, seed, variant):
    """Return where the numbers of a training are kept; the networks are beside them, with another ending."""
    words = re.sub(r"[^a-z0-9]+", "_", f"{variant.recipe} {name}".lower())
    return open_folder(context.folder / "trainings") / f"{words}_{seed}.json"


def trained(context, name, seed, variant):
    """Return the numbers that `train` returns for the `Variant` called `name`, as they were kept or anew.

    They are kept in a file of the folder `trainings`, so that an interrupted experiment continues after its finished
    trainings and experiments share them; what other code, settings or data made is not used.
    """
    path = kept_path(context, name, seed, variant)
    settings = record_settings(variant_settings(context, variant, seed), context.x_train, context.y_train)
    key = {"name": name, "settings": settings, "code_crc32": checksum(ROOT, variant)}
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(path.read_text())
        if kept["key"] == key and (path.with_suffix(".npz").is_file() or not variant.keep):
            return kept
    started = time.perf_counter()
    gan, numbers = train(context, variant, seed)
    if variant.keep:
        weights = [network.get_weights() for network in (gan.generator, gan.ema_generator, gan.discriminator)]
        atomic_write(path.with_suffix(".npz"), lambda partial: np.savez(partial, *sum(weights, [])))
    kept = {"key": key, "seconds": time.perf_counter() - started, **numbers}
    atomic_write(path, lambda partial: partial.write_text(json.dumps(kept)))
    return kept


def load_trained(context, name, seed, variant):
    """Return the CGAN of a `Variant` that is kept, with the networks that it had after its training."""
    trained(context, name, seed, variant)
    gan = build(context, variant, seed)
    arrays = iter(read_npz(kept_path(context, name, seed, variant).with_suffix(".npz")).values())
    for network in (gan.generator, gan.ema_generator, gan.discriminator):
        network.set_weights([next(arrays) for _ in network.weights])
    return gan


def train_variants(context, variants):
    """Return for each of `variants`, a dictionary of `Variant`, the list of what `trained` returns for every seed."""
    jobs = [(name, seed) for seed in context.seeds for name in variants]
    found = {name: [] for name in variants}
    for number, (name, seed) in enumerate(jobs, 1):
        started = time.perf_counter()
        found[name].append(trained(context, name, seed, variants[name]))
        took = time.perf_counter() - started
        if took > 1:
            left = f", about {readable_time(took * (len(jobs) - number))} left" if number < len(jobs) else ""
            print(f"  {name}, seed {seed}: {readable_time(took)}{left}", flush=True)
    return found
