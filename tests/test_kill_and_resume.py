"""A run that is killed twice and resumed twice ends exactly like one that was never interrupted."""

import os
import shutil
import signal

import pytest
from helpers import FINISHED_RUN, assert_same_files, run_script, start_script, wait_until

def partial_checkpoints(folder):
    """Return the paths of what there is of a checkpoint that is being written, or was."""
    return list((folder / "outputs").glob(".partial-*.npz"))


def kill_within_a_checkpoint(folder, process):
    """Kill `process` at a moment at which it is writing a checkpoint, which is short."""
    while True:
        wait_until(lambda: partial_checkpoints(folder), process)
        process.send_signal(signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)  # returns once the process really stands still
        if partial_checkpoints(folder):
            process.kill()
            return
        process.send_signal(signal.SIGCONT)


@pytest.fixture(scope="module")
def killed_between_checkpoints(tmp_path_factory):
    """The folder of a run that was killed as soon as the first epoch was in the checkpoint."""
    folder = tmp_path_factory.mktemp("killed")
    with start_script(FINISHED_RUN, folder) as process:
        wait_until((folder / "outputs" / "checkpoint.npz").exists, process)
        process.kill()
    return folder


@pytest.fixture(scope="module")
def killed_within_a_checkpoint(killed_between_checkpoints, tmp_path_factory):
    """A copy of that folder, resumed and killed again while the next checkpoint was being written."""
    folder = shutil.copytree(killed_between_checkpoints, tmp_path_factory.mktemp("killed_again") / "run")
    with start_script([*FINISHED_RUN, "--resume"], folder) as process:
        kill_within_a_checkpoint(folder, process)
    return folder


def test_a_run_that_was_killed_has_not_finished(killed_between_checkpoints, killed_within_a_checkpoint):
    for folder in (killed_between_checkpoints, killed_within_a_checkpoint):
        assert not (folder / "outputs" / "generator.keras").exists()
    assert partial_checkpoints(killed_within_a_checkpoint)


def test_killed_twice_and_resumed_a_run_ends_byte_for_byte_as_if_uninterrupted(
        killed_within_a_checkpoint, finished_run):
    folder = killed_within_a_checkpoint
    status, stdout, stderr = run_script([*FINISHED_RUN, "--resume"], folder)
    assert (status, stderr) == (0, "")
    assert "Continuing after epoch" in stdout and "Epoch 1/3" not in stdout
    assert_same_files(folder, finished_run)
    assert not list(folder.rglob(".partial-*"))
