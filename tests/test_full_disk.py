"""A disk that takes no more: a limit on the size of files makes writing fail half-way, as a full disk does."""

import pytest
from helpers import FINISHED_RUN, SMALL_RUN, assert_one_line, assert_same_files, contents, run_script


def assert_stopped(result, folder, name):
    """Check exit status 1, one line that names the file that could not be written, and no part of a file."""
    status, _, stderr = result
    assert_one_line(stderr)
    assert status == 1
    assert name in stderr
    assert not list(folder.rglob(".partial-*"))


def test_a_failing_checkpoint_leaves_the_previous_one_from_which_the_run_continues(tmp_path, finished_run):
    command = [*FINISHED_RUN, "--resume"]
    assert run_script([*SMALL_RUN, "--epochs", "1"], tmp_path)[0] == 0
    before = (tmp_path / "outputs" / "checkpoint.npz").read_bytes()
    assert_stopped(run_script(command, tmp_path, file_size=10_000_000), tmp_path, "checkpoint.npz")
    assert (tmp_path / "outputs" / "checkpoint.npz").read_bytes() == before
    # With space again, a run extended from one epoch is the run that had all epochs from the start.
    status, stdout, stderr = run_script(command, tmp_path)
    assert (status, stderr) == (0, "")
    assert "Continuing after epoch 1 of 3." in stdout
    assert_same_files(tmp_path, finished_run)


# A finished run that is resumed only writes its results again, the generator first.
@pytest.mark.parametrize("size", [1000, 5_000_000])
def test_a_failing_generator_file_stops_the_run_and_changes_no_file(copy_of_finished_run, size):
    before = contents(copy_of_finished_run)
    result = run_script([*FINISHED_RUN, "--resume"], copy_of_finished_run, file_size=size)
    assert_stopped(result, copy_of_finished_run, "generator.keras")
    assert contents(copy_of_finished_run) == before


def test_a_failing_picture_stops_generate_and_changes_no_file(copy_of_finished_run):
    before = contents(copy_of_finished_run)
    result = run_script(["--generate", "31415", "--samples", "4"], copy_of_finished_run, file_size=1000)
    assert_stopped(result, copy_of_finished_run, "generated.png")
    assert contents(copy_of_finished_run) == before
