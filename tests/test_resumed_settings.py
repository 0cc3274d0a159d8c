"""A run continues only with the settings and the data that it began with, those of both scripts one by one."""

import json
import shutil
from pathlib import Path

import cgan_mnist
import numpy as np
import pytest
import stackgan_mnist
from helpers import FINISHED_RUN, SCRIPT, SMALL_STACKGAN, STACKGAN, assert_refused, bundled_arrays, contents
from mnist_gan.running.checkpoints import MAY_DIFFER
from mnist_gan.running.settings import UNRECORDED_OPTIONS

ARGUMENTS = {SCRIPT: FINISHED_RUN, STACKGAN: SMALL_STACKGAN}
SETTINGS = {SCRIPT: cgan_mnist.parse_arguments(FINISHED_RUN), STACKGAN: stackgan_mnist.parse_arguments(SMALL_STACKGAN)}
# Whatever option is added is covered, too.
CASES = [(script, name) for script, settings in SETTINGS.items()
         for name in vars(settings) if name not in (*MAY_DIFFER, *UNRECORDED_OPTIONS)]


@pytest.fixture
def runs(finished_run, stackgan_run):
    """The folder and the checkpoint of a finished run of each script."""
    return {SCRIPT: (finished_run, finished_run / "outputs" / "checkpoint.npz"),
            STACKGAN: (stackgan_run, stackgan_run / "outputs" / "stackgan" / "checkpoint.npz")}


def another(value):
    """Return another value, as text, that an option with this `value` accepts."""
    if isinstance(value, str):
        return {"pixelshuffle": "nearest"}[value]
    return str(value + 1 if isinstance(value, int) else value / 2 or 0.5)


def test_a_run_may_be_longer_or_lie_elsewhere_and_nothing_else(runs):
    assert set(MAY_DIFFER) == {"epochs", "output_dir", "plots_dir", "data"}
    for script, (_, checkpoint) in runs.items():
        with np.load(checkpoint) as archive:
            recorded = json.loads(str(archive["settings"]))
        assert recorded.keys() == {name for each, name in CASES if each == script} | {*MAY_DIFFER, "data_crc32"}


@pytest.mark.parametrize(("script", "name"), CASES, ids=[f"{Path(script).stem}-{name}" for script, name in CASES])
def test_resume_with_another_setting_is_refused_and_names_it(run_command, runs, script, name):
    folder, _ = runs[script]
    value = getattr(SETTINGS[script], name)
    before = contents(folder)
    option = f"--{name.replace('_', '-')}"
    result = run_command([*ARGUMENTS[script], "--resume", option, another(value)], folder, script)
    assert_refused(result, folder, before, f"{name}: {value} there, {another(value)} here", script=script)


@pytest.mark.parametrize("script", ARGUMENTS)
def test_resume_with_other_data_is_refused(run_command, runs, tmp_path, script):
    folder = shutil.copytree(runs[script][0], tmp_path / "run")
    arrays = bundled_arrays(256)
    arrays["x_train"][0, 14, 14] ^= 1
    np.savez(folder / "own.npz", **arrays)
    before = contents(folder)
    result = run_command([*ARGUMENTS[script], "--resume", "--data", "own.npz"], folder, script)
    assert_refused(result, folder, before, "data_crc32", script=script)
