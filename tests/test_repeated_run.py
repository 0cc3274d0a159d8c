"""The same seed again, this time on a terminal."""

import os
import pty
import re

import pytest
from helpers import FINISHED_RUN, assert_same_files, contents, start_script


@pytest.fixture(scope="module")
def terminal_run(tmp_path_factory):
    """The folder and the screen of a run like the finished one whose stdout is a terminal."""
    folder = tmp_path_factory.mktemp("terminal")
    terminal, stdout = pty.openpty()
    with start_script(FINISHED_RUN, folder, stdout=stdout) as process:
        os.close(stdout)
        screen = bytearray()
        try:
            while chunk := os.read(terminal, 65536):
                screen += chunk
        except OSError:  # how Linux says that the other end of a terminal is closed
            pass
        assert process.wait() == 0
        assert process.stderr.read() == ""
    os.close(terminal)
    return folder, screen.decode()


def test_a_terminal_shows_a_progress_bar_with_both_losses(terminal_run):
    screen = terminal_run[1]
    assert re.findall(r"Epoch (\d)/3", screen) == ["1", "2", "3"]
    # The last batch of each epoch is always drawn, the others only where they take long enough.
    assert len(re.findall(r"4/4\D[^\n]*d_loss: \d\.\d+ - g_loss: \d\.\d+", screen)) == 3
    assert "\b" in screen or "\r" in screen.replace("\r\n", "\n")  # redrawn in place


def test_the_same_seed_repeats_a_run_byte_for_byte(terminal_run, finished_run):
    assert_same_files(terminal_run[0], finished_run)


def test_a_finished_run_that_is_resumed_writes_the_same_files_again(run_command, copy_of_finished_run, finished_run):
    before = contents(finished_run)
    for path in ("outputs/generator.keras", "outputs/cgan.gif", "outputs/settings.json", "plots/generator.png"):
        (copy_of_finished_run / path).unlink()
    status, stdout, stderr = run_command([*FINISHED_RUN, "--resume"], copy_of_finished_run)
    assert (status, stderr) == (0, "") and "Epoch" not in stdout
    assert contents(copy_of_finished_run) == before
