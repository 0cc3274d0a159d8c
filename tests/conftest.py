"""Fixtures that several test files share."""

import contextlib
import fcntl
import importlib
import io
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

pytest.register_assert_rewrite("helpers")  # so that its asserts tell what they compared, as those of the tests do
from helpers import FINISHED_RUN, ROOT, SCRIPT, SMALL_STACKGAN, STACKGAN, run_script

sys.path.insert(0, str(ROOT))

# Most of a small run is compilation, for which all processes of a test run share one cache.
xla_cache = None if "TF_XLA_FLAGS" in os.environ else tempfile.TemporaryDirectory()
if xla_cache:
    os.environ["TF_XLA_FLAGS"] = f"--tf_xla_persistent_cache_directory={xla_cache.name}"


# The files whose tests take longest, which start first so that all workers of a parallel test run end about together.
LONGEST = ("test_distribution.py", "test_stackgan_run.py", "test_benchmark.py", "test_evaluate.py", "test_full_disk.py",
           "test_two_runs.py", "test_stackgan_updates.py", "test_kill_and_resume.py", "test_evaluate_stackgan.py",
           "test_interrupt.py")


def pytest_configure(config):
    config.option.loadscopereorder = False  # pytest-xdist would start with the files that have most tests
    workers, name = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1)), os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    if hasattr(os, "sched_setaffinity"):  # not on macOS
        # Threads of several processes that share cores wait for each other, so each worker keeps to its own.
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[int(name[2:])::workers] or cores)


def pytest_collectstart():
    import mnist_gan  # noqa: F401  before a test imports Keras, so that TensorFlow starts as it does for the scripts


def pytest_collection_modifyitems(items):
    ranks = {name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path.name, len(ranks)))


@pytest.fixture(scope="session")
def run_command():
    """A function that runs `script` with `arguments` in `folder` and returns (exit status, stdout, stderr).

    It calls the script's `main` in this process, which saves the seconds that an import of TensorFlow takes. To train,
    a process of its own is faster: XLA's cache knows a function by a number that counts all functions of a process.
    """
    def run(arguments, folder, script=SCRIPT):
        name = ".".join(Path(script).relative_to(ROOT).with_suffix("").parts)
        main = importlib.import_module(name).main
        import keras  # after the script, whose package starts TensorFlow without its messages

        # Keras numbers the layers of a process. The files of a run hold these names, so each run counts from the start.
        keras.backend.clear_session()
        stdout, stderr = io.StringIO(), io.StringIO()
        with contextlib.chdir(folder), contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
            try:
                status = main([*arguments])
            except SystemExit as end:
                status = end.code
        return status, stdout.getvalue(), stderr.getvalue()
    return run


def train_once(tmp_path_factory, worker_id, name, arguments, script):
    """Return the folder `name` of an uninterrupted run of `script`, with its output in the files stdout and stderr.

    The workers of a parallel test run share it: the first that needs it trains, the others wait for it.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / name
    with open(folder.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            training = tmp_path_factory.mktemp("training")
            status, stdout, stderr = run_script(arguments, training, script)
            assert status == 0, stderr
            (training / "stdout").write_text(stdout)
            (training / "stderr").write_text(stderr)
            training.rename(folder)
    return folder


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory, worker_id):
    """The folder of an uninterrupted run of the CGAN, as `train_once` leaves it; no test may change it."""
    return train_once(tmp_path_factory, worker_id, "finished_run", FINISHED_RUN, SCRIPT)


@pytest.fixture(scope="session")
def stackgan_run(tmp_path_factory, worker_id):
    """The folder of an uninterrupted run of the StackGAN, as `train_once` leaves it; no test may change it."""
    return train_once(tmp_path_factory, worker_id, "stackgan_run", SMALL_STACKGAN, STACKGAN)


@pytest.fixture
def copy_of_finished_run(finished_run, tmp_path):
    """A copy of the finished run's folder that a test may change."""
    return shutil.copytree(finished_run, tmp_path / "run")
