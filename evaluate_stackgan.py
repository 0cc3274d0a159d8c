"""Score a trained StackGAN on painted MNIST, beside the same figures for real pictures.

    python evaluate_stackgan.py                the StackGAN in outputs/stackgan/
    python evaluate_stackgan.py --runs a b     several, and their median

The script reads from top to bottom: figures, pictures, table, command line. `evaluate.py` scores a CGAN.
"""

import dataclasses
import sys
import time
from pathlib import Path
from typing import NamedTuple

# Before Keras, because the package starts TensorFlow without its messages.
from mnist_gan.data.mnist import DIGITS, load_data
from mnist_gan.data.painting import enlarge, halve, shape_cuts
from mnist_gan.data.sentences import ATTRIBUTES
from mnist_gan.drawing.pictures import save_figure
from mnist_gan.drawing.sheets import draw_sheet
from mnist_gan.drawing.stackgan import draw_pictures, load_networks
from mnist_gan.errors import InputError
from mnist_gan.files import open_folder, write_json
from mnist_gan.metrics.attributes import (ALL_FIVE, INDEPENDENT, attribute_accuracy, checkerboard_energy,
                                          conditional_diversity, describe_images, empty_share, find_attributes,
                                          independent_cuts, independent_shapes, paint_for_stages, prepare_scenes)
from mnist_gan.metrics.classifiers import classify, find_classifier, load_classifier
from mnist_gan.metrics.distances import NEIGHBOURS, frechet_distance, precision_recall
from mnist_gan.metrics.tables import median, print_table
from mnist_gan.running import command_line as cli
from mnist_gan.running.settings import compare_data

import keras
import numpy as np
from matplotlib.figure import Figure

# --------------------------------------------------------------------------------------------- figures


def choose_indices(y_train, y_test, samples):
    """Return the indices (samples,) of training and of test images that are painted, as many of each digit in both.

    The training images are drawn at random, because MNIST is not in a random order. The test images are in as equal
    numbers of every digit as there are; `y_train` (n,) and `y_test` (m,) are labels.
    Raises InputError if there are too few images for that.
    """
    if samples > len(y_test):
        raise InputError(f"--samples {samples}: there are only {len(y_test)} test images; give fewer samples")
    ranks = np.empty(len(y_test), int)  # the position of an image among those of its digit
    for digit in range(DIGITS):
        ranks[y_test == digit] = np.arange(np.count_nonzero(y_test == digit))
    test_indices = np.sort(np.argsort(ranks, kind="stable")[:samples])
    counts = np.bincount(y_test[test_indices], minlength=DIGITS)
    if counts.min() < 5:
        raise InputError("at least 5 test images of every digit are needed; give --data another file")
    random = np.random.default_rng(0)
    train_indices = np.concatenate([random.permutation(np.flatnonzero(y_train == digit))[:counts[digit]]
                                    for digit in range(DIGITS)])
    if len(train_indices) < samples:
        raise InputError(f"--samples {samples}: too few training images, as many of every digit as test images are "
                         "needed; give fewer samples")
    return train_indices, test_indices


class Classifiers(NamedTuple):
    """The classifiers of gray and of painted digits, and the `cuts` between the classes of thickness and slant."""
    gray: keras.Model
    painted: keras.Model
    independent: keras.Model
    cuts: tuple
    independent_cuts: np.ndarray

    def find_attributes(self, pictures):
        """Return (descriptions (n, 5), gray (n, 28, 28) in [0, 1]) of what pictures (n, 28, 28, 3) in [-1, 1] show."""
        return find_attributes(pictures, self.cuts, lambda images: classify(self.gray, images)[1])

    def find_independently(self, gray):
        """Return what the independent measures find in `gray` (n, 28, 28) in [0, 1]: (n, 3) as in INDEPENDENT."""
        digits = self.independent.predict(gray[..., np.newaxis] * 2 - 1, batch_size=500, verbose=0).argmax(1)
        shapes = map(np.digitize, independent_shapes(gray), self.independent_cuts)
        return np.stack([digits, *shapes], axis=1)


@dataclasses.dataclass
class Findings:
    """What the pictures of one stage show."""
    attributes: dict = dataclasses.field(default_factory=dict)  # from the name of a scene to descriptions (n, 5)
    independent: np.ndarray = None  # (n, 3), what the independent measures find where sentences say everything
    empty: float = 0.0  # share of pictures that show nothing, where sentences leave something out
    checkerboard: float = 0.0  # mean checkerboard energy where sentences say everything
    features: np.ndarray = None  # (n, 128), what the painted classifier sees where they leave something out
    classes: np.ndarray = None  # (n, 3), digits, inks and backgrounds that it sees there


