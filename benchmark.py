"""Measure the speed of both training scripts on this machine, side by side with other ways to do the same.

    python benchmark.py                    the training step, about 3 minutes
    python benchmark.py --whole-command    also the whole default command, about 9 minutes more
    python benchmark.py --stackgan         the training steps of `stackgan_mnist.py` instead, about 4 minutes
    python benchmark.py --workers 2        both scripts in one process and in two that share every batch, a core each

Shared machines change their speed from minute to minute. Every contender therefore takes its turn in
every round, and the ratios of the medians are what to quote. What is measured, and how, is in `benchmarks/`.
"""

import argparse
import importlib.metadata
import os
import platform
import shlex
import sys
from pathlib import Path

# Before Keras, because the package starts TensorFlow without its messages.
import cgan_mnist as cgan
from benchmarks import roofline, workers
from benchmarks.own_step import cgan_settings, stage_settings
from benchmarks.scaling import draw_scaling
from benchmarks.turns import time_in_turns
from benchmarks.whole_command import measure_command
from mnist_gan.data.mnist import BUNDLED_DATA, load_data
from mnist_gan.drawing.pictures import save_figure
from mnist_gan.errors import InputError
from mnist_gan.files import open_folder, write_json
from mnist_gan.running import command_line as cli
from mnist_gan.running.settings import versions

import keras
import tensorflow as tf

MACHINE = f"{platform.machine()}, {os.cpu_count()} cores"


def write_results(settings, path, results):
    """Write what was measured and how to the JSON file `path` and say where; raise OSError if that fails."""
    write_json(path, {"command": settings.command, "machine": MACHINE, "versions": versions(),
                      "batch_size": settings.batch_size, "rounds": settings.rounds, "results": results})
    print(f"\n{path}: these figures")


def installed(package):
    """Return the version of a `package` that is not required, or None after a line that says it is not installed."""
    try:
        return importlib.metadata.version(package)  # not imported beside TensorFlow, with which PyTorch crashes
    except importlib.metadata.PackageNotFoundError:
        print(f"{package} is not installed, so its step is not measured.")
        return None


def measure(contenders, rounds, needed):
    """Return the median seconds per step of each of `contenders` by name, and say which could not be measured and why.

    Raises OSError if one of those is among the `needed`.
    """
    seconds, failures = time_in_turns(contenders, rounds)
    for name, reason in failures.items():
        if name in needed:
            raise OSError(f"{name} could not be measured: {reason}")
        print(f"{name} could not be measured: {reason}")
    return seconds


# --------------------------------------------------------------------------------------- cgan_mnist.py


