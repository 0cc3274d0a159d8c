"""Score a trained CGAN on MNIST, beside the same figures for real images.

    python evaluate.py                                                     the generator in outputs/
    python evaluate.py --generator a/generator.keras b/generator.keras     several, and their median

The script reads from top to bottom: figures, pictures, table, command line. `evaluate_stackgan.py` scores a StackGAN.
"""

import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

# Before Keras, because the package starts TensorFlow without its messages.
from cgan_mnist import generate_images, load_generator
from mnist_gan.data.mnist import DIGITS, PIXELS, SIDE, load_data, scale_images
from mnist_gan.drawing.pictures import draw_grid, save_figure, tile_images
from mnist_gan.errors import InputError
from mnist_gan.files import open_folder, write_json
from mnist_gan.metrics.classifiers import classify, load_classifier, two_sample_accuracy
from mnist_gan.metrics.components import count_components
from mnist_gan.metrics.distances import (NEIGHBOURS, frechet_distance, nearest, parzen_log_likelihoods,
                                         precision_recall, total_variance)
from mnist_gan.metrics.tables import median, print_table
from mnist_gan.running import command_line as cli
from mnist_gan.running.settings import compare_data

import numpy as np
from keras import layers
from matplotlib.figure import Figure

# --------------------------------------------------------------------------------------------- figures


def to_pixels(images):
    """Flatten images in [-1, 1] to pixels (n, 784) in [0, 1], in which the literature gives log-likelihoods."""
    return images.reshape(len(images), PIXELS) / 2 + 0.5


def choose_sigma(held_out, centers):
    """Return the width of the Parzen window, from 0.1 to 0.25, under which `held_out` is the most likely."""
    return max(np.geomspace(0.1, 0.25, 14), key=lambda sigma: parzen_log_likelihoods(held_out, centers, sigma).mean())


def split_validation(x_train, y_train, count):
    """Split the last `count` of the training images (n, ...) and labels (n,) off, to stand for the test images.

    Returns `(x_train, y_train), (x_validation, y_validation)`; raises InputError if nothing is left to train on.
    """
    if count >= len(x_train):
        raise InputError(f"--validation {count}: the data has only {len(x_train)} training images; give fewer")
    return (x_train[:-count], y_train[:-count]), (x_train[-count:], y_train[-count:])


def choose_indices(y_train, y_test, samples, seed=0):
    """Return the indices (samples,) of the training images in the column "real", digit by digit, as many of each.

    They are drawn at random, because MNIST is not in a random order. `y_train` (n,) and `y_test` (m,) are all labels
    of the data.
    Raises InputError if the data has too few training images for that or for the width of the Parzen
    window, or too few test images.
    """
    for part, labels in (("training", y_train), ("test", y_test)):
        missing = np.setdiff1d(np.arange(DIGITS), labels)
        if len(missing):
            raise InputError(f"the data has no {part} image of the digit {missing[0]}, and all ten are scored; "
                             "give --data another file")
    per_digit, random = samples // DIGITS, np.random.default_rng(seed)
    chosen = [random.permutation(np.flatnonzero(y_train == digit))[:per_digit] for digit in range(DIGITS)]
    if min(map(len, chosen)) < per_digit or len(y_train) < samples + DIGITS:
        raise InputError(f"--samples {samples}: too few training images, {per_digit} of every digit and "
                         f"{DIGITS} more are needed; give fewer samples")
    if np.bincount(y_test, minlength=DIGITS).min() < 5:
        raise InputError("at least 5 test images of every digit are needed; give --data another file")
    return np.concatenate(chosen)


class RealImages(NamedTuple):
    """What generated images are compared to. Pixels are in [0, 1]; features and digits are what the classifier sees."""
    train_pixels: np.ndarray  # (n, 784)
    test_pixels: np.ndarray  # (m, 784)
    held_out_pixels: np.ndarray  # up to (1000, 784), of training images, to choose the width of the Parzen window
    test_features: np.ndarray  # (m, 128)
    test_seen: np.ndarray  # (m,), digits
    test_labels: np.ndarray  # (m,)
    images: np.ndarray  # (samples, 28, 28, 1) in [-1, 1], training images
    labels: np.ndarray  # (samples,), those of `images`, which generated images are asked for, too
    distances: np.ndarray  # (m,), from the test images to their nearest training images


