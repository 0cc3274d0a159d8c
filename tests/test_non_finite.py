"""Training that diverges."""

import pytest
from helpers import SMALL_RUN, assert_one_line, run_script


@pytest.mark.parametrize("network", ["discriminator", "generator"])
def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(copy_of_finished_run, network):
    checkpoint = copy_of_finished_run / "outputs" / "checkpoint.npz"
    before = checkpoint.read_bytes()
    status, _, stderr = run_script(
        [*SMALL_RUN, "--epochs", "2", f"--{network}-learning-rate", "1e30"], copy_of_finished_run)
    assert status == 1
    assert_one_line(stderr)
    assert "finite" in stderr and "learning rate" in stderr
    assert checkpoint.read_bytes() == before
    assert not list(copy_of_finished_run.rglob(".partial-*"))
