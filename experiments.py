"""Run the experiments behind REPORT.md: one figure and one file of numbers each.

    python experiments.py --list                      what each experiment shows and how long it takes
    python experiments.py noise_length ring           some of them
    python experiments.py all --quick                 all of them, with hardly any training, into runs/quick
    python experiments.py --report                    write REPORT.md anew from its template and the committed files

An experiment that was interrupted continues after its finished parts when it is started again in the same way, unless
the code has changed.
"""

import argparse
import difflib
import json
import os
import platform
import sys
from pathlib import Path

# Before Keras, because the package starts TensorFlow without its messages.
from coursework import collapse, convolutions, fid, labels, noise, pixelshuffle, ring, stacked, stackgan, training
from coursework.context import COMMITTED, QUICK_SAMPLES, ROOT, Context
from coursework.report import with_numbers
from mnist_gan.data.mnist import DIGITS, checksum, load_data
from mnist_gan.drawing.pictures import save_figure
from mnist_gan.errors import InputError
from mnist_gan.files import atomic_write, open_folder, write_json
from mnist_gan.running.command_line import Parser, command_of, path_name, readable_time, run
from mnist_gan.running.settings import versions

import numpy as np

# In the order of the report.
EXPERIMENTS = {experiment.__name__: experiment for experiment in (
    training.baseline, training.ablation, training.additions,
    noise.noise_length, noise.noise_distribution, noise.noise_scale,
    collapse.mode_collapse, collapse.gradients, training.remedies,
    convolutions.transposed_convolution, convolutions.dcgan,
    training.objective, training.losses,
    labels.label_merging, labels.label_answers,
    training.normalization,
    stackgan.stages,
    collapse.bilinear_game, ring.ring, stacked.stacked_mnist,
    pixelshuffle.pixelshuffle, stackgan.stackgan_upsampling,
    fid.fid_sample_size, fid.fid_degradations, fid.fid_networks, fid.fid_moments,
)}
OUTPUTS, PLOTS = "outputs/experiments", "plots/experiments"  # the default folders, in the user's working directory
REPORTS = ("REPORT.md", "REPORT.fa.md", "results/README.md")  # each has its template
TEMPLATES = ROOT / "coursework" / "templates"
QUICK_TRAINING_IMAGES, QUICK_TEST_IMAGES = 2000, 1000


def list_experiments():
    """Print what each experiment shows and how long it took when its committed numbers were measured."""
    lines = []
    for name, experiment in EXPERIMENTS.items():
        path = COMMITTED / "experiments" / f"{name}.json"
        time = readable_time(json.loads(path.read_text())["seconds"]) if path.is_file() else "not measured yet"
        lines.append(f"{name:<24}{experiment.__doc__.splitlines()[0]} ({time})\n")
    print("".join(lines), end="")  # in one write, so that `head -1` has it all before it closes the pipe


