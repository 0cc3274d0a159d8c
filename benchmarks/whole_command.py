"""The default command of `cgan_mnist.py` from its start to its end."""

import subprocess
import sys
import tempfile
import time

from benchmarks.turns import ROOT, seconds_to_first_batch


def time_command(*arguments):
    """Run `cgan_mnist.py` with `arguments` in a temporary folder and return the seconds that it took.

    Raises OSError if it fails, after what it wrote to stderr itself.
    """
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        status = subprocess.run([sys.executable, ROOT / "cgan_mnist.py", *arguments], cwd=folder,
                                stdout=subprocess.DEVNULL).returncode
    if status:
        raise OSError(f"a measured command ended with status {status}")
    return time.perf_counter() - started


def measure_command(own_step, batch_size, epochs):
    """Return (seconds to the first batch, seconds of the whole command, peak GiB) of the default command.

    `own_step` is its step as a contender of `turns.py`, (function, settings). To be called before other contenders
    have run: the system reports the peak of all processes that this one has started.
    """
    import resource  # not on Windows

    first_batch = min(seconds_to_first_batch(*own_step) for _ in range(3))
    whole = time_command("--batch-size", str(batch_size), "--epochs", str(epochs))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # bytes on macOS, KiB elsewhere
    return first_batch, whole, peak / (2**30 if sys.platform == "darwin" else 2**20)
