"""A run continues only with the settings and the data that it began with; each setting of both scripts is tried."""

import shutil
from pathlib import Path

import cgan_mnist
import numpy as np
import pytest
import stackgan_mnist
from helpers import FINISHED_RUN, SCRIPT, SMALL_STACKGAN, STACKGAN, assert_refused, bundled_arrays, contents

ARGUMENTS = {SCRIPT: FINISHED_RUN, STACKGAN: SMALL_STACKGAN}
SETTINGS = {SCRIPT: cgan_mnist.parse_arguments(FINISHED_RUN), STACKGAN: stackgan_mnist.parse_arguments(SMALL_STACKGAN)}
# Every other option changes what is trained, also one that is yet to be added.
HARMLESS = {"epochs", "evaluate_every", "output_dir", "plots_dir", "data",  # where a run ends and where files lie
            "resume", "slurm", "generate", "samples", "generator", "walk", "sentences", "arrays"}  # what is done
CASES = [(script, name) for script, settings in SETTINGS.items() for name in vars(settings) if name not in HARMLESS]


@pytest.fixture
def runs(finished_run, stackgan_run):
    """The folder of a finished run of each script."""
    return {SCRIPT: finished_run, STACKGAN: stackgan_run}


def another(value):
    """Return another value, as text, that an option with this `value` accepts."""
    if isinstance(value, str):
        return {"pixelshuffle": "nearest", "default": "coursework"}[value]
    return str(value + 1 if isinstance(value, int) else value / 2 or 0.5)


@pytest.mark.parametrize(("script", "name"), CASES, ids=[f"{Path(script).stem}-{name}" for script, name in CASES])
def test_resume_with_another_setting_is_refused_and_names_it(run_command, runs, script, name):
    value, option = getattr(SETTINGS[script], name), f"--{name.replace('_', '-')}"
    before = contents(runs[script])
    result = run_command([*ARGUMENTS[script], "--resume", option, another(value)], runs[script], script)
    assert_refused(result, runs[script], before, f"{name}: {value} there, {another(value)} here", script=script)


@pytest.mark.parametrize("script", ARGUMENTS, ids=lambda script: Path(script).stem)
def test_resume_with_other_data_is_refused(run_command, runs, tmp_path, script):
    folder = shutil.copytree(runs[script], tmp_path / "run")
    arrays = bundled_arrays(256)
    arrays["x_train"][0, 14, 14] ^= 1
    np.savez(folder / "own.npz", **arrays)
    before = contents(folder)
    result = run_command([*ARGUMENTS[script], "--resume", "--data", "own.npz"], folder, script)
    assert_refused(result, folder, before, "data_crc32", script=script)


def test_a_run_continues_where_its_folders_and_its_data_have_been_moved(run_command, copy_of_finished_run):
    folder = copy_of_finished_run
    before = contents(folder / "plots")
    (folder / "outputs").rename(folder / "moved")
    np.savez(folder / "own.npz", **bundled_arrays(256))
    status, stdout, stderr = run_command(
        [*FINISHED_RUN, "--resume", "--output-dir", "moved", "--plots-dir", "drawn", "--data", "own.npz"], folder)
    assert (status, stderr) == (0, "") and "Continuing after epoch 3 of 3." in stdout
    assert contents(folder / "drawn") == before