def classify_pictures(drawn, scenes, classifiers, done):
    """Return the Findings of Stage I and of Stage II, a list.

    `drawn` yields both stages' pictures (n, 28, 28, 3) in [-1, 1] for each of `scenes` in their order, after each of
    which `done(1)` is called.
    """
    stages = [Findings(), Findings()]
    for name, both in zip(scenes, drawn, strict=True):
        for findings, pictures in zip(stages, both, strict=True):
            findings.attributes[name], gray = classifiers.find_attributes(pictures)
            if name == "seen":
                findings.checkerboard = float(checkerboard_energy(gray).mean())
                findings.independent = classifiers.find_independently(gray)
            if name == "unsaid":
                findings.empty = empty_share(pictures)
                findings.features, findings.classes = classify(classifiers.painted, pictures)
        done(1)
    return stages


def classify_real(scenes, images, digits, classifiers, seed, done):
    """Return the Findings in real pictures, halved and whole, and the features (n, 128) of the whole ones of `scenes`.

    The features in the Findings are those of training images uint8 (n, 28, 28) with labels `digits` (n,), painted in
    other colours: a second sample of real pictures, to be compared with the first. `done` as for `classify_pictures`.
    """
    stages = classify_pictures((paint_for_stages(scene.images, scene.real) for scene in scenes.values()), scenes,
                               classifiers, done)
    test_features = stages[1].features
    described = describe_images(images, digits, classifiers.cuts, np.random.default_rng((seed, 4)))
    for findings, pictures in zip(stages, paint_for_stages(images, described), strict=True):
        findings.features = classify(classifiers.painted, pictures)[0]
    return stages, test_features


def draw_scene(networks, scene, seed):
    """Return both stages' pictures (n, 28, 28, 3) in [-1, 1] of the sentences of `scene`, from fixed noise."""
    rough, fine = draw_pictures(networks, scene.sentences, 1, (seed, 1))
    return enlarge(rough[:, 0]), fine[:, 0]


def score(findings, scenes, test_features):
    """Return all figures of one stage, a dictionary, but `fid_over_floor`.

    `findings` are those in its pictures for `scenes`, `test_features` (n, 128) those of real pictures.
    """
    precision, recall = precision_recall(test_features, findings.features)
    figures = {}
    for name, prefix in (("seen", "seen"), ("never_seen", "never_seen"), ("unsaid", "said")):
        accuracy = attribute_accuracy(findings.attributes[name], scenes[name].asked)
        figures |= {f"{prefix}_{attribute}": share for attribute, share in accuracy.items()}
    for name in ("unsaid", "digit_alone"):
        diversity = conditional_diversity(findings.attributes[name], scenes[name].asked, scenes[name].real)
        figures |= {f"{name}_{attribute}": ratio for attribute, ratio in diversity.items()}
    asked = scenes["seen"].asked[:, [ATTRIBUTES.index(attribute) for attribute in INDEPENDENT]]
    figures |= {f"independent_{attribute}": float(right) for attribute, right in zip(
        INDEPENDENT, (findings.independent == asked).mean(0), strict=True)}
    return {**figures, "fid": float(frechet_distance(findings.features, test_features)), "precision": float(precision),
            "recall": float(recall), "empty": findings.empty, "checkerboard_energy": findings.checkerboard}


# -------------------------------------------------------------------------------------------- pictures


def draw_attribute_accuracy(columns):
    """Draw how many pictures show each part of their sentence; `columns` maps a heading to figures."""
    figure = Figure((9, 6.6), dpi=100, layout="constrained")
    width = 0.8 / len(columns)
    parts = [*ATTRIBUTES, ALL_FIVE]
    for axes, name, title in zip(figure.subplots(2, 1), ("seen", "never_seen"),
                                 ("Digits in inks that they have in training", "Digits in inks that they never have"),
                                 strict=True):
        for number, (heading, figures) in enumerate(columns.items()):
            places = np.arange(len(parts)) + (number - (len(columns) - 1) / 2) * width
            bars = axes.bar(places, [100 * figures[f"{name}_{part}"] for part in parts], width, label=heading,
                            color=("#CC6677", "#332288", "gray")[number])
            axes.bar_label(bars, fmt="%.1f", fontsize=8, padding=1)
        axes.set_title(title, pad=16)
        axes.set(ylabel="attribute accuracy (%)", ylim=(0, 100), yticks=range(0, 101, 20),
                 xticks=range(len(parts)))
        axes.set_xticklabels([part.replace("_", " ") for part in parts])
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=len(columns))
    return figure


