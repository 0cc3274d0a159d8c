"""Score a trained generator on MNIST, beside the same figures for real training images.

    python evaluate.py                                           the generator in outputs/
    python evaluate.py --generator a/generator.keras b/generator.keras     several, and their median

The script stands on `cgan_mnist.py` and `mnist_gan/` and reads in the same way from top to bottom:
figures, pictures, command line.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

# Before Keras, because the package starts TensorFlow without its messages.
from cgan_mnist import generate_images, load_generator
from mnist_gan.classifiers import classify, load_classifier
from mnist_gan.command_line import one_line_errors, readable_time, run, whole_number
from mnist_gan.distances import frechet_distance, nearest, parzen_log_likelihoods, precision_recall, spread
from mnist_gan.errors import InputError
from mnist_gan.files import open_folder, write_whole
from mnist_gan.mnist import DIGITS, PIXELS, SIDE, load_data, scale_images
from mnist_gan.pictures import draw_grid, save_figure, tile_images

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


def choose_rows(y_train, y_test, samples):
    """Return the rows (samples,) of training images, in equal numbers per digit, that images are compared to.

    `y_train` (n,) and `y_test` (m,) are all labels of the data.
    Raises InputError if the data has too few training images for that or for the width of the Parzen
    window, or too few test images.
    """
    per_digit = samples // DIGITS
    chosen = [np.flatnonzero(y_train == digit)[:per_digit] for digit in range(DIGITS)]
    if min(map(len, chosen)) < per_digit or len(y_train) < samples + DIGITS:
        raise InputError(f"--samples {samples}: too few training images, {per_digit} of every digit and "
                         f"{DIGITS} more are needed; give fewer samples")
    if np.bincount(y_test, minlength=DIGITS).min() < 5:
        raise InputError("at least 5 test images of every digit are needed; give --data another file")
    return np.concatenate(chosen)


def prepare_comparison(x_train, y_train, x_test, y_test, classifier, chosen):
    """Return a namespace with all that generated images are compared to.

    `train_pixels`, `test_pixels` (n, 784) and `held_out_pixels`, in [0, 1]; `test_features` (n, 128),
    `test_seen` (n,), the digits that the classifier sees, and `test_labels` (n,); `images`
    (samples, 28, 28, 1) and `labels` (samples,), the training images in the rows `chosen` (samples,);
    `distances` (n,) from the test images to their nearest training image.
    """
    held_out = np.setdiff1d(np.arange(len(x_train)), chosen)[-1000:]
    x_train, x_test = scale_images(x_train).numpy(), scale_images(x_test).numpy()
    test_features, test_seen = classify(classifier, x_test)
    train_pixels, test_pixels = to_pixels(x_train), to_pixels(x_test)
    return SimpleNamespace(
        train_pixels=train_pixels, test_pixels=test_pixels, held_out_pixels=train_pixels[held_out],
        test_features=test_features, test_seen=test_seen, test_labels=y_test,
        images=x_train[chosen], labels=y_train[chosen], distances=nearest(test_pixels, train_pixels)[0])


def score(images, labels, features, seen, distances, real):
    """Return all figures, a dictionary, for images (n, 28, 28, 1) in [-1, 1] meant to show `labels` (n,).

    `features` (n, 128) and `seen` (n,) are what `classify` returns for them, `distances` (n,) those to
    their nearest training images, `real` what `prepare_comparison` returns.
    """
    accuracies = [float((seen[labels == digit] == digit).mean()) for digit in range(DIGITS)]
    precision, recall = precision_recall(real.test_features, features)
    spreads = [float(spread(features[labels == digit]) / spread(real.test_features[real.test_labels == digit]))
               for digit in range(DIGITS)]
    pixels = to_pixels(images)
    sigma = choose_sigma(real.held_out_pixels, pixels)
    likelihoods = parzen_log_likelihoods(real.test_pixels, pixels, sigma)
    return {
        "fid": float(frechet_distance(features, real.test_features)),
        "label_accuracy": float(np.mean(accuracies)),
        "worst_digit_accuracy": min(accuracies),
        "precision": float(precision),
        "recall": float(recall),
        "spread_within_digits": float(np.mean(spreads)),
        "parzen_log_likelihood": float(likelihoods.mean()),
        "parzen_standard_error": float(likelihoods.std(ddof=1) / np.sqrt(len(likelihoods))),
        "parzen_sigma": float(sigma),
        "nearest_distance_median": float(np.median(distances)),
        "nearest_distance_1st_percentile": float(np.percentile(distances, 1)),
        "label_accuracy_per_digit": accuracies,
        "spread_per_digit": spreads,
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
    figure = Figure((11, 6), dpi=100, layout="constrained")
    for axes, images, title, ticks in zip(
            figure.subplots(1, 2), (noise_walks, x),
            ("From one noise vector to another, digit by digit", "From one label to the next, at fixed noise"),
            (range(DIGITS), [f"{digit} → {(digit + 1) % DIGITS}" for digit in range(DIGITS)]), strict=True):
        axes.imshow(tile_images(images.numpy(), steps), cmap="gray", vmin=-1, vmax=1)
        axes.set(title=title, xlabel="share of the way (%)", yticks=(np.arange(DIGITS) + 0.5) * SIDE,
                 xticks=(np.array([0, (steps - 1) / 2, steps - 1]) + 0.5) * SIDE)
        axes.set_xticklabels([0, 50, 100])
        axes.set_yticklabels(ticks)
    return figure


# ---------------------------------------------------------------------------------------- command line

TABLE = (("FID", "fid", 1, 2), ("label accuracy (%)", "label_accuracy", 100, 2),
         ("worst digit's accuracy (%)", "worst_digit_accuracy", 100, 1), ("precision", "precision", 1, 3),
         ("recall", "recall", 1, 3), ("spread within digits, real = 1", "spread_within_digits", 1, 2),
         ("Parzen log-likelihood (nats)", "parzen_log_likelihood", 1, 1),
         ("  its standard error", "parzen_standard_error", 1, 1),
         ("nearest training digit, median", "nearest_distance_median", 1, 2),
         ("nearest training digit, closest 1%", "nearest_distance_1st_percentile", 1, 2))


def print_table(columns):
    """Print `columns`, a dictionary from a heading to figures, as a table."""
    print(f"{'':<36}" + "".join(f"{heading:>15}" for heading in columns))
    for label, name, factor, decimals in TABLE:
        print(f"{label:<36}" + "".join(f"{factor * figures[name]:>15.{decimals}f}" for figures in columns.values()))


def evaluate(settings):
    """Score the generators that `settings` names, print the table and write `metrics.json` and the pictures.

    Raises InputError for input that cannot be used and OSError when a file cannot be written.
    """
    started = time.perf_counter()
    generators = {path: load_generator(path)
                  for path in settings.generator or [str(Path(settings.output_dir) / "generator.keras")]}
    (x_train, y_train), (x_test, y_test) = load_data(settings.data)
    chosen = choose_rows(y_train, y_test, settings.samples)  # before minutes of training the classifier
    outputs, plots = open_folder(settings.output_dir), open_folder(settings.plots_dir)
    classifier = load_classifier(outputs, "classifier", "in whose features images are compared", x_train, y_train)
    real = prepare_comparison(x_train, y_train, x_test, y_test, classifier, chosen)
    accuracy = float((real.test_seen == y_test).mean())
    columns = {}
    for number, (path, generator) in enumerate(generators.items(), 1):
        print(f"Scoring {path}", flush=True)
        images = generate_images(generator, real.labels, settings.seed)
        features, seen = classify(classifier, images)
        distances, indices = nearest(to_pixels(images), real.train_pixels)
        heading = "generated" if len(generators) == 1 else f"generator {number}"
        columns[heading] = score(images, real.labels, features, seen, distances, real)
        if number == 1:
            save_figure(plots / "confusion_matrix.png", draw_confusion(real.labels, seen))
            save_figure(plots / "nearest_neighbours.png", draw_neighbours(images, real.labels, indices, real))
            save_figure(plots / "interpolation.png", draw_interpolation(generator, settings.seed))
    if len(columns) > 1:
        columns["median"] = {name: np.median([figures[name] for figures in columns.values()], axis=0).tolist()
                             for name in columns["generator 1"]}
    columns["real"] = score(real.images, real.labels, *classify(classifier, real.images), real.distances, real)
    metrics = {
        "generators": list(generators), "data": settings.data or "bundled MNIST", "seed": settings.seed,
        "samples": settings.samples, "samples_per_digit": settings.samples // DIGITS,
        "real_training_images": len(real.images), "test_images": len(x_test),
        "held_out_images_for_sigma": len(real.held_out_pixels), "neighbours_k": 3,
        "classifier_test_accuracy": accuracy, **columns}
    write_whole(outputs / "metrics.json", lambda partial: partial.write_text(json.dumps(metrics, indent=2) + "\n"))
    print(f"""
{settings.samples:,} images per column against {len(x_test):,} test images, in the features of a classifier that is
right on {accuracy:.2%} of the test images. The column "real" holds training images, the level of a
perfect generator; its distances to the nearest training digit are those of the test images.
""")
    print_table(columns)
    print("label accuracy per digit (%)")
    for heading, figures in columns.items():
        print(f"  {heading:<14}" + "".join(f"{digit}: {100 * share:.1f}  "
                                           for digit, share in enumerate(figures["label_accuracy_per_digit"])))
    print(f"""
