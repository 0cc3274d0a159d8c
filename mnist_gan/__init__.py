"""What the scripts share. Each line imports only from those above it, and from this file.

    errors      InputError: something that the user gave cannot be used
    files       atomic writes, arrays from untrusted files, folders and their locks
    networks    networks as .keras files, and their multiply-adds
    data/       MNIST, sentences about painted digits, paint
    drawing/    grids and the GIF, curves, diagrams of networks
    running/    several devices, EMA, checkpoints, settings, the command line, and the run that joins them
    metrics/    distances, connected components, classifiers, attributes: how good pictures are

Above the package: the scripts, `benchmarks/` under `benchmark.py` and `coursework/` under `experiments.py`.
Importing the package starts TensorFlow without its messages, and Keras and matplotlib without the user's settings for
them: what is trained and drawn depends on the options of a command alone.
"""

import contextlib
import faulthandler
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# TensorFlow leaves it off on AMD processors, where it makes the StackGAN's convolutions a quarter faster.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ["KERAS_BACKEND"] = "tensorflow"  # the training steps are TensorFlow's
os.environ["MPLBACKEND"] = "agg"  # no window is opened, and that of a notebook may not be installed
for limit in ("KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH"):
    os.environ.pop(limit, None)
if sys.stderr is None:  # it was closed
    sys.stderr = open(os.devnull, "w")


@contextlib.contextmanager
def silenced_stderr() -> Iterator[None]:
    """Discard what native code writes to file descriptor 2, which no log level of TensorFlow silences.

    Where native code crashes, as on a processor without AVX, Python says so and in which import.
    """
    sys.stderr.flush()
    saved = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    if not (watched := faulthandler.is_enabled()):
        faulthandler.enable(saved, all_threads=False)
    try:
        yield
    finally:
        if not watched:
            faulthandler.disable()
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)


@contextlib.contextmanager
def ended_by_ctrl_c() -> Iterator[None]:
    """Let Ctrl-C end the process as it ends other programs, where Python would answer late or print a traceback."""
    handler = signal.getsignal(signal.SIGINT)
    if handler is not signal.default_int_handler or threading.current_thread() is not threading.main_thread():
        yield  # the importing program handles Ctrl-C itself, or this is not its main thread
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


@contextlib.contextmanager
def empty_keras_home() -> Iterator[None]:
    """Let Keras find no `keras.json`: its image format or precision would train another network, or none."""
    home = os.environ.get("KERAS_HOME")
    try:
        with tempfile.TemporaryDirectory() as os.environ["KERAS_HOME"]:
            yield
    finally:
        del os.environ["KERAS_HOME"]
        if home is not None:
            os.environ["KERAS_HOME"] = home


with ended_by_ctrl_c(), silenced_stderr(), empty_keras_home():
    import keras  # noqa: F401
    import matplotlib
    import tensorflow  # noqa: F401

    matplotlib.rcdefaults()
