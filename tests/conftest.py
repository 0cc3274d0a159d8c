"""Fixtures that several test files share."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import pytest

pytest.register_assert_rewrite("helpers")  # so that its asserts tell what they compared, as those of the tests do
from helpers import (DEADLINE, EPOCHS, ROOT, SCRIPT, SMALL_RUN, SMALL_STACKGAN, STACKGAN,  # noqa: E402
                     clean_environment)

sys.path.insert(0, str(ROOT))

# Most of a small run is compilation, for which all processes of a test run share one cache.
xla_cache = None if "TF_XLA_FLAGS" in os.environ else tempfile.TemporaryDirectory()
if xla_cache:
    os.environ["TF_XLA_FLAGS"] = f"--tf_xla_persistent_cache_directory={xla_cache.name}"


# The files whose tests take longest, which start first so that all workers of a parallel test run end about together.
LONGEST = ("test_distribution.py", "test_stackgan_run.py", "test_evaluate.py", "test_full_disk.py", "test_two_runs.py",
           "test_stackgan_updates.py", "test_kill_and_resume.py", "test_evaluate_stackgan.py", "test_interrupt.py")


def pytest_configure(config):
    config.option.loadscopereorder = False  # pytest-xdist would start with the files that have most tests
    workers, name = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1)), os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    if hasattr(os, "sched_setaffinity"):  # not on macOS
        # Threads of several processes that share cores wait for each other, so each worker keeps to its own.
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[int(name[2:])::workers] or cores)


def pytest_collection_modifyitems(items):
    ranks = {name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path.name, len(ranks)))


class ForkedProcess:
    """A process that the forking server has started; its output is in the files `stdout` and `stderr`."""

    def __init__(self, ask, folder, request):
        """Let `ask`, which sends a request and returns the answer, start what `request` says."""
        self.ask, self.stdout, self.stderr = ask, folder / "stdout", folder / "stderr"
        for path in (self.stdout, self.stderr):
            path.touch()  # so that they can be read before the process has come to open them
        script, arguments, run_folder, size, variables = request
        self.pid = ask([str(script), arguments, str(run_folder), str(self.stdout), str(self.stderr), size, variables])

    def kill_when(self, condition):
        """Kill the process as soon as `condition()` holds, and wait for its end."""
        end = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < end, self.stderr.read_text()
            time.sleep(0.01)
        os.kill(self.pid, signal.SIGKILL)
        self.ask(self.pid)

    def wait(self):
        """Wait for the end and return (exit status, stdout, stderr)."""
        return self.ask(self.pid), self.stdout.read_text(), self.stderr.read_text()


@pytest.fixture(scope="session")
def fork_script(tmp_path_factory):
    """A function like `start_script` that saves the seconds each import of TensorFlow takes.

    Every call is a process of its own with the script as its main program. No file may become larger than `size` bytes.
    """
    with subprocess.Popen([sys.executable, ROOT / "tests" / "forking_server.py"], text=True,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=clean_environment()) as server:
        def ask(request):
            print(json.dumps(request), file=server.stdin, flush=True)
            return int(server.stdout.readline())

        def start(arguments, folder, script=SCRIPT, size=None, **variables):
            return ForkedProcess(ask, tmp_path_factory.mktemp("captured"), (script, arguments, folder, size, variables))
        yield start
        server.stdin.close()


@pytest.fixture(scope="session")
def forked_script(fork_script):
    """A function like `run_script`: `fork_script`, to the end."""
    return lambda *arguments, **options: fork_script(*arguments, **options).wait()


def train_once(tmp_path_factory, worker_id, forked_script, name, arguments, script):
    """Return the folder `name` of an uninterrupted run of `script`, with its output in the files stdout and stderr.

    The workers of a parallel test run share it: the first that needs it trains, the others wait for it.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / name
    with open(folder.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            training = tmp_path_factory.mktemp("training")
            status, stdout, stderr = forked_script(arguments, training, script)
            assert status == 0, stderr
            (training / "stdout").write_text(stdout)
            (training / "stderr").write_text(stderr)
            training.rename(folder)
    return folder


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory, worker_id, forked_script):
    """The folder of an uninterrupted run of the CGAN, as `train_once` leaves it; no test may change it."""
    return train_once(tmp_path_factory, worker_id, forked_script, "finished_run",
                      [*SMALL_RUN, "--epochs", str(EPOCHS)], SCRIPT)


@pytest.fixture(scope="session")
def stackgan_run(tmp_path_factory, worker_id, forked_script):
    """The folder of an uninterrupted run of the StackGAN, as `train_once` leaves it; no test may change it."""
    return train_once(tmp_path_factory, worker_id, forked_script, "stackgan_run", SMALL_STACKGAN, STACKGAN)


@pytest.fixture
def copy_of_finished_run(finished_run, tmp_path):
    """A copy of the finished run's folder that a test may change."""
    return shutil.copytree(finished_run, tmp_path / "run")
