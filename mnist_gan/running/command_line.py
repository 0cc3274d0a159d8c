"""Option types and groups, and one line with an exit status for every expected error."""

import argparse
import contextlib
import io
import math
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import tensorflow as tf

from mnist_gan.data.mnist import DIGITS
from mnist_gan.errors import InputError
from mnist_gan.running.distribution import run_distributed


def checked(kind, accept, requirement) -> Callable:
    """Return an argparse type: text to `kind` (int, float or str) if `accept` holds for it; `requirement` says when."""
    def parse(text):
        with contextlib.suppress(ValueError):
            if accept(kind(text)):
                return kind(text)
        raise argparse.ArgumentTypeError(f"must be {requirement}, not {text!r}")
    return parse


def whole_number(low, high) -> Callable:
    """Return an argparse type for whole numbers from `low` to `high`."""
    return checked(int, lambda value: low <= value <= high, f"a whole number from {low} to {high}")


# Outside, single precision has no room for their products.
positive_number = checked(float, lambda value: 1e-30 <= value <= 1e30, "a number from 1e-30 to 1e30")

# Without the empty text, which a shell makes of a variable that is not set.
path_name = checked(str, bool, "a path")


def fraction_below(limit) -> Callable:
    """Return an argparse type for numbers in [0, limit)."""
    return checked(float, lambda value: 0 <= value < limit, f"at least 0 and below {limit}")


def digit_string(text) -> str:
    """Check the argument of --generate and return it."""
    if not (text.isascii() and text.isdigit() and len(text) <= 100):
        raise argparse.ArgumentTypeError(f"must be 1 to 100 digits such as 31415, not {text!r}")
    return text


def sample_count(text) -> int:
    """Check the argument of --samples of an evaluation, a multiple of 10, and return it."""
    count = whole_number(50, 100_000)(text)
    if count % DIGITS:
        raise argparse.ArgumentTypeError(f"must be a multiple of {DIGITS}, not {text!r}")
    return count


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Help with the default of every option that has one."""

    def _get_help_string(self, action):
        return action.help if action.default in (None, False) else super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """A parser for the command `script`, a path; it answers bad input with one line on stderr and exit status 2."""

    def __init__(self, script, description):
        sys.stdout = sys.stdout or open(os.devnull, "w")  # there is none where it was closed
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # a path or a sentence may have what the terminal has not
        super().__init__(Path(script).name, description=description, allow_abbrev=False,
                         formatter_class=HelpFormatter)

    def error(self, message) -> None:
        """Print `message` as one line and exit with status 2."""
        self.exit(2, f"{self.prog}: error: {one_line(message)} (see --help)\n")

    def add_renamed(self, **options) -> None:
        """Refuse old options with their new names, `options`, as in `old_name="--new-name"`."""
        for old, new in options.items():
            self.add_argument(f"--{old.replace('_', '-')}", nargs="?", action=Renamed, const=new,
                              default=argparse.SUPPRESS, help=argparse.SUPPRESS)


class Renamed(argparse.Action):
    """What argparse does with an option of `Parser.add_renamed`."""

    def __call__(self, parser, namespace, values, option_string=None):
        """Refuse the option and say its new name."""
        parser.error(f"{option_string} is now {self.const}")


def one_line(message) -> str:
    """Return `message` as one line, whatever is in the names of files that it gives."""
    return " ".join(message.splitlines()).rstrip()


@contextlib.contextmanager
def stopped_once() -> Iterator[None]:
    """Let the first Ctrl-C or SIGTERM raise KeyboardInterrupt with its number; ignore others until the context ends.

    What comes after it, while Python ends, ends the process at once, without a traceback.
    """
    def stop(number, frame):
        for each in handlers:
            signal.signal(each, signal.SIG_IGN)
            handlers[each] = signal.SIG_DFL
        raise KeyboardInterrupt(number)

    handlers = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                handlers[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def run(script, work, advice=lambda: "", not_finite="") -> int:
    """Call `work()` and return the exit status, with one line on stderr for every expected error.

    `script` is the path of the command, with whose name the line starts. `advice()` says what to do when the work
    stopped half-way, `not_finite` when a loss is no longer finite.
    """
    tf.config.experimental.enable_op_determinism()  # a GPU repeats bit for bit only with it
    with stopped_once():
        try:
            work()
            sys.stdout.flush()
            return 0
        except InputError as error:
            status, message = 2, f"error: {error}"
        except FloatingPointError as error:
            status, message = 1, f"stopped: {error}. {not_finite}"
        except BrokenPipeError as error:  # whoever read the output has seen enough, as `head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            status, message = 141, advice() and f"stopped: {error}. {advice()}"
        except OSError as error:
            status, message = 1, f"stopped: {error}. {advice()}"
        except (MemoryError, tf.errors.ResourceExhaustedError):
            status, message = 1, f"stopped: there is not enough memory; give fewer images at a time. {advice()}"
        except KeyboardInterrupt as error:
            number, = error.args or (signal.SIGINT,)
            status, message = 128 + number, f"{'terminated' if number == signal.SIGTERM else 'interrupted'}. {advice()}"
        if message:
            print(f"{Path(script).name}: {one_line(message)}", file=sys.stderr)
        return status


def command_of(words) -> str:
    """Return the command that runs a script with this interpreter, for the shell; `words` start with its path."""
    return (subprocess.list2cmdline if os.name == "nt" else shlex.join)([sys.executable, *words])


def total_memory() -> float:
    """Return how many bytes of memory this machine has, infinity where the system does not tell, as on Windows."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return math.inf


