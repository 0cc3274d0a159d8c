"""What several test files share: the command line in a subprocess, folders to compare, small data files."""

import functools
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = str(ROOT / "cgan_mnist.py")
STACKGAN = str(ROOT / "stackgan_mnist.py")
# Its random masks are resumed, too, and its last two epochs settle.
SMALL_RUN = ("--train-size", "256", "--batch-size", "64", "--dropout", "0.2", "--settle-after", "1")
BATCHES, EPOCHS = 4, 3  # 4 batches an epoch of a SMALL_RUN; 3 epochs in the run that the others are compared with
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


def start_script(arguments, folder, script=SCRIPT, **options):
    """Start a script with `arguments` in `folder`, output to pipes unless `options` say otherwise."""
    def heed_interrupts():  # which a test run in the background may ignore, and what it starts would do so, too
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "preexec_fn": heed_interrupts,
               **options}
    return subprocess.Popen([sys.executable, script, *arguments], cwd=folder, stdin=subprocess.DEVNULL,
                            env=clean_environment(), **options)


def run_script(arguments, folder, **options):
    """Run a script, as `start_script` does, to its end and return (exit status, stdout, stderr)."""
    with start_script(arguments, folder, **options) as process:
        try:
            stdout, stderr = process.communicate(timeout=DEADLINE)
        finally:
            process.kill()
    return process.returncode, stdout, stderr


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


def bundled_arrays(rows):
    """Return copies of the first `rows` training and test images of the bundled MNIST, and of their labels."""
    return {name: array[:rows].copy() for name, array in bundled_mnist().items()}