def prepare_real_images(x_train, y_train, x_test, y_test, classifier, indices):
    """Return the RealImages of uint8 images (n, 28, 28) and labels (n,), with the training images at `indices`."""
    held_out = np.setdiff1d(np.arange(len(x_train)), indices)[-1000:]
    x_train, x_test = scale_images(x_train).numpy(), scale_images(x_test).numpy()
    test_features, test_seen = classify(classifier, x_test)
    train_pixels, test_pixels = to_pixels(x_train), to_pixels(x_test)
    return RealImages(
        train_pixels, test_pixels, train_pixels[held_out], test_features, test_seen, y_test,
        images=x_train[indices], labels=y_train[indices], distances=nearest(test_pixels, train_pixels)[0])


def score(images, labels, features, seen, distances, real):
    """Return all figures, a dictionary, for images (n, 28, 28, 1) in [-1, 1] meant to show `labels` (n,).

    `features` (n, 128) and `seen` (n,) are what `classify` returns for them, `distances` (n,) those to
    their nearest training images, `real` the RealImages.
    """
    accuracies = [float((seen[labels == digit] == digit).mean()) for digit in range(DIGITS)]
    precision, recall = precision_recall(real.test_features, features)
    variances = [float(total_variance(features[labels == digit])
                       / total_variance(real.test_features[real.test_labels == digit])) for digit in range(DIGITS)]
    pixels = to_pixels(images)
    sigma = choose_sigma(real.held_out_pixels, pixels)
    likelihoods = parzen_log_likelihoods(real.test_pixels, pixels, sigma)
    components, off_component_ink = count_components(images)
    return {
        "fid": float(frechet_distance(features, real.test_features)),
        "label_accuracy": float(np.mean(accuracies)),
        "worst_digit_accuracy": min(accuracies),
        "precision": float(precision),
        "recall": float(recall),
        "variance_within_digits": float(np.mean(variances)),
        "components_per_digit": float(components.mean()),
        "off_component_ink": float(off_component_ink.mean()),
        "ink": float(pixels.mean()),
        "two_sample_accuracy": two_sample_accuracy(images, real.test_pixels.reshape(-1, SIDE, SIDE, 1) * 2 - 1),
        "parzen_log_likelihood": float(likelihoods.mean()),
        "parzen_standard_error": float(likelihoods.std(ddof=1) / np.sqrt(len(likelihoods))),
        "parzen_sigma": float(sigma),
        "nearest_distance_median": float(np.median(distances)),
        "nearest_distance_1st_percentile": float(np.percentile(distances, 1)),
        "label_accuracy_per_digit": accuracies,
        "variance_per_digit": variances,
    }


# -------------------------------------------------------------------------------------------- pictures


def draw_confusion(labels, seen):
    """Draw how often an image for one of `labels` (n,) was `seen` (n,) as each digit, in percent."""
    counts = np.zeros((DIGITS, DIGITS))
    np.add.at(counts, (labels, seen), 1)
    percent = 100 * counts / counts.sum(axis=1, keepdims=True)
    figure = Figure((7, 6.5), dpi=100, layout="constrained")
    axes = figure.subplots()
    picture = axes.imshow(percent, cmap="Blues", vmin=0, vmax=100)
    for (row, column), value in np.ndenumerate(percent):
        if value:
            axes.text(column, row, f"{value:.1f}", ha="center", va="center", fontsize=9,
                      color="white" if value > 50 else "black")
    axes.set(title=f"What the classifier sees in {len(labels):,} generated digits", xlabel="digit seen",
             ylabel="digit asked for", xticks=range(DIGITS), yticks=range(DIGITS))
    figure.colorbar(picture, label="share of the digit asked for (%)", shrink=0.8)
    return figure


def draw_neighbours(images, labels, indices, real):
    """Draw three generated images per digit, each above its nearest training image (`indices` (n,))."""
    rows = []
    for number in range(3):
        chosen = [np.flatnonzero(labels == digit)[number] for digit in range(DIGITS)]
        neighbours = real.train_pixels[indices[chosen]].reshape(-1, SIDE, SIDE, 1) * 2 - 1
        rows += [images[chosen], neighbours]
    return draw_grid(np.concatenate(rows), range(DIGITS), "Generated, and below it the nearest training digit")