def run_experiment(name, context, settings, plots):
    """Run one experiment, write NAME.png to `plots` and NAME.json to the context's folder, and remove its cache.

    `settings` is a dictionary of what the numbers depend on. Raises OSError if a file cannot be written.
    """
    print(f"{name}: {EXPERIMENTS[name].__doc__.splitlines()[0]}", flush=True)
    context.open_cache(name, settings)
    results, figure = EXPERIMENTS[name](context)
    # Trainings may have been kept from another experiment or another day.
    seconds = max(context.cache.seconds(), results.get("training_seconds", 0))
    numbers, picture = context.folder / f"{name}.json", plots / f"{name}.png"
    save_figure(picture, figure)
    write_json(numbers, {
        "experiment": name, "command": f"python experiments.py {name}" + " --quick" * context.quick,
        "settings": settings, "seeds": results.get("seeds", context.seeds), "seconds": round(seconds, 1),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores", "versions": versions(), "results": results})
    context.cache.remove()
    print(f"  {readable_time(seconds)}; written: {numbers}, {picture}", flush=True)


def load_experiment_data(path, quick):
    """Return what `load_data` does of the data set at `path`, only the first images if `quick`.

    Raises InputError for data that cannot be used or has too few images.
    """
    (x_train, y_train), (x_test, y_test) = load_data(path)
    if len(x_train) < QUICK_TRAINING_IMAGES or len(x_test) < QUICK_TEST_IMAGES:
        raise InputError(f"--data {path}: at least {QUICK_TRAINING_IMAGES} training and {QUICK_TEST_IMAGES} test "
                         "images are needed")
    if quick:
        x_train, y_train = x_train[:QUICK_TRAINING_IMAGES], y_train[:QUICK_TRAINING_IMAGES]
        x_test, y_test = x_test[:QUICK_TEST_IMAGES], y_test[:QUICK_TEST_IMAGES]
    if min(np.bincount(digits, minlength=DIGITS).min() for digits in (y_train[-QUICK_SAMPLES:], y_test)) < 5:
        raise InputError(f"--data {path}: at least 5 of every digit are needed in the test images and in the last "
                         f"{QUICK_SAMPLES} training images")
    return (x_train, y_train), (x_test, y_test)


def run_experiments(settings):
    """Run the experiments that `settings` name.

    Raises InputError, before any of them, for data or folders that cannot be used; OSError as `run_experiment` does.
    """
    data = load_experiment_data(settings.data, settings.quick)
    outputs, plots = open_folder(settings.output_dir), open_folder(settings.plots_dir)
    # In the default folder, evaluate.py's own classifier of the full data is used.
    default = outputs == Path(OUTPUTS) and not settings.quick
    context = Context(data, settings.quick, outputs, outputs.parent if default else outputs)
    record = {"quick": settings.quick, "data": settings.data or "bundled MNIST",
              "data_crc32": checksum(context.x_train, context.y_train)}
    names = list(EXPERIMENTS) if "all" in settings.names else settings.names
    for number, name in enumerate(names, 1):
        run_experiment(name, context, record, plots)
        if number < len(names):
            print(f"{number} of {len(names)} experiments done, next: {names[number]}", flush=True)


def write_reports():
    """Write the reports from their templates and the numbers of the committed files.

    Raises InputError as `with_numbers` does, or if the reports' folder cannot be written to.
    """
    folder = open_folder(ROOT)
    for name in REPORTS:
        text = with_numbers((TEMPLATES / name).read_text(encoding="utf-8"), COMMITTED)
        atomic_write(folder / name, lambda partial, text=text: partial.write_text(text, encoding="utf-8"))
    print(f"Written: {', '.join(REPORTS)}")


def parse_arguments(argv=None):
    """Parse the command line (a list of strings; None means that of the process) into a namespace."""
    parser = Parser(__file__, "Run the experiments behind REPORT.md.")
    parser.formatter_class = argparse.HelpFormatter  # the defaults depend on --quick
    parser.add_argument("names", nargs="*", metavar="NAME", help="experiments of --list, or 'all'")
    parser.add_argument("--list", action="store_true", help="say what each experiment shows and how long it takes")
    parser.add_argument("--report", action="store_true",
                        help="write REPORT.md, REPORT.fa.md and results/README.md from the templates in "
                             "coursework/templates/ and the numbers in results/")
    parser.add_argument("--quick", action="store_true",
                        help="try the experiments, each in a minute or two: few images, hardly any training, one seed")
    parser.add_argument("--data", type=path_name, metavar="FILE",
                        help="use another npz file in Keras's MNIST layout instead of the bundled MNIST")
    parser.add_argument("--output-dir", type=path_name, metavar="DIR",
                        help=f"folder for the numbers (default: {OUTPUTS}, with --quick runs/quick)")
    parser.add_argument("--plots-dir", type=path_name, metavar="DIR",
                        help=f"folder for the figures (default: {PLOTS}, with --quick runs/quick)")
    settings = parser.parse_args(argv)
    settings.output_dir = settings.output_dir or ("runs/quick" if settings.quick else OUTPUTS)
    settings.plots_dir = settings.plots_dir or ("runs/quick" if settings.quick else PLOTS)
    unknown = [name for name in settings.names if name not in EXPERIMENTS and name != "all"]
    if unknown:
        near = difflib.get_close_matches(unknown[0], EXPERIMENTS, 1)
        meant = f", did you mean '{near[0]}'?" if near else ";"
        parser.error(f"there is no experiment '{unknown[0]}'{meant} --list names them")
    if bool(settings.names) + settings.list + settings.report != 1:
        parser.error("name experiments of --list, or 'all', or give --list or --report alone")
    return settings


def main(argv=None):
    """Run the command line, `argv` or that of the process, and return the exit status."""
    settings = parse_arguments(argv)
    if settings.list:
        return run(__file__, list_experiments)
    if settings.report:
        return run(__file__, write_reports)
    words = sys.argv if argv is None else [__file__, *argv]
    return run(__file__, lambda: run_experiments(settings),
               lambda: f"Continue after the last finished part with: {command_of(words)}")


if __name__ == "__main__":
    sys.exit(main())
