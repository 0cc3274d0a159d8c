"""Run the experiments behind REPORT.md: one figure and one file of numbers each.

    python experiments.py --list                      what each experiment shows and how long it takes
    python experiments.py noise_length remedies       some of them
    python experiments.py all --quick                 all of them, with hardly any training, into runs/quick
    python experiments.py --update-reports            take the numbers in the reports from the committed files

An experiment that was interrupted continues with the parts that are finished when it is started again in the same way.
"""

import argparse
import contextlib
import difflib
import json
import os
import platform
import shlex
import sys
import time
from pathlib import Path
from types import SimpleNamespace

# Before Keras, because the package starts TensorFlow without its messages.
from cgan_mnist import RESUMED_SETTINGS
from coursework import collapse, convolutions, fid, labels, noise, runs, stackgan, training
from coursework.report import with_numbers
from mnist_gan.running.command_line import one_line_errors, path_name, readable_time, run
from mnist_gan.errors import InputError
from mnist_gan.files import open_folder, write_json, atomic_write
from mnist_gan.data.mnist import DIGITS, load_data
from mnist_gan.drawing.pictures import save_figure
from mnist_gan.running.settings import record_settings, versions

import numpy as np

# In the order of the report.
EXPERIMENTS = {experiment.__name__: experiment for experiment in (
    runs.baseline,
    noise.noise_length, noise.noise_distribution, noise.noise_scale,
    collapse.mode_collapse, collapse.gradients, collapse.remedies, collapse.bilinear_game,
    convolutions.transposed_convolution, convolutions.dcgan,
    training.objective, training.losses,
    labels.label_merging, labels.label_answers,
    training.normalization,
    stackgan.stages, stackgan.stage1_parts,
    convolutions.pixelshuffle, stackgan.stackgan_upsampling,
    fid.fid_sample_size, fid.fid_degradations, fid.fid_networks, fid.fid_moments,
)}
ROOT = Path(__file__).resolve().parent
OUTPUTS = Path("outputs", "experiments")  # the default folder for the numbers, in the user's working directory
COMMITTED = ROOT / OUTPUTS
REPORTS = ("REPORT.md", "REPORT.fa.md")
QUICK_TRAINING_IMAGES, QUICK_TEST_IMAGES = 2000, 1000


def list_experiments():
    """Print what each experiment shows and how long it took when its committed numbers were measured."""
    for name, experiment in EXPERIMENTS.items():
        path = COMMITTED / f"{name}.json"
        seconds = json.loads(path.read_text())["seconds"] if path.is_file() else None
        print(f"{name:<24}{experiment.__doc__.splitlines()[0]} "
              f"({readable_time(seconds) if seconds is not None else 'not measured yet'})")


def open_parts(path, settings):
    """Return the function `part` of an experiment that keeps finished parts in the file `path`, and `seconds()`.

    `seconds()` is how long the experiment has taken, in earlier runs that were interrupted and in this one.
    Parts that were made with other `settings`, a dictionary, or cannot be read are not used.
    """
    before, finished, started = 0.0, {}, time.perf_counter()
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(path.read_text())
        if kept["settings"] == settings:
            before, finished = kept["seconds"], kept["parts"]

    def seconds():
        return before + time.perf_counter() - started

    def part(name, compute, left=None):
        if name not in finished:
            begun = time.perf_counter()
            print(f"  {name}:", end=" ", flush=True)
            finished[name] = compute()
            # With NaN for what is no number, so that a part is the same whether it was computed now or before.
            kept = json.dumps({"settings": settings, "seconds": seconds(), "parts": finished})
            atomic_write(path, lambda partial: partial.write_text(kept))
            took = time.perf_counter() - begun
            print(f"{readable_time(took)}" + (f", about {readable_time(left * took)} left" if left else ""), flush=True)
        return finished[name]
    return part, seconds


