"""Fixtures that several test files share."""

import fcntl
import json
import shutil
import subprocess
import sys

import pytest

pytest.register_assert_rewrite("helpers")  # so that its asserts tell what they compared, as those of the tests do
from helpers import EPOCHS, ROOT, SCRIPT, SMALL_RUN, clean_environment, run_script  # noqa: E402

sys.path.insert(0, str(ROOT))


@pytest.fixture(scope="session")
def forked_script(tmp_path_factory):
    """A function like `run_script`, also for another `script`, that saves the seconds each import of TensorFlow takes.

    Every call is a process of its own with the script as its main program.
    """
    captured = tmp_path_factory.mktemp("captured")
    with subprocess.Popen([sys.executable, ROOT / "tests" / "forking_server.py", ROOT], text=True,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=clean_environment()) as server:
        def run(arguments, folder, script=SCRIPT):
            for name in ("stdout", "stderr"):
                (captured / name).write_bytes(b"")
            print(json.dumps([str(script), arguments, str(folder), str(captured / "stdout"), str(captured / "stderr")]),
                  file=server.stdin, flush=True)
            status = int(server.stdout.readline())
            return status, (captured / "stdout").read_text(), (captured / "stderr").read_text()
        yield run
        server.stdin.close()


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory, worker_id):
    """The folder of an uninterrupted run, with its output in the files stdout and stderr; no test may change it.

    The workers of a parallel test run share it: the first that needs it trains, the others wait for it.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "finished_run"
    with open(folder.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            training = tmp_path_factory.mktemp("training")
            status, stdout, stderr = run_script([*SMALL_RUN, "--epochs", str(EPOCHS)], training)
            assert status == 0, stderr
            (training / "stdout").write_text(stdout)
            (training / "stderr").write_text(stderr)
            training.rename(folder)
    return folder


@pytest.fixture
def copy_of_finished_run(finished_run, tmp_path):
    """A copy of the finished run's folder that a test may change."""
    return shutil.copytree(finished_run, tmp_path / "run")
