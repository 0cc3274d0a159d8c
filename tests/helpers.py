"""What several test files share: scripts in processes of their own, folders to compare, small data files."""

import contextlib
import functools
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = str(ROOT / "cgan_mnist.py")
STACKGAN = str(ROOT / "stackgan_mnist.py")
# Its random masks are resumed, too.
SMALL_RUN = ("--train-size", "256", "--batch-size", "64", "--dropout", "0.2")
BATCHES, EPOCHS = 4, 3  # 4 batches an epoch of a SMALL_RUN; 3 epochs in the run that the others are compared with
FINISHED_RUN = (*SMALL_RUN, "--epochs", str(EPOCHS))
SMALL_STACKGAN = ("--train-size", "256", "--encoder-epochs", "1", "--stage1-epochs", "2", "--stage2-epochs", "1")
DEADLINE = 300  # seconds after which something that should have happened never will

# What two runs with the same seed must have in common, byte for byte. The checkpoint and settings.json hold times.
REPEATED_FILES = ("outputs/epoch_001.png", "outputs/epoch_002.png", "outputs/epoch_003.png", "outputs/cgan.gif",
                  "outputs/history.csv", "outputs/generator.keras", "plots/loss_curves.png",
                  "plots/discriminator_output.png", "plots/generator.png", "plots/discriminator.png")


def clean_environment():
    """Return the environment a user has, without what importing the script has set, and with the cache of XLA."""
    return {name: value for name, value in os.environ.items()
            if name in ("TF_CONFIG", "TF_XLA_FLAGS") or not name.startswith("TF_")}


@contextlib.contextmanager
def start_script(arguments, folder, script=SCRIPT, stdout=subprocess.PIPE, file_size=None, **environment):
    """Start a script with `arguments` in `folder`; yield its process, which is killed when the context ends.

    Its output goes to pipes, its `stdout` elsewhere if that is given. No file may become larger than `file_size` bytes.
    `environment` are variables beyond those that a user has.
    """
    def prepare():
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a test run in the background may ignore it, and so would this
        if file_size is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
    with subprocess.Popen([sys.executable, script, *arguments], cwd=folder, text=True, preexec_fn=prepare,
                          stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE,
                          env={**clean_environment(), **environment}) as process:
        try:
            yield process
        finally:
            process.kill()


def finish(process):
    """Wait for the end of `process` and return (exit status, stdout, stderr)."""
    stdout, stderr = process.communicate(timeout=DEADLINE)
    return process.returncode, stdout, stderr


def run_script(*arguments, **options):
    """Run a script, as `start_script` does, to its end and return (exit status, stdout, stderr)."""
    with start_script(*arguments, **options) as process:
        return finish(process)


def wait_for_line(process, start):
    """Read what `process` prints up to the line that begins with `start`; fail if it ends before."""
    while not process.stdout.readline().startswith(start):
        assert process.poll() is None, process.stderr.read()


def wait_until(condition, process):
    """Wait until `condition()` holds; fail if `process` ends first or nothing happens for too long."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.001)


def contents(folder):
    """Return the bytes of every file below `folder` by relative path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def assert_same_files(folder, expected):
    """Check that a run in `folder` left byte for byte what the run in `expected` left."""
    differing = [name for name in REPEATED_FILES
                 if (folder / name).read_bytes() != (expected / name).read_bytes()]
    assert not differing


def assert_one_line(stderr, script=SCRIPT):
    """Check that `stderr` is one line from the script and not a traceback."""
    assert stderr.startswith(f"{Path(script).name}: "), stderr
    assert stderr.endswith("\n") and stderr.count("\n") == 1, stderr


def assert_refused(result, folder, before, *words, script=SCRIPT):
    """Check exit status 2, one line on stderr that has all `words`, and a `folder` that is as it was `before`."""
    status, _, stderr = result
    assert_one_line(stderr, script)
    assert status == 2, stderr
    for word in words:
        assert word in stderr
    assert contents(folder) == before


@functools.cache
def bundled_mnist():
    with np.load(ROOT / "data" / "mnist.npz") as archive:
        return dict(archive)


def bundled_arrays(count):
    """Return copies of the first `count` training and test images of the bundled MNIST, and of their labels."""
    return {name: array[:count].copy() for name, array in bundled_mnist().items()}
