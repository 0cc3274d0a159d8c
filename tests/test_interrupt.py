"""Ctrl-C during a run, and the command that it advises."""

import shlex
import signal
import sys
from pathlib import Path

import pytest
from helpers import (FINISHED_RUN, assert_one_line, assert_same_files, finish, run_script, start_script, wait_for_line,
                     wait_until)


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """The folder, exit status and stderr of a run that got Ctrl-C five times after the line of its first epoch."""
    folder = tmp_path_factory.mktemp("interrupted")
    with start_script(FINISHED_RUN, folder) as process:
        wait_for_line(process, "Epoch 1/3")
        for _ in range(5):
            process.send_signal(signal.SIGINT)
        status, _, stderr = finish(process)
    return folder, status, stderr


def test_ctrl_c_ends_a_run_with_one_line_that_says_how_to_continue(interrupted):
    folder, status, stderr = interrupted
    assert status == 130
    assert_one_line(stderr)
    assert "--resume" in stderr
    assert not (folder / "outputs" / "generator.keras").exists()
    assert not list(folder.rglob(".partial-*"))


def test_the_advised_command_continues_the_run(interrupted, finished_run):
    folder, _, stderr = interrupted
    python, script, *arguments = shlex.split(stderr.rpartition(": ")[2])
    assert python == sys.executable and script.endswith("cgan_mnist.py")
    status, stdout, stderr = run_script(arguments, folder)
    assert (status, stderr) == (0, "")
    assert "Continuing after epoch" in stdout and "Epoch 1/3" not in stdout
    assert_same_files(folder, finished_run)


def test_a_terminated_run_says_how_to_continue(tmp_path):
    with start_script(FINISHED_RUN, tmp_path) as process:
        wait_for_line(process, "Settings:")
        process.send_signal(signal.SIGTERM)
        status, _, stderr = finish(process)
    assert status == 128 + signal.SIGTERM
    assert stderr == "cgan_mnist.py: terminated. No epoch is finished yet, start again.\n"


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux tells what a process has loaded")
def test_ctrl_c_while_tensorflow_is_imported_prints_nothing(tmp_path):
    with start_script(["--epochs", "1"], tmp_path) as process:
        wait_until(lambda: "pywrap_tensorflow" in Path(f"/proc/{process.pid}/maps").read_text(), process)
        process.send_signal(signal.SIGINT)
        assert finish(process) == (-signal.SIGINT, "", "")
    assert not list(tmp_path.iterdir())