def draw_sentences(networks, scene, seed, count=8, samples=8):
    """Draw `count` random ones of the sentences of `scene`: the real picture and `samples` of each stage."""
    indices = np.random.default_rng((seed, 2)).choice(len(scene.sentences), count, replace=False)
    sentences = [scene.sentences[index] for index in indices]
    rough, fine = draw_pictures(networks, sentences, samples, (seed, 3))
    _, real = paint_for_stages(scene.images[indices], scene.real[indices])
    shown = []
    for number in range(count):
        both = halve(real[number:number + 1]).numpy(), real[number:number + 1]
        shown += [np.concatenate(pair) for pair in zip(both, (rough[number], fine[number]), strict=True)]
    return draw_sheet(sentences, shown, "Sentences about test images:\nthe real picture at the left, samples beside it",
                      ("Stage I", "Stage II") * count, first_apart=True)


# ----------------------------------------------------------------------------------------------- table

TABLE = (
    *((f"{title}: {part.replace('_', ' ')} right (%)", f"{name}_{part}", 100, 2)
      for title, name in (("all said", "seen"), ("never seen", "never_seen"), ("partly said", "said"))
      for part in (*ATTRIBUTES, ALL_FIVE)),
    *((f"all said, measured independently: {part} right (%)", f"independent_{part}", 100, 2) for part in INDEPENDENT),
    *((f"{title}: {part} varies, real = 1", f"{name}_{part}", 1, 3)
      for title, name in (("unsaid", "unsaid"), ("digit alone", "digit_alone")) for part in ATTRIBUTES[1:]),
    ("unsaid: empty pictures (%)", "empty", 100, 2),
    ("FID", "fid", 1, 2), ("  in multiples of real pictures'", "fid_over_floor", 1, 2),
    ("precision", "precision", 1, 3), ("recall", "recall", 1, 3),
    ("checkerboard energy (%)", "checkerboard_energy", 100, 3))


def print_figures(metrics, columns):
    """Print `columns`, a dictionary from a heading to figures, below what they were measured with, from `metrics`."""
    percentages = " / ".join(f"{accuracy:.2%}" for accuracy in metrics["painted_classifier_test_accuracy"].values())
    print(f"""
{metrics["samples"]:,} pictures per column, one for each of as many sentences about test images; of digits in inks that
they never have in training, {metrics["never_seen_samples"]:,}.
"real" are painted test images, for FID, precision and recall painted training images: the level of perfect generators.
"real halved" has Stage I's 14 x 14 pixels, enlarged as Stage I's are.
"measured independently" are the digit by another classifier, thickness along the middle of strokes and slant of the
principal axis, none of which training sees.
The classifier of digits is right on {metrics["classifier_test_accuracy"]:.2%} of the real pictures. The one in whose
features pictures are compared is right on {percentages} of their digits / inks / backgrounds.
""")
    print_table(columns, TABLE)


# ---------------------------------------------------------------------------------------- command line


def load_classifiers(folder, x_train, y_train):
    """Return the Classifiers of the training images uint8 (n, 28, 28) with labels (n,), trained if not in `folder`.

    Raises InputError for a damaged file, and OSError if a classifier cannot be written.
    """
    purposes = {"classifier": "that says which digit a picture shows",
                "painted_classifier": "in whose features painted pictures are compared",
                "independent_classifier": "that says it independently of what training minimizes"}
    return Classifiers(*(load_classifier(folder, kind, purpose, x_train, y_train)
                         for kind, purpose in purposes.items()), shape_cuts(x_train), independent_cuts(x_train))


def join_columns(stages, real):
    """Return the columns of the table, a dictionary from their headings, and add `fid_over_floor` to all figures.

    `stages` maps the name of a stage to what `score` returned for each run, `real` a heading to what it returned.
    """
    floor = real["real"]["fid"]
    for figures in [*(figures for runs in stages.values() for figures in runs), *real.values()]:
        figures["fid_over_floor"] = figures["fid"] / floor if floor > 0 else float("nan")
    runs = len(stages["Stage I"])
    columns = {name if runs == 1 else f"run {number + 1} {name}": figures[number]
               for number in range(runs) for name, figures in stages.items()}
    if runs > 1:
        columns |= {f"median {name}": median(figures) for name, figures in stages.items()}
    return columns | real


