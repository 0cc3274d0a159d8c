"""Ctrl-C during a run with another seed, and the command that it advises."""

import shlex
import signal

import numpy as np
import pytest
from helpers import SMALL_RUN, assert_one_line, run_script, start_script


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """The folder, exit status and stderr of a run that got Ctrl-C after the line of its first epoch."""
    folder = tmp_path_factory.mktemp("interrupted")
    with start_script([*SMALL_RUN, "--epochs", "3", "--seed", "1"], folder) as process:
        while not process.stdout.readline().startswith("Epoch 1/3"):
            assert process.poll() is None, process.stderr.read()
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate()
    return folder, process.returncode, stderr


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
    assert python == "python" and script.endswith("cgan_mnist.py")
    status, stdout, stderr = run_script(arguments, folder)
    assert (status, stderr) == (0, "")
    assert "Continuing after epoch 1 of 3." in stdout
    history = np.loadtxt(folder / "outputs" / "history.csv", delimiter=",", skiprows=1)
    assert history[:, 0].tolist() == [1] * 4 + [2] * 4 + [3] * 4

    # Another seed is another run, from the first batch to the last picture.
    other = np.loadtxt(finished_run / "outputs" / "history.csv", delimiter=",", skiprows=1)
    assert (history[:, 2:] != other[:, 2:]).any(axis=1).all()
    for name in ("outputs/epoch_001.png", "outputs/cgan.gif", "outputs/generator.keras"):
        assert (folder / name).read_bytes() != (finished_run / name).read_bytes()