def run_experiment(name, options, settings, outputs, plots):
    """Run one experiment, write NAME.png to `plots` and NAME.json to `outputs`, and forget its parts.

    `settings` is a dictionary of what the numbers depend on. Raises OSError if a file cannot be written.
    """
    print(f"{name}: {EXPERIMENTS[name].__doc__.splitlines()[0]}", flush=True)
    parts = outputs / f"{name}.parts.json"
    part, seconds = open_parts(parts, settings)
    results, figure = EXPERIMENTS[name](options, part)
    save_figure(plots / f"{name}.png", figure)
    write_json(outputs / f"{name}.json", {
        "experiment": name, "command": f"python experiments.py {name}" + " --quick" * options.quick,
        "settings": settings, "seeds": options.seeds, "seconds": round(seconds(), 1),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores", "versions": versions(), "results": results})
    parts.unlink(missing_ok=True)
    print(f"  {readable_time(seconds())}; written: {outputs / name}.json, {plots / name}.png", flush=True)


def run_experiments(settings):
    """Run the experiments that `settings` name.

    Raises InputError, before any of them, for data or folders that cannot be used; OSError as `run_experiment` does.
    """
    (x_train, y_train), (x_test, y_test) = load_data(settings.data)
    if settings.quick:
        x_train, y_train = x_train[:QUICK_TRAINING_IMAGES], y_train[:QUICK_TRAINING_IMAGES]
        x_test, y_test = x_test[:QUICK_TEST_IMAGES], y_test[:QUICK_TEST_IMAGES]
    if min(len(x_train) / QUICK_TRAINING_IMAGES, len(x_test) / QUICK_TEST_IMAGES) < 1:
        raise InputError(f"--data {settings.data}: at least {QUICK_TRAINING_IMAGES} training and {QUICK_TEST_IMAGES} "
                         "test images are needed")
    if min(np.bincount(labels, minlength=DIGITS).min() for labels in (y_train[-runs.QUICK_SAMPLES:], y_test)) < 5:
        raise InputError(f"--data {settings.data}: at least 5 of every digit are needed in the test images and in the "
                         f"last {runs.QUICK_SAMPLES} training images")
    outputs, plots = open_folder(settings.output_dir), open_folder(settings.plots_dir)
    options = SimpleNamespace(quick=settings.quick, seeds=(0,) if settings.quick else (0, 1, 2),
                              data=(x_train, y_train, x_test, y_test), networks=outputs,
                              # In the default folder, evaluate.py's own classifier of the full data is used.
                              classifiers=outputs.parent if outputs == OUTPUTS and not settings.quick else outputs)
    short = record_settings(runs.short_settings(options, 0), x_train, y_train)
    record = {"quick": settings.quick, "data": settings.data or "bundled MNIST", "data_crc32": short["data_crc32"],
              "short_training": {name: short[name] for name in RESUMED_SETTINGS if name not in ("seed", "data_crc32")}}
    names = list(EXPERIMENTS) if "all" in settings.names else settings.names
    for number, name in enumerate(names):
        run_experiment(name, options, record, outputs, plots)
        if number + 1 < len(names):
            print(f"{number + 1} of {len(names)} experiments done, next: {names[number + 1]}", flush=True)


def update_reports():
    """Write the numbers of the committed files into both reports.

    Raises InputError as `with_numbers` does, or if the reports' folder cannot be written to.
    """
    folder = open_folder(ROOT)
    for name in REPORTS:
        text = with_numbers((folder / name).read_text(encoding="utf-8"), COMMITTED)
        atomic_write(folder / name, lambda partial, text=text: partial.write_text(text, encoding="utf-8"))


def parse_arguments(arguments=None):
    """Parse the command line (a list of strings; None means that of the process) into a namespace."""
    parser = one_line_errors(argparse.ArgumentParser(
        description="Run the experiments behind REPORT.md.", allow_abbrev=False))
    parser.add_argument("names", nargs="*", metavar="NAME", help="experiments of --list, or 'all'")
    parser.add_argument("--list", action="store_true", help="say what each experiment shows and how long it takes")
    parser.add_argument("--update-reports", action="store_true",
                        help="write the numbers of outputs/experiments into REPORT.md and REPORT.fa.md")
    parser.add_argument("--quick", action="store_true",
                        help="try the experiments, each in a minute or two: few images, hardly any training, one seed")
    parser.add_argument("--data", type=path_name, metavar="FILE",
                        help="use another npz file in Keras's MNIST layout instead of the bundled MNIST")
    parser.add_argument("--output-dir", type=path_name, metavar="DIR",
                        help="folder for the numbers (default: outputs/experiments, with --quick runs/quick)")
    parser.add_argument("--plots-dir", type=path_name, metavar="DIR",
                        help="folder for the figures (default: plots/experiments, with --quick runs/quick)")
    settings = parser.parse_args(arguments)
    settings.output_dir = settings.output_dir or ("runs/quick" if settings.quick else OUTPUTS)
    settings.plots_dir = settings.plots_dir or ("runs/quick" if settings.quick else "plots/experiments")
    unknown = [name for name in settings.names if name not in EXPERIMENTS and name != "all"]
    if unknown:
        near = difflib.get_close_matches(unknown[0], EXPERIMENTS, 1)
        meant = f", did you mean '{near[0]}'?" if near else ";"
        parser.error(f"there is no experiment '{unknown[0]}'{meant} --list names them")
    if bool(settings.names) + settings.list + settings.update_reports != 1:
        parser.error("name experiments of --list, or 'all', or give --list or --update-reports alone")
    return settings


def main():
    """Run the command line and return the exit status."""
    settings = parse_arguments()
    if settings.list:
        return run(list_experiments)
    if settings.update_reports:
        return run(update_reports)
    command = shlex.join(["python", *sys.argv])
    return run(lambda: run_experiments(settings), lambda: f"Continue after the last finished part with: {command}")


if __name__ == "__main__":
    sys.exit(main())
