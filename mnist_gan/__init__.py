"""What the scripts share. Each line imports only from those above it, and from this file.

    errors      InputError: something that the user gave cannot be used
    files       atomic writes, arrays from untrusted files, folders and their locks
    networks    networks as .keras files, and their multiply-adds
    data/       MNIST, sentences about painted digits, paint
    drawing/    grids and the GIF, curves, diagrams of networks
    running/    several devices, EMA, checkpoints, settings, the command line, and the run that joins them
    metrics/    distances, connected components, classifiers, attributes: how good pictures are

Above the package: the scripts, `benchmarks/` under `benchmark.py` and `coursework/` under `experiments.py`.
Importing the package starts TensorFlow without its messages.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# TensorFlow leaves it off on AMD processors, where it makes the StackGAN's convolutions a quarter faster.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ["KERAS_BACKEND"] = "tensorflow"  # whatever the user's Keras is set to: the training steps are TensorFlow's


@contextlib.contextmanager
def silenced_stderr() -> Iterator[None]:
    """Discard what native code writes to file descriptor 2, which no log level of TensorFlow silences."""
    sys.stderr.flush()
    saved = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
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


with ended_by_ctrl_c(), silenced_stderr():
    import tensorflow  # noqa: F401