def draw_interpolation(generator, seed, steps=11):
    """Draw a walk through noise for each digit and a walk from each label to the next at fixed noise."""
    latent_dim = generator.inputs[0].shape[1]
    start, end = np.random.default_rng(seed).standard_normal((2, latent_dim), np.float32)
    # A quarter circle between two normal vectors is standard normal at each of its points.
    angles = np.linspace(0, np.pi / 2, steps, dtype=np.float32)[:, np.newaxis]
    walk = np.cos(angles) * start + np.sin(angles) * end
    noise_walks = generator([np.tile(walk, (DIGITS, 1)), np.repeat(np.arange(DIGITS), steps)], training=False)
    table = generator.get_layer("label_embedding").get_weights()[0]
    share = np.linspace(0, 1, steps, dtype=np.float32)[:, np.newaxis]
    x = start * np.concatenate([(1 - share) * table[digit] + share * table[(digit + 1) % DIGITS]
                                for digit in range(DIGITS)])
    product = [layer.name for layer in generator.layers].index("noise_times_label")
    for layer in generator.layers[product + 1:]:
        x = layer(x, training=False) if isinstance(layer, layers.BatchNormalization) else layer(x)
    figure = Figure((9, 5), dpi=100, layout="constrained")
    for axes, images, title, ticks in zip(
            figure.subplots(1, 2), (noise_walks, x),
            ("From one noise vector to another, digit by digit", "From one label to the next, at fixed noise"),
            (range(DIGITS), [f"{digit} → {(digit + 1) % DIGITS}" for digit in range(DIGITS)]), strict=True):
        axes.imshow(tile_images(images.numpy(), steps), cmap="gray", vmin=-1, vmax=1)
        axes.set_title(title, fontsize=11)
        axes.set(xlabel="share of the way (%)", yticks=(np.arange(DIGITS) + 0.5) * SIDE,
                 xticks=(np.array([0, (steps - 1) / 2, steps - 1]) + 0.5) * SIDE)
        axes.set_xticklabels([0, 50, 100])
        axes.set_yticklabels(ticks)
    return figure


# ----------------------------------------------------------------------------------------------- table

TABLE = (("FID", "fid", 1, 2), ("label accuracy (%)", "label_accuracy", 100, 2),
         ("worst digit's accuracy (%)", "worst_digit_accuracy", 100, 1), ("precision", "precision", 1, 3),
         ("recall", "recall", 1, 3), ("variance within digits, real = 1", "variance_within_digits", 1, 2),
         ("components per digit", "components_per_digit", 1, 3), ("off-component ink (%)", "off_component_ink", 100, 2),
         ("ink (% of the picture)", "ink", 100, 2), ("two-sample accuracy", "two_sample_accuracy", 1, 3),
         ("Parzen log-likelihood (nats)", "parzen_log_likelihood", 1, 1),
         ("  its standard error", "parzen_standard_error", 1, 1),
         ("nearest training digit, median", "nearest_distance_median", 1, 2),
         ("nearest training digit, closest 1%", "nearest_distance_1st_percentile", 1, 2))


def print_figures(columns, settings, test_images, accuracy):
    """Print `columns`, a dictionary from a heading to what `score` returned, below what they were measured with."""
    part = "validation" if settings.validation else "test"
    print(f"""
{settings.samples:,} images per column against {test_images:,} {part} images, in the features of a classifier that is
right on {accuracy:.2%} of the {part} images. The column "real" holds training images, the level of a
perfect generator; its distances to the nearest training digit are those of the {part} images.
""")
    print_table(columns, TABLE)
    print("label accuracy per digit (%)")
    for heading, figures in columns.items():
        print(f"  {heading:<14}" + "".join(f"{digit}: {100 * share:.1f}  "
                                           for digit, share in enumerate(figures["label_accuracy_per_digit"])))
    print("""
For comparison, Parzen log-likelihoods of table 1 in Mirza & Osindero 2014: conditional GAN 132 ± 1.8, GAN 225 ± 2.""")


# ---------------------------------------------------------------------------------------- command line


def load_generators(settings):
    """Return the generators that `settings` name, a dictionary from their paths.

    Raises InputError as `load_generator` does, and where the output folder holds a StackGAN instead.
    """
    folder = Path(settings.output_dir)
    paths = settings.generator or [str(folder / "generator.keras")]
    if not os.path.isfile(paths[0]) and not settings.generator and os.path.isfile(folder / "stage2_generator.keras"):
        raise InputError(f"{folder} holds a StackGAN; use 'python evaluate_stackgan.py --runs {folder}'")
    return {path: load_generator(path) for path in paths}


