"""Score a trained generator on MNIST, beside the same figures for real images.

    python evaluate.py                                           the generator in outputs/
    python evaluate.py --generator a/generator.keras b/generator.keras     several, and their median
    python evaluate.py --output-dir outputs/stackgan             the StackGAN in outputs/stackgan/
    python evaluate.py --runs a b                                several StackGANs, and their median

The script stands on `cgan_mnist.py`, `stackgan_mnist.py` and `mnist_gan/` and reads in the same way from top to bottom:
figures and pictures of a CGAN, figures and pictures of a StackGAN, tables, command line.
"""

import argparse
import os
import time
from pathlib import Path
from types import SimpleNamespace

# Before Keras, because the package starts TensorFlow without its messages.
from cgan_mnist import generate_images, load_generator
from mnist_gan.metrics.classifiers import classify, find_classifier, load_classifier, two_sample_accuracy
from mnist_gan.running.command_line import one_line_errors, path_name, readable_time, run, whole_number
from mnist_gan.metrics.distances import (NEIGHBOURS, frechet_distance, nearest, parzen_log_likelihoods, precision_recall,
                                 total_variance)
from mnist_gan.errors import InputError
from mnist_gan.files import open_folder, write_json
from mnist_gan.data.mnist import DIGITS, PIXELS, SIDE, load_data, scale_images
from mnist_gan.metrics.attributes import (ALL_FIVE, checkerboard_energy, describe_images, digits_alone, find_attributes,
                                 recolour_never_seen, attribute_accuracy, conditional_diversity, unsay, write_sentences)
from mnist_gan.data.painting import enlarge, halve, paint, shape_cuts
from mnist_gan.metrics.components import count_components
from mnist_gan.drawing.pictures import draw_grid, save_figure, tile_images
from mnist_gan.data.sentences import ATTRIBUTES
from stackgan_mnist import NETWORK_FILES, draw_pictures, draw_sheet, load_networks

import numpy as np
from keras import layers
from matplotlib.figure import Figure