def evaluate(settings):
    """Score the StackGANs that `settings` name, print the table and write `metrics.json` and the pictures.

    Raises InputError for input that cannot be used and OSError when a file cannot be written.
    """
    started = time.perf_counter()
    runs = {folder: load_networks(folder) for folder in settings.runs}
    (x_train, y_train), (x_test, y_test) = load_data(settings.data)
    for folder in runs:
        compare_data(Path(folder), settings.data, x_train, y_train)
    train_indices, test_indices = choose_indices(y_train, y_test, settings.samples)
    find_classifier(settings.runs[0], "painted_classifier", x_train, y_train)  # refuse a damaged file before training
    outputs, plots = open_folder(settings.runs[0]), open_folder(settings.plots_dir)
    classifiers = load_classifiers(outputs, x_train, y_train)
    scenes = prepare_scenes(x_test[test_indices], y_test[test_indices], classifiers.cuts, settings.seed)
    done = cli.announce("Scoring real pictures", len(scenes) + 1)
    halved_and_whole, test_features = classify_real(scenes, x_train[train_indices], y_train[train_indices], classifiers,
                                                    settings.seed, done)
    done(1)
    real = {heading: score(findings, scenes, test_features)
            for heading, findings in zip(("real halved", "real"), halved_and_whole, strict=True)}
    stages = {"Stage I": [], "Stage II": []}
    for folder, networks in runs.items():
        done = cli.announce(f"Scoring {folder}", len(scenes))
        drawn = (draw_scene(networks, scene, settings.seed) for scene in scenes.values())
        for stage, findings in zip(stages.values(), classify_pictures(drawn, scenes, classifiers, done), strict=True):
            stage.append(score(findings, scenes, test_features))
    columns = join_columns(stages, real)
    right = (halved_and_whole[1].classes == scenes["unsaid"].real[:, :3]).mean(axis=0).tolist()
    metrics = {
        "runs": list(runs), "data": settings.data or "bundled MNIST",
        "seed": settings.seed, "samples": settings.samples,
        "never_seen_samples": len(scenes["never_seen"].sentences), "real_training_images": len(train_indices),
        "test_images": len(test_indices), "neighbours_k": NEIGHBOURS,
        "classifier_test_accuracy": real["real"]["seen_digit"],
        "painted_classifier_test_accuracy": dict(zip(ATTRIBUTES, right, strict=False)), **columns}
    write_json(outputs / "metrics.json", metrics)
    save_figure(plots / "attribute_accuracy.png", draw_attribute_accuracy(
        {**{name: figures[0] for name, figures in stages.items()}, "real": real["real"]}))
    save_figure(plots / "sentences.png", draw_sentences(next(iter(runs.values())), scenes["seen"], settings.seed))
    print_figures(metrics, columns)
    print(f"""
Scored in {cli.readable_time(time.perf_counter() - started)}. Written:
  {outputs / "metrics.json"}: every figure with the settings
  {plots / "attribute_accuracy.png"}: how many pictures show each part of their sentence
  {plots / "sentences.png"}: sentences about test images, real pictures and both stages'
  {outputs / "classifier.keras"}, painted_classifier.keras, independent_classifier.keras: for the next time""")


def parse_arguments(argv=None):
    """Parse the command line (a list of strings; None means that of the process) into a namespace."""
    parser = cli.Parser(__file__, "Score a trained StackGAN (attribute accuracy, conditional diversity, FID, precision "
                                  "and recall, checkerboards), beside the same figures for real pictures.")
    parser.add_argument("--runs", type=cli.path_name, nargs="+", default=["outputs/stackgan"], metavar="DIR",
                        help="output folders of StackGANs to score; of several, the median is printed as well, and "
                             "the pictures show and the files go to the first")
    parser.add_argument("--data", type=cli.path_name, metavar="FILE",
                        help="compare with another npz file in Keras's MNIST layout instead of the bundled MNIST")
    parser.add_argument("--samples", type=cli.sample_count, default=10_000, metavar="N",
                        help="pictures to draw, for as many sentences about test images; few make FID too high")
    parser.add_argument("--seed", type=cli.whole_number(0, 2**31 - 1), default=0,
                        help="start of the random numbers from which the scored pictures and sentences are drawn")
    parser.add_argument("--plots-dir", type=cli.path_name, default="plots/stackgan", metavar="DIR",
                        help="folder for the pictures")
    return parser.parse_args(argv)


def main(argv=None):
    """Run the command line (a list of strings; None means that of the process) and return the exit status."""
    settings = parse_arguments(argv)
    return cli.run(__file__, lambda: evaluate(settings))


if __name__ == "__main__":
    sys.exit(main())