def require_memory(needed, asked, remedy) -> None:
    """Raise InputError, a line of `asked` and `remedy`, if this machine has less than `needed` bytes of memory."""
    if needed > total_memory():
        raise InputError(f"{asked} needs {needed / 2**30:.0f} GiB of memory; {remedy}")


def announce(title, parts) -> Callable:
    """Print `title` and return a function to be called with how many of `parts` have been done.

    On a terminal they become a bar that says the time left.
    """
    print(title, flush=True)
    return keras.utils.Progbar(parts, unit_name="part").add if sys.stdout.isatty() else lambda done: None


def offer(option, path) -> str:
    """Return the end of a message that offers the `path` of what lies beside a script, or "" if nothing does."""
    return f", or give {option} {shlex.quote(str(path.absolute()))}" if path.exists() else ""


def readable_time(seconds) -> str:
    """Return a duration as text, such as "45 s" or "5 min 40 s"."""
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def add_repetition_options(group) -> None:
    """Add to an argparse `group` the options that say which random numbers and which images a training takes."""
    group.add_argument("--seed", type=whole_number(0, 2**31 - 1), default=0,
                       help="start of all random numbers: the same seed repeats a run and a drawing bit for bit")
    group.add_argument("--train-size", type=whole_number(2, 10**9), metavar="N",
                       help="use only the first N training images, to try things out")
    group.add_argument("--slurm", action="store_true",
                       help="take the machines to train on from Slurm; without it, TF_CONFIG may describe them")


def add_file_options(parser, output_dir, plots_dir) -> None:
    """Add to an argparse `parser` the options of a training script for its files, with these default folders."""
    files = parser.add_argument_group("files")
    files.add_argument("--data", type=path_name, metavar="FILE",
                       help="train on another npz file in Keras's MNIST layout instead of the bundled MNIST")
    files.add_argument("--output-dir", type=path_name, default=output_dir, metavar="DIR",
                       help="folder for grids, GIF, history, trained networks and checkpoint")
    files.add_argument("--plots-dir", type=path_name, default=plots_dir, metavar="DIR",
                       help="folder for the curves and the diagrams of the networks")


def run_training(script, train, settings, argv=None) -> int:
    """Call `train(settings)` by `run`; after an interruption, say the command that continues it.

    `argv` are the arguments of `script`, None for those of the process.
    """
    checkpoint, started = Path(settings.output_dir) / "checkpoint.npz", time.time()
    command, arguments = (script, argv) if argv is not None else (sys.argv[0], sys.argv[1:])

    def advice():
        if os.path.isfile(checkpoint) and (settings.resume or checkpoint.stat().st_mtime >= started):
            words = [word for word in arguments if word != "--resume"]
            return f"Continue after the last finished epoch with: {command_of([command, *words, '--resume'])}"
        return "No epoch is finished yet, start again."
    return run(script, lambda: run_distributed(train, settings), advice,
               "Lower the learning rates and train without --resume; the checkpoint of a finished epoch is unchanged.")