# ----------------------------------------------------------------------------------- figures of a CGAN


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
    variances = [float(total_variance(features[labels == digit]) / total_variance(real.test_features[real.test_labels == digit]))
               for digit in range(DIGITS)]
    pixels = to_pixels(images)
    sigma = choose_sigma(real.held_out_pixels, pixels)
    likelihoods = parzen_log_likelihoods(real.test_pixels, pixels, sigma)
    pieces, stray = count_components(images)
    return {
        "fid": float(frechet_distance(features, real.test_features)),
        "label_accuracy": float(np.mean(accuracies)),
        "worst_digit_accuracy": min(accuracies),
        "precision": float(precision),
        "recall": float(recall),
        "variance_within_digits": float(np.mean(variances)),
        "components_per_digit": float(pieces.mean()),
        "off_component_ink": float(stray.mean()),
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


# ---------------------------------------------------------------------------------- pictures of a CGAN


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


# ------------------------------------------------------------------------------- figures of a StackGAN


def choose_painted_rows(y_train, y_test, samples):
    """Return the rows (samples,) of training and of test images that are painted, as many of each digit in both.

    The test images are in as equal numbers of every digit as there are; `y_train` (n,) and `y_test` (m,) are labels.
    Raises InputError if there are too few images for that.
    """
    if samples > len(y_test):
        raise InputError(f"--samples {samples}: there are only {len(y_test)} test images; give fewer samples")
    ranks = np.empty(len(y_test), int)  # the how-manieth of its digit an image is
    for digit in range(DIGITS):
        ranks[y_test == digit] = np.arange(np.count_nonzero(y_test == digit))
    test_rows = np.sort(np.argsort(ranks, kind="stable")[:samples])
    counts = np.bincount(y_test[test_rows], minlength=DIGITS)
    if counts.min() < 5:
        raise InputError("at least 5 test images of every digit are needed; give --data another file")
    train_rows = np.concatenate([np.flatnonzero(y_train == digit)[:counts[digit]] for digit in range(DIGITS)])
    if len(train_rows) < samples:
        raise InputError(f"--samples {samples}: too few training images, as many of every digit as test images are "
                         "needed; give fewer samples")
    return train_rows, test_rows


def prepare_scenes(images, digits, cuts, seed):
    """Return the sentences that pictures are asked for, four namespaces in a dictionary.

    `seen` says everything about each of the test images (n, 28, 28) with labels `digits` (n,), painted in colours as in
    training; `never_seen` says everything about those whose digit has an ink that it never has in training, in that
    ink; `unsaid` leaves out what sentences in training leave out; `digit_alone` leaves out all else.
    Each has `images` uint8 (n, 28, 28), `real` and `asked`, the descriptions (n, 5) of the painted image and of what is
    said about it, and the `sentences`, n strings.
    """
    random = np.random.default_rng((seed, 0))
    real = describe_images(images, digits, cuts, random)
    rows, recoloured = recolour_never_seen(real, random)
    scenes = {"seen": (images, real, real), "never_seen": (images[rows], recoloured, recoloured),
              "unsaid": (images, real, unsay(real, random)), "digit_alone": (images, real, digits_alone(real))}
    return {name: SimpleNamespace(images=images, real=real, asked=asked, sentences=write_sentences(asked, random))
            for name, (images, real, asked) in scenes.items()}


def paint_twice(images, descriptions):
    """Return images uint8 (n, 28, 28) painted as described (n, 5), halved and enlarged again and as they are.

    Both are (n, 28, 28, 3) in [-1, 1], what perfect generators of Stage I and of Stage II would draw.
    """
    pictures = paint(images, descriptions[:, 1], descriptions[:, 2])
    return enlarge(halve(pictures).numpy()), pictures.numpy()


def look_at(draw, scenes, judges):
    """Find what the pictures of both stages show that `draw(scene)`, two arrays (n, 28, 28, 3), returns.

    `judges` has `classifier`, `painted_classifier` and `cuts`. Returns a namespace for each stage: `found`,
    descriptions (n, 5) for each of `scenes`, `checkerboard`, the mean checkerboard energy where everything is said, and
    `features` (n, 128) and `classes` (n, 3), what the painted classifier sees where it is not.
    """
    looks = [SimpleNamespace(found={}), SimpleNamespace(found={})]
    for name, scene in scenes.items():
        for look, pictures in zip(looks, draw(scene), strict=True):
            look.found[name], gray = find_attributes(pictures, judges.cuts,
                                                     lambda images: classify(judges.classifier, images)[1])
            if name == "seen":
                look.checkerboard = float(checkerboard_energy(gray).mean())
            if name == "unsaid":
                look.features, look.classes = classify(judges.painted_classifier, pictures)
    return looks


def look_at_real(scenes, images, digits, judges, seed):
    """Return what `look_at` does for real pictures, halved and whole, and the features (n, 128) of the whole test ones.

    The features in what `look_at` returned are replaced by those of training images uint8 (n, 28, 28) with labels
    `digits` (n,), painted in other colours: a second sample of real pictures, to be compared with the first.
    """
    looks = look_at(lambda scene: paint_twice(scene.images, scene.real), scenes, judges)
    test_features = looks[1].features
    described = describe_images(images, digits, judges.cuts, np.random.default_rng((seed, 4)))
    for look, pictures in zip(looks, paint_twice(images, described), strict=True):
        look.features = classify(judges.painted_classifier, pictures)[0]
    return looks, test_features


def look_at_run(networks, scenes, judges, seed):
    """Return what `look_at` does for the pictures that `networks` draw, one for each sentence, from fixed noise."""
    def draw(scene):
        rough, fine = draw_pictures(networks, scene.sentences, 1, (seed, 1))
        return enlarge(rough[:, 0]), fine[:, 0]
    return look_at(draw, scenes, judges)


def score_painted(look, scenes, test_features):
    """Return all figures, a dictionary, of what `look_at` found in `scenes` for one stage, but `fid_over_floor`."""
    precision, recall = precision_recall(test_features, look.features)
    figures = {f"{name}_{attribute}": share for name in ("seen", "never_seen")
               for attribute, share in attribute_accuracy(look.found[name], scenes[name].asked).items()}
    figures |= {f"{name}_{attribute}": ratio for name in ("unsaid", "digit_alone")
                for attribute, ratio in conditional_diversity(look.found[name], scenes[name].asked, scenes[name].real).items()}
    return {**figures, "fid": float(frechet_distance(look.features, test_features)), "precision": float(precision),
            "recall": float(recall), "checkerboard_energy": look.checkerboard}


# ------------------------------------------------------------------------------ pictures of a StackGAN


def draw_attribute_accuracy(columns):
    """Draw how many pictures obey each part of their sentence; `columns` maps a heading to figures."""
    figure = Figure((11, 7.5), dpi=100, layout="constrained")
    width = 0.8 / len(columns)
    parts = [*ATTRIBUTES, ALL_FIVE]
    for axes, name, title in zip(figure.subplots(2, 1), ("seen", "never_seen"),
                                 ("Digits in inks that they have in training", "Digits in inks that they never have"),
                                 strict=True):
        for number, (heading, figures) in enumerate(columns.items()):
            places = np.arange(len(parts)) + (number - (len(columns) - 1) / 2) * width
            bars = axes.bar(places, [100 * figures[f"{name}_{part}"] for part in parts], width, label=heading,
                            color=("tab:orange", "tab:blue", "tab:gray")[number])
            axes.bar_label(bars, fmt="%.1f", fontsize=8, padding=1)
        axes.set_title(title, pad=16)
        axes.set(ylabel="pictures that obey (%)", ylim=(0, 100), yticks=range(0, 101, 20),
                 xticks=range(len(parts)))
        axes.set_xticklabels([part.replace("_", " ") for part in parts])
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right center")
    return figure


def draw_sentences(networks, scene, seed, count=8, samples=8):
    """Draw `count` random ones of the sentences of `scene`: the real picture and `samples` of each stage."""
    rows = np.random.default_rng((seed, 2)).choice(len(scene.sentences), count, replace=False)
    sentences = [scene.sentences[row] for row in rows]
    rough, fine = draw_pictures(networks, sentences, samples, (seed, 3))
    _, real = paint_twice(scene.images[rows], scene.real[rows])
    shown = []
    for number in range(count):
        both = halve(real[number:number + 1]).numpy(), real[number:number + 1]
        shown += [np.concatenate(pair) for pair in zip(both, (rough[number], fine[number]), strict=True)]
    return draw_sheet(sentences, shown, "Sentences about test images:\nthe real picture at the left, samples beside it",
                      ("Stage I", "Stage II") * count)


# ---------------------------------------------------------------------------------------------- tables

CGAN_TABLE = (("FID", "fid", 1, 2), ("label accuracy (%)", "label_accuracy", 100, 2),
              ("worst digit's accuracy (%)", "worst_digit_accuracy", 100, 1), ("precision", "precision", 1, 3),
              ("recall", "recall", 1, 3), ("variance within digits, real = 1", "variance_within_digits", 1, 2),
              ("components per digit", "components_per_digit", 1, 3), ("off-component ink (%)", "off_component_ink", 100, 2),
              ("ink (% of the picture)", "ink", 100, 2),
              ("two-sample accuracy", "two_sample_accuracy", 1, 3),
              ("Parzen log-likelihood (nats)", "parzen_log_likelihood", 1, 1),
              ("  its standard error", "parzen_standard_error", 1, 1),
              ("nearest training digit, median", "nearest_distance_median", 1, 2),
              ("nearest training digit, closest 1%", "nearest_distance_1st_percentile", 1, 2))
STACKGAN_TABLE = (
    *((f"{title}: {part.replace('_', ' ')} right (%)", f"{name}_{part}", 100, 2)
      for title, name in (("all said", "seen"), ("never seen", "never_seen")) for part in (*ATTRIBUTES, ALL_FIVE)),
    *((f"{title}: {part} varies, real = 1", f"{name}_{part}", 1, 3)
      for title, name in (("unsaid", "unsaid"), ("digit alone", "digit_alone")) for part in ATTRIBUTES[1:]),
    ("FID", "fid", 1, 2), ("  in multiples of real pictures'", "fid_over_floor", 1, 2),
    ("precision", "precision", 1, 3), ("recall", "recall", 1, 3),
    ("checkerboard energy (%)", "checkerboard_energy", 100, 3))


def print_table(columns, table):
    """Print `columns`, a dictionary from a heading to figures, as a table.

    `table` has for each row its label, the name of its figure, a factor and the number of decimals.
    """
    first, width = max(36, *(len(row[0]) + 1 for row in table)), max(15, *(len(heading) + 2 for heading in columns))
    print(" " * first + "".join(f"{heading:>{width}}" for heading in columns))
    for label, name, factor, decimals in table:
        print(f"{label:<{first}}"
              + "".join(f"{factor * figures[name]:>{width}.{decimals}f}" for figures in columns.values()))


def median(columns):
    """Return the median of every figure over `columns`, dictionaries with the same numbers or lists of numbers."""
    return {name: np.median([figures[name] for figures in columns], axis=0).tolist() for name in columns[0]}


# ---------------------------------------------------------------------------------------- command line

PLOTS_DIRS = {"cgan": "plots", "stackgan": "plots/stackgan"}


def find_kind(settings):
    """Return "cgan" or "stackgan", the kind of run that `settings` ask to score; InputError if that is open."""
    if settings.kind or settings.generator or settings.runs:
        return settings.kind or ("cgan" if settings.generator else "stackgan")
    folder = Path(settings.output_dir)
    cgan = os.path.isfile(folder / "generator.keras")
    stackgan = any(os.path.isfile(folder / f"{name}.keras") for name in NETWORK_FILES)
    if cgan and stackgan:
        raise InputError(f"{folder} holds a CGAN and a StackGAN; say --kind cgan or --kind stackgan")
    if not cgan and not stackgan:
        raise InputError(f"{folder} holds neither generator.keras, a CGAN, nor stage2_generator.keras, a StackGAN; "
                         "train first with 'python cgan_mnist.py' or 'python stackgan_mnist.py'")
    return "cgan" if cgan else "stackgan"


def evaluate(settings):
    """Score what `settings` name by `evaluate_cgan` or `evaluate_stackgan`, which also say what this raises."""
    kind = find_kind(settings)
    if settings.validation and kind == "stackgan":
        raise InputError("--validation is for a CGAN only, and this is a StackGAN; leave it out")
    plots_dir = PLOTS_DIRS[kind] if settings.plots_dir is None else settings.plots_dir
    (evaluate_cgan if kind == "cgan" else evaluate_stackgan)(settings, plots_dir)


def evaluate_cgan(settings, plots_dir):
    """Score the generators that `settings` names, print the table and write `metrics.json` and the pictures.

    Raises InputError for input that cannot be used and OSError when a file cannot be written.
    """
    started = time.perf_counter()
    generators = {path: load_generator(path)
                  for path in settings.generator or [str(Path(settings.output_dir) / "generator.keras")]}
    (x_train, y_train), (x_test, y_test) = load_data(settings.data)
    if settings.validation:
        (x_train, y_train), (x_test, y_test) = split_validation(x_train, y_train, settings.validation)
    chosen = choose_rows(y_train, y_test, settings.samples)  # before minutes of training the classifier
    outputs, plots = open_folder(settings.output_dir), open_folder(plots_dir)
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
        columns["median"] = median(list(columns.values()))
    columns["real"] = score(real.images, real.labels, *classify(classifier, real.images), real.distances, real)
    metrics = {
        "generators": list(generators), "data": settings.data or "bundled MNIST", "seed": settings.seed,
        "samples": settings.samples, "samples_per_digit": settings.samples // DIGITS,
        "validation_images": settings.validation,
        "real_training_images": len(real.images), "test_images": len(x_test),
        "held_out_images_for_sigma": len(real.held_out_pixels), "neighbours_k": NEIGHBOURS,
        "classifier_test_accuracy": accuracy, **columns}
    write_json(outputs / "metrics.json", metrics)
    part = "validation" if settings.validation else "test"
    print(f"""
{settings.samples:,} images per column against {len(x_test):,} {part} images, in the features of a classifier that is
right on {accuracy:.2%} of the {part} images. The column "real" holds training images, the level of a
perfect generator; its distances to the nearest training digit are those of the {part} images.
""")
    print_table(columns, CGAN_TABLE)
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


def evaluate_stackgan(settings, plots_dir):
    """Score the StackGANs that `settings` name, print the table and write `metrics.json` and the pictures.

    Raises InputError for input that cannot be used and OSError when a file cannot be written.
    """
    started = time.perf_counter()
    runs = {folder: load_networks(folder) for folder in settings.runs or [settings.output_dir]}
    (x_train, y_train), (x_test, y_test) = load_data(settings.data)
    train_rows, test_rows = choose_painted_rows(y_train, y_test, settings.samples)
    purposes = {"classifier": "that says which digit a picture shows",
                "painted_classifier": "in whose features painted pictures are compared"}
    for kind in purposes:  # a damaged file is refused before minutes of training another classifier
        find_classifier(next(iter(runs)), kind, x_train, y_train)
    outputs, plots = open_folder(next(iter(runs))), open_folder(plots_dir)
    judges = SimpleNamespace(cuts=shape_cuts(x_train), **{
        kind: load_classifier(outputs, kind, purpose, x_train, y_train) for kind, purpose in purposes.items()})
    scenes = prepare_scenes(x_test[test_rows], y_test[test_rows], judges.cuts, settings.seed)
    print("Looking at real pictures", flush=True)
    real_looks, test_features = look_at_real(scenes, x_train[train_rows], y_train[train_rows], judges,
                                             settings.seed)
    real_columns = {heading: score_painted(look, scenes, test_features)
                    for heading, look in zip(("real halved", "real"), real_looks, strict=True)}
    stages = {"Stage I": [], "Stage II": []}
    for folder, networks in runs.items():
        print(f"Scoring {folder}", flush=True)
        for stage, look in zip(stages.values(), look_at_run(networks, scenes, judges, settings.seed), strict=True):
            stage.append(score_painted(look, scenes, test_features))
    floor = real_columns["real"]["fid"]
    for figures in [*stages["Stage I"], *stages["Stage II"], *real_columns.values()]:
        figures["fid_over_floor"] = figures["fid"] / floor if floor > 0 else float("nan")
    columns = {name if len(runs) == 1 else f"run {number + 1} {name}": figures[number]
               for number in range(len(runs)) for name, figures in stages.items()}
    if len(runs) > 1:
        columns |= {f"median {name}": median(figures) for name, figures in stages.items()}
    columns |= real_columns
    digit_accuracy = real_columns["real"]["seen_digit"]
    colour_accuracies = (real_looks[1].classes == scenes["unsaid"].real[:, :3]).mean(axis=0).tolist()
    metrics = {
        "runs": list(runs), "data": settings.data or "bundled MNIST",
        "seed": settings.seed, "samples": settings.samples,
        "never_seen_samples": len(scenes["never_seen"].sentences), "real_training_images": len(train_rows),
        "test_images": len(test_rows), "neighbours_k": NEIGHBOURS,
        "classifier_test_accuracy": digit_accuracy,
        "painted_classifier_test_accuracy": dict(zip(ATTRIBUTES, colour_accuracies, strict=False)), **columns}
    write_json(outputs / "metrics.json", metrics)
    save_figure(plots / "obedience.png", draw_attribute_accuracy(
        {**{name: figures[0] for name, figures in stages.items()}, "real": real_columns["real"]}))
    save_figure(plots / "sentences.png", draw_sentences(
        next(iter(runs.values())), scenes["seen"], settings.seed))
    percentages = " / ".join(f"{accuracy:.2%}" for accuracy in colour_accuracies)
    print(f"""
{settings.samples:,} pictures per column, one for each of as many sentences about test images; of digits in inks that they
never have in training, {metrics["never_seen_samples"]:,}. "real" are painted test images, for FID, precision and recall
painted training images: the level of perfect generators. "real halved" has Stage I's 14 x 14 pixels, enlarged as
Stage I's are. Digits are seen by a classifier that is right on {digit_accuracy:.2%} of the real pictures; the one in whose
features pictures are compared is right on {percentages} of their digits / inks / backgrounds.
""")
    print_table(columns, STACKGAN_TABLE)
    print(f"""
Scored in {readable_time(time.perf_counter() - started)}. Written:
  {outputs / "metrics.json"}: every figure with the settings
  {plots / "obedience.png"}: how many pictures obey each part of their sentence
  {plots / "sentences.png"}: sentences about test images, real pictures and both stages'
  {outputs / "classifier.keras"}, {outputs / "painted_classifier.keras"}: the classifiers, for the next time""")


def sample_count(text):
    """Check the argument of --samples, a multiple of 10, and return it as an int."""
    count = whole_number(50, 100_000)(text)
    if count % DIGITS:
        raise argparse.ArgumentTypeError(f"must be a multiple of {DIGITS}, not {text!r}")
    return count


def parse_arguments(arguments=None):
    """Parse the command line (a list of strings; None means that of the process) into a namespace."""
    parser = one_line_errors(argparse.ArgumentParser(
        description="Score a trained CGAN (FID, label accuracy, precision, recall, Parzen log-likelihood and "
                    "memorization) or StackGAN (obedience to sentences, variety, FID, precision, recall and "
                    "checkerboard), beside the same figures for real images.", allow_abbrev=False,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter))
    networks = parser.add_mutually_exclusive_group()
    networks.add_argument("--generator", type=path_name, nargs="+", metavar="FILE",
                          help="trained generators of CGANs to score, OUTPUT_DIR/generator.keras if not given; of "
                               "several, the median is printed as well and the pictures show the first")
    networks.add_argument("--runs", type=path_name, nargs="+", metavar="DIR",
                          help="output folders of StackGANs to score, OUTPUT_DIR if not given; of several, the median "
                               "is printed as well, and the pictures show and the files go to the first")
    parser.add_argument("--kind", choices=PLOTS_DIRS, default=argparse.SUPPRESS,
                        help="what to score (default: what is found in the output folder)")
    parser.add_argument("--data", type=path_name, metavar="FILE",
                        help="compare with another npz file in Keras's MNIST layout instead of the bundled MNIST")
    parser.add_argument("--samples", type=sample_count, default=10_000, metavar="N",
                        help="images to generate, the same number of each digit (of a StackGAN, for as many sentences "
                             "about test images); few make FID too high")
    parser.add_argument("--validation", type=whole_number(50, 10**9), default=0, metavar="N",
                        help="for choosing settings, of a CGAN only: compare with the last N training images instead "
                             "of the test images, and with none of them elsewhere; the generators must have been "
                             "trained without them (--train-size)")
    parser.add_argument("--seed", type=whole_number(0, 2**31 - 1), default=0,
                        help="start of the random numbers from which the scored images and sentences are generated")
    parser.add_argument("--output-dir", type=path_name, default=argparse.SUPPRESS, metavar="DIR",
                        help="folder of the networks, for metrics.json and for the classifiers (default: outputs)")
    parser.add_argument("--plots-dir", type=path_name, default=argparse.SUPPRESS, metavar="DIR",
                        help="folder for the pictures (default: plots for a CGAN, plots/stackgan for a StackGAN)")
    # What is found out later has no default that the help could show.
    settings = parser.parse_args(arguments, argparse.Namespace(kind=None, output_dir=None, plots_dir=None))
    if settings.kind and (settings.generator if settings.kind == "stackgan" else settings.runs):
        parser.error("--generator is for a CGAN and --runs for StackGANs, not for the other --kind")
    if settings.runs and settings.output_dir:
        parser.error("--runs writes to the first of its folders; leave out --output-dir")
    settings.output_dir = settings.output_dir or "outputs"
    return settings


if __name__ == "__main__":
    options = parse_arguments()
    raise SystemExit(run(lambda: evaluate(options)))