def benchmark_cgan(settings):
    """Measure, print and write the step of `cgan_mnist.py`, its roofline, and other ways to do the same."""
    outputs, size = open_folder(settings.output_dir), settings.batch_size
    (x_train, _), _ = load_data()
    ours, own_step, defaults = "cgan_mnist.py", ("own_step.cgan", cgan_settings(size)), cgan_settings(size)
    command = measure_command(own_step, size, settings.epochs) if settings.whole_command else None
    matrix, memory, products = "matrix product", "memory", "its matrix products"
    contenders = {matrix: ("roofline.matrix_product", {}), memory: ("roofline.memory", {}),
                  products: ("roofline.step_products", defaults), ours: own_step,
                  "without XLA": ("own_step.cgan", cgan_settings(size, jit_compile=False)),
                  "uncompiled": ("own_step.cgan", cgan_settings(size, jit_compile=False, eager=True)),
                  "classic Keras loop": ("classic_keras.cgan", defaults)}
    arguments = {**defaults, "data": str(BUNDLED_DATA)}
    if version := installed("torch"):
        contenders[f"PyTorch {version}"] = "pytorch.cgan", {**arguments, "compiled": False}
        contenders["torch.compile"] = "pytorch.cgan", {**arguments, "compiled": True}
    if version := installed("jax"):
        contenders[f"JAX {version}"] = "jax_step.cgan", arguments
    seconds = measure(contenders, settings.rounds, (matrix, memory, products, ours))
    rate = roofline.MATRIX_SIDE**3 / seconds.pop(matrix)
    bandwidth = 12 * roofline.NUMBERS / seconds.pop(memory)
    generator, _, discriminator = cgan.build_networks(cgan.parse_arguments([]))
    work = roofline.step_multiply_adds(generator, discriminator, size, size // 2)
    moved = roofline.step_bytes(generator, discriminator)
    bound = seconds[products] + moved / bandwidth
    print(f"""
{MACHINE}, Python {platform.python_version()}, TensorFlow {tf.__version__}, Keras {keras.__version__}
Batch size {size}, medians over {settings.rounds} rounds in which all take turns.
The floor is the {work / 1e9:.2f} billion multiply-adds of the step's matrix products over the rate of a
2048 x 2048 float32 product, {rate / 1e9:.1f} billion multiply-adds per second here and now.
The roofline is the time of these products as measured, in the step's own sizes, and of the {moved / 1e6:.0f} MB
that Adam and the EMA must move beside them, at {bandwidth / 1e9:.1f} GB per second. The step takes \
{seconds[ours] / bound:.2f} x the roofline.

{'training step':<24}{'ms':>8}{'x floor':>10}{'x ours':>9}""")
    results = {}
    for name, value in {"floor": work / rate, "roofline": bound, **seconds}.items():
        print(f"{name:<24}{1000 * value:>8.1f}{value / (work / rate):>10.2f}{value / seconds[ours]:>9.2f}")
        results[name.split()[0] if name.startswith(("PyTorch", "JAX")) else name] = {
            "ms": 1000 * value, "times_floor": value / (work / rate), "times_ours": value / seconds[ours]}
    results["step"] = {"billion_multiply_adds": work / 1e9, "billion_multiply_adds_per_second": rate / 1e9,
                       "megabytes": moved / 1e6, "gigabytes_per_second": bandwidth / 1e9,
                       "times_roofline": seconds[ours] / bound}
    if command:
        results["whole_command"] = report_command(command, settings.epochs, len(x_train), size, seconds[ours])
    write_results(settings, outputs / "benchmark.json", results)


def report_command(command, epochs, images, batch_size, seconds):
    """Print what `measure_command` returned and return it for JSON; `seconds` are those of one step."""
    first_batch, whole, peak = command
    batches = epochs * -(-images // batch_size)
    print(f"""
start to the end of the first batch: {first_batch:.1f} s, the best of 3
whole command, {epochs} epochs: {cli.readable_time(whole)}, {whole / (batches * seconds):.2f} x \
its {batches:,} training steps alone
peak resident memory of the command: {peak:.2f} GiB""")
    return {"seconds": whole, "seconds_to_first_batch": first_batch, "peak_gib": peak,
            "times_its_steps": whole / (batches * seconds)}


# ----------------------------------------------------------------------------------- stackgan_mnist.py


def benchmark_stackgan(settings):
    """Measure, print and write the steps of both stages of `stackgan_mnist.py`, compiled in each way and not."""
    outputs, size = open_folder(settings.output_dir), settings.batch_size
    ours = {"Stage I": "Stage I with XLA", "Stage II": "Stage II without XLA"}
    contenders = {}
    for number, stage in enumerate(ours, 1):
        contenders[f"{stage} with XLA"] = "own_step.stage", stage_settings(number, size, jit_compile=True)
        contenders[f"{stage} without XLA"] = "own_step.stage", stage_settings(number, size, jit_compile=False)
        contenders[f"{stage} uncompiled"] = "own_step.stage", stage_settings(number, size, False, eager=True)
    seconds = measure(contenders, settings.rounds, ours.values())
    print(f"""
{MACHINE}, Python {platform.python_version()}, TensorFlow {tf.__version__}, Keras {keras.__version__}
Batch size {size}, medians over {settings.rounds} rounds in which all take turns.
`stackgan_mnist.py` compiles Stage I with XLA and Stage II without.

{'training step':<24}{'ms':>8}{'x ours':>9}""")
    results = {}
    for name, value in seconds.items():
        times_ours = value / seconds[ours[" ".join(name.split()[:2])]]
        print(f"{name:<24}{1000 * value:>8.1f}{times_ours:>9.2f}")
        results[name] = {"ms": 1000 * value, "times_ours": times_ours}
    write_results(settings, outputs / "benchmark_stackgan.json", results)


# ------------------------------------------------------------------------------------- several workers


def benchmark_workers(settings):
    """Measure one process and `settings.workers` that share every batch; predict and draw what more machines would do.

    Raises InputError if there are fewer cores than processes or the batch cannot be shared equally.
    """
    count, size, calls = settings.workers, settings.batch_size, 5 * settings.rounds
    if not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < count:
        raise InputError(f"--workers {count}: each needs a core of its own, on Linux; give as many as there are")
    if size % (2 * count):
        raise InputError(f"--batch-size {size}: {count} workers cannot share it equally in pairs; "
                         f"give a multiple of {2 * count}")
    outputs, plots = open_folder(settings.output_dir), open_folder(settings.plots_dir)
    print(f"""{platform.machine()}, a core for each process, TensorFlow {tf.__version__}, Keras {keras.__version__}
Batch size {size}, shared by {count} workers on loopback; medians of {calls} steps, in ms. Workers compile without XLA.
Communication: what a step of the workers takes beyond one process with a worker's share of the batch.
Efficiency: one process over {count} times the workers', both without XLA. Predicted: the model for the workers' step.

{"training step":<16}{"1, XLA":>9}{"1":>9}{"1, share":>10}{f"{count}":>9}{"communication":>15}{"efficiency":>12}\
{"predicted":>11}""")
    steps = {}
    for name in workers.SCRIPTS:
        steps[name] = found = workers.measure(name, count, size, calls)
        print(f"{name:<16}{f'{1000 * found.compiled:.1f}' if found.compiled else '-':>9}{1000 * found.whole:>9.1f}"
              f"{1000 * found.share:>10.1f}{1000 * found.workers:>9.1f}{1000 * (found.workers - found.share):>15.1f}"
              f"{found.whole / (count * found.workers):>12.2f}{1000 * found.predicted:>11.1f}", flush=True)
        print(f"    {found.reductions} reductions, {found.bytes / 1e6:.2f} MB together; {1e6 * found.latency:.0f} µs "
              f"a message, {found.bandwidth * 8e-9:.1f} Gbit/s", flush=True)
    results = {name: {"one_xla": found.compiled and 1000 * found.compiled, "one": 1000 * found.whole,
                      "one_share": 1000 * found.share, "workers": 1000 * found.workers,
                      "communication": 1000 * (found.workers - found.share),
                      "efficiency": found.whole / (count * found.workers), "predicted": 1000 * found.predicted,
                      "model_off": abs(found.predicted / found.workers - 1), "megabytes": found.bytes / 1e6,
                      "ms_a_message": 1e3 * found.latency, "predictions": {}} for name, found in steps.items()}
    predictions = predict_workers(settings, steps, results)
    measured = {name: (count, found.whole / found.workers, found.whole / found.predicted)
                for name, found in steps.items()}
    save_figure(plots / "scaling.png", draw_scaling(predictions, measured, size))
    write_results(settings, outputs / "scaling.json", results)


def predict_workers(settings, steps, results):
    """Print what the `steps`, {name: Measured}, let expect of many workers, and add it to `results`, {name: dict}.

    Returns the curves of `draw_scaling`.
    """
    curves = {}
    print(f"""
Predicted for {workers.MOST_WORKERS} workers: the speed-up with {settings.batch_size} images each, and how many images \
each needs to compute
as long as it communicates.

{"training step":<16}{"Gbit/s":>9}{"µs a message":>14}{"speed-up":>10}{"images each":>13}""")
    for gigabits in settings.bandwidth:
        network = f"{gigabits:g} Gbit/s"
        curves[network] = {}
        for name, found in steps.items():
            latency = found.latency if settings.latency is None else settings.latency * 1e-6
            speed_ups, images = workers.predict(found, settings.batch_size, latency, gigabits)
            curves[network][name] = workers.WORKERS, speed_ups
            results[name]["predictions"][network] = {"speed_up": speed_ups[-1], "images_each": images}
            print(f"{name:<16}{gigabits:>9g}{1e6 * latency:>14.0f}{speed_ups[-1]:>10.1f}{images:>13,}")
    return curves


# ---------------------------------------------------------------------------------------- command line


def parse_arguments(arguments):
    """Parse the command line (a list of strings) into a namespace."""
    parser = cli.Parser(__file__, "Measure the training step of cgan_mnist.py beside its floor and its competitors, "
                                  "or those of stackgan_mnist.py.")
    parser.add_argument("--batch-size", type=cli.whole_number(4, 10_000), metavar="N",
                        default=cgan.parse_arguments([]).batch_size, help="images per update, for all contenders")
    parser.add_argument("--rounds", type=cli.whole_number(1, 1000), default=20, metavar="N",
                        help="how often every contender takes its turn")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--stackgan", action="store_true",
                      help="measure the training steps of stackgan_mnist.py instead")
    what.add_argument("--whole-command", action="store_true",
                      help="also run the whole default command and measure its time, its start and its memory")
    what.add_argument("--workers", type=cli.whole_number(2, workers.MOST_WORKERS), metavar="N",
                      help="measure both scripts in one process and in N that share every batch, a core each, and "
                           "predict more")
    parser.add_argument("--bandwidth", type=cli.positive_number, nargs="+", default=argparse.SUPPRESS, metavar="GBIT",
                        help="with --workers, networks to predict for, in Gbit/s (default: 10 100)")
    parser.add_argument("--latency", type=cli.checked(float, lambda value: 0 <= value < 1e6, "from 0 to 10^6"),
                        metavar="MICROSECONDS",
                        help="with --workers, time of a message there; as measured between the processes if not given")
    parser.add_argument("--output-dir", type=cli.path_name, default="outputs", metavar="DIR",
                        help="folder for the figures as JSON, whose name says what was measured")
    parser.add_argument("--plots-dir", type=cli.path_name, default=argparse.SUPPRESS, metavar="DIR",
                        help="with --workers, folder for scaling.png (default: plots)")
    parser.add_argument("--epochs", type=cli.whole_number(1, 999), default=argparse.SUPPRESS,
                        help="with --whole-command, its epochs; with few, the start dominates (default: 20)")
    settings = parser.parse_args(arguments, argparse.Namespace(bandwidth=None, plots_dir=None, epochs=None))
    if not settings.workers and (settings.bandwidth or settings.plots_dir or settings.latency is not None):
        parser.error("--bandwidth, --latency and --plots-dir need --workers")
    if settings.epochs and not settings.whole_command:
        parser.error("--epochs needs --whole-command")
    settings.bandwidth = settings.bandwidth or [10.0, 100.0]
    settings.plots_dir = settings.plots_dir or "plots"
    settings.epochs = settings.epochs or cgan.parse_arguments([]).epochs
    return settings


def main(argv=None):
    """Run the command line, `argv` or that of the process, and return the exit status."""
    arguments = sys.argv[1:] if argv is None else argv
    settings = parse_arguments(arguments)
    folders = argparse.ArgumentParser(add_help=False)  # on which no figure depends
    folders.add_argument("--output-dir")
    folders.add_argument("--plots-dir")
    settings.command = shlex.join(["python", Path(__file__).name, *folders.parse_known_args(arguments)[1]])
    benchmark = benchmark_workers if settings.workers else benchmark_stackgan if settings.stackgan else benchmark_cgan
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # or the first process would take all of a GPU's memory
    return cli.run(__file__, lambda: benchmark(settings))


if __name__ == "__main__":
    sys.exit(main())