def evaluate(settings):
    """Score the generators that `settings` name, print the table and write `metrics.json` and the pictures.

    Raises InputError for input that cannot be used and OSError when a file cannot be written.
    """
    started = time.perf_counter()
    generators = load_generators(settings)
    (x_train, y_train), (x_test, y_test) = load_data(settings.data)
    for path in generators:
        compare_data(Path(path).parent, settings.data, x_train, y_train)
    if settings.validation:
        (x_train, y_train), (x_test, y_test) = split_validation(x_train, y_train, settings.validation)
    indices = choose_indices(y_train, y_test, settings.samples)  # before minutes of training the classifier
    outputs, plots = open_folder(settings.output_dir), open_folder(settings.plots_dir)
    classifier = load_classifier(outputs, "classifier", "in whose features images are compared", x_train, y_train)
    done = cli.announce("Scoring real images", 12)  # parts of some seconds each
    real = prepare_real_images(x_train, y_train, x_test, y_test, classifier, indices)
    done(2)
    accuracy = float((real.test_seen == y_test).mean())
    real_figures = score(real.images, real.labels, *classify(classifier, real.images), real.distances, real)
    done(10)
    columns = {}
    for number, (path, generator) in enumerate(generators.items(), 1):
        done = cli.announce(f"Scoring {path}", 10)
        images = generate_images(generator, real.labels, settings.seed)
        features, seen = classify(classifier, images)
        distances, neighbours = nearest(to_pixels(images), real.train_pixels)
        done(2)
        heading = "generated" if len(generators) == 1 else f"generator {number}"
        columns[heading] = score(images, real.labels, features, seen, distances, real)
        done(8)
        if number == 1:
            save_figure(plots / "confusion_matrix.png", draw_confusion(real.labels, seen))
            save_figure(plots / "nearest_neighbours.png", draw_neighbours(images, real.labels, neighbours, real))
            save_figure(plots / "interpolation.png", draw_interpolation(generator, settings.seed))
    if len(columns) > 1:
        columns["median"] = median(list(columns.values()))
    columns["real"] = real_figures
    write_json(outputs / "metrics.json", {
        "generators": list(generators), "data": settings.data or "bundled MNIST", "seed": settings.seed,
        "samples": settings.samples, "samples_per_digit": settings.samples // DIGITS,
        "validation_images": settings.validation,
        "real_training_images": len(real.images), "test_images": len(x_test),
        "held_out_images_for_sigma": len(real.held_out_pixels), "neighbours_k": NEIGHBOURS,
        "classifier_test_accuracy": accuracy, **columns})
    print_figures(columns, settings, len(x_test), accuracy)
    print(f"""
Scored in {cli.readable_time(time.perf_counter() - started)}. Written:
  {outputs / "metrics.json"}: every figure with the settings
  {plots / "confusion_matrix.png"}: digits asked for and digits seen
  {plots / "nearest_neighbours.png"}: generated digits and their nearest training digits
  {plots / "interpolation.png"}: walks through noise and between labels
  {outputs / "classifier.keras"}: the classifier, for the next time""")


def parse_arguments(argv=None):
    """Parse the command line (a list of strings; None means that of the process) into a namespace."""
    parser = cli.Parser(__file__, "Score a trained CGAN (FID, label accuracy, precision, recall, Parzen log-likelihood "
                                  "and memorization), beside the same figures for real images.")
    parser.add_argument("--generator", type=cli.path_name, nargs="+", metavar="FILE",
                        help="trained generators to score, OUTPUT_DIR/generator.keras if not given; of several, the "
                             "median is printed as well and the pictures show the first")
    parser.add_argument("--data", type=cli.path_name, metavar="FILE",
                        help="compare with another npz file in Keras's MNIST layout instead of the bundled MNIST")
    parser.add_argument("--samples", type=cli.sample_count, default=10_000, metavar="N",
                        help="images to generate, the same number of each digit; few make FID too high")
    parser.add_argument("--validation", type=cli.whole_number(50, 10**9), default=0, metavar="N",
                        help="for choosing settings: compare with the last N training images instead of the test "
                             "images, and with none of them elsewhere; the generators must have been trained without "
                             "them (--train-size)")
    parser.add_argument("--seed", type=cli.whole_number(0, 2**31 - 1), default=0,
                        help="start of the random numbers from which the scored images are generated")
    parser.add_argument("--output-dir", type=cli.path_name, default="outputs", metavar="DIR",
                        help="folder of the generator, for metrics.json and for the classifier")
    parser.add_argument("--plots-dir", type=cli.path_name, default="plots", metavar="DIR",
                        help="folder for the pictures")
    parser.add_renamed(runs="evaluate_stackgan.py --runs", kind="a command of its own, evaluate_stackgan.py")
    return parser.parse_args(argv)


def main(argv=None):
    """Run the command line (a list of strings; None means that of the process) and return the exit status."""
    settings = parse_arguments(argv)
    return cli.run(__file__, lambda: evaluate(settings))


if __name__ == "__main__":
    sys.exit(main())
