"""What the scripts share that is not about their networks; none of these modules imports a script.

    errors          what is wrong with what the user gave
    mnist           the data
    sentences       what is said about a painted digit, in English and Persian
    painting        colours, and what thickness and slant of a digit are
    files           whole files, arrays from files, folders
    checkpoints     all that continues a run
    networks        networks as files, and what they cost
    averaging       the running average of a network's weights
    pieces          separate pieces of a digit's ink
    distances       how far sets of images are from each other
    classifiers     what judges gray and painted digits
    obedience       whether pictures show what sentences say, and vary in what they leave unsaid
    distribution    one training on several GPUs or machines
    scaling         how much faster more machines would be, predicted
    settings        the settings of a run, on the screen and as a file
    history         what happened in every batch, as a table and as curves
    pictures        grids of images, figures, the GIF
    diagrams        the layers of a network, drawn
    command_line    types of options, exit statuses, advice

Whichever is imported first, TensorFlow starts here, without its messages.
"""

import contextlib
import os
import signal
import sys
import threading

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# TensorFlow leaves it off on AMD processors, where it makes the StackGAN's convolutions a quarter faster.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ["KERAS_BACKEND"] = "tensorflow"  # whatever the user's Keras is set to: the training steps are TensorFlow's


@contextlib.contextmanager
def silenced_stderr():
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
def ended_by_ctrl_c():
    """Let Ctrl-C end the process as it ends other programs, where Python would answer late or print a traceback."""
    handler = signal.getsignal(signal.SIGINT)
    if handler is not signal.default_int_handler or threading.current_thread() is not threading.main_thread():
        yield  # whoever imports the package has other plans for it, or is not asked
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


with ended_by_ctrl_c(), silenced_stderr():
    import tensorflow  # noqa: F401
