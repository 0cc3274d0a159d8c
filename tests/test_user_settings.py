"""What a user has set elsewhere changes nothing: other programs' settings, the encoding, closed streams."""

import json
import shlex
import subprocess
import sys

import pytest
from helpers import FINISHED_RUN, ROOT, SCRIPT, assert_same_files, clean_environment, run_script
from mnist_gan.running.command_line import run

SHELL = {"shell": True, "capture_output": True, "text": True}


def test_settings_of_keras_and_matplotlib_change_no_byte_of_a_run(finished_run, tmp_path):
    (tmp_path / "keras.json").write_text(json.dumps({
        "floatx": "float64", "epsilon": 0.1, "backend": "jax", "image_data_format": "channels_first"}))
    (tmp_path / "matplotlibrc").write_text("""
image.origin: lower
axes.grid: True
figure.dpi: 40
savefig.bbox: tight
font.size: 30
text.usetex: True
""")
    status, _, stderr = run_script(
        FINISHED_RUN, tmp_path, KERAS_HOME=str(tmp_path), KERAS_BACKEND="jax", KERAS_MAX_EPOCHS="1",
        MATPLOTLIBRC=str(tmp_path), MPLBACKEND="module://not_there.backend_inline")
    assert (status, stderr) == (0, "")
    assert_same_files(tmp_path, finished_run)


@pytest.mark.parametrize("script", ["cgan_mnist.py", "stackgan_mnist.py"])
def test_help_works_in_a_narrow_encoding_and_with_closed_standard_error(tmp_path, script):
    result = subprocess.run(shlex.join([sys.executable, str(ROOT / script), "--help"]) + " 2>&-", cwd=tmp_path,
                            env={**clean_environment(), "PYTHONIOENCODING": "ascii"}, **SHELL)
    assert result.returncode == 0 and "--resume" in result.stdout


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path):
    script = shlex.join([sys.executable, str(ROOT / "experiments.py"), "--list"])
    result = subprocess.run(f"({script}; echo $? >&2) | true", cwd=tmp_path, env=clean_environment(), **SHELL)
    assert result.stderr == "141\n"


def test_a_crash_while_tensorflow_is_imported_is_told(tmp_path):
    (tmp_path / "tensorflow.py").write_text("import os; os.abort()")
    status, _, stderr = run_script(["--help"], tmp_path, PYTHONPATH=str(tmp_path))
    assert status < 0 and "Fatal Python error: Aborted" in stderr and "tensorflow.py" in stderr


def test_too_little_memory_is_told_in_a_line(capsys):
    def work():
        raise MemoryError
    assert run(SCRIPT, work) == 1
    assert capsys.readouterr().err == (
        "cgan_mnist.py: stopped: there is not enough memory; give fewer images at a time.\n")