For comparison, Parzen log-likelihoods of table 1 in Mirza & Osindero 2014: conditional GAN 132 ± 1.8, GAN 225 ± 2.

Scored in {readable_time(time.perf_counter() - started)}. Written:
  {outputs / "metrics.json"}: every figure with the settings
  {plots / "confusion_matrix.png"}: digits asked for and digits seen
  {plots / "nearest_neighbours.png"}: generated digits and their nearest training digits
  {plots / "interpolation.png"}: walks through noise and between labels
  {outputs / "classifier.keras"}: the classifier, for the next time""")


def sample_count(text):
    """Check the argument of --samples, a multiple of 10, and return it as an int."""
    count = whole_number(50, 100_000)(text)
    if count % DIGITS:
        raise argparse.ArgumentTypeError(f"must be a multiple of {DIGITS}, not {text!r}")
    return count


def parse_arguments(arguments=None):
    """Parse the command line (a list of strings; None means that of the process) into a namespace."""
    parser = one_line_errors(argparse.ArgumentParser(
        description="Score a trained generator: FID, label accuracy, precision, recall, Parzen log-likelihood "
                    "and memorization, beside the same figures for real images.", allow_abbrev=False,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter))
    parser.add_argument("--generator", nargs="+", metavar="FILE",
                        help="trained generators to score, OUTPUT_DIR/generator.keras if not given; of several, "
                             "the median is printed as well and the pictures show the first")
    parser.add_argument("--data", metavar="FILE",
                        help="compare with another npz file in Keras's MNIST layout instead of the bundled MNIST")
    parser.add_argument("--samples", type=sample_count, default=10_000, metavar="N",
                        help="images to generate, the same number of each digit; few make FID too high")
    parser.add_argument("--seed", type=whole_number(0, 2**31 - 1), default=0,
                        help="start of the random numbers from which the scored images are generated")
    parser.add_argument("--output-dir", default="outputs", metavar="DIR",
                        help="folder of the generator, for metrics.json and for the classifier")
    parser.add_argument("--plots-dir", default="plots", metavar="DIR", help="folder for the pictures")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    options = parse_arguments()
    raise SystemExit(run(lambda: evaluate(options)))
