"""Options that cannot be used: exit status 2, one line that says why, nothing written."""

import shlex
import subprocess
import sys

import pytest
from helpers import ROOT, assert_refused, clean_environment, contents, run_script

BAD_VALUES = [
    ("--epochs", "0"), ("--epochs", "-1"), ("--epochs", "1.5"), ("--epochs", "many"), ("--epochs", ""),
    ("--batch-size", "1"), ("--batch-size", "-64"), ("--batch-size", "60001"),
    ("--latent-dim", "0"), ("--latent-dim", "wide"),
    *((option, value) for option in ("--generator-learning-rate", "--discriminator-learning-rate")
      for value in ("0", "-0.1", "inf", "nan", "fast")),
    ("--dark-start", "10"), ("--first-generator-learning-rate", "0"),
    ("--dropout", "1"), ("--dropout", "-0.1"), ("--dropout", "nan"), ("--dropout", "some"),
    ("--label-smoothing", "0.5"), ("--label-smoothing", "-0.1"), ("--label-smoothing", "nan"),
    ("--discriminator-units", "0"), ("--discriminator-units", "wide"),
    ("--discriminator-embedding-mean", "-0.1"), ("--gray-stretch", "-1"), ("--gray-stretch", "nan"),
    ("--wrong-label-weight", "1"), ("--wrong-label-weight", "-0.1"), ("--wrong-label-weight", "nan"),
    ("--mode-seeking-weight", "100"), ("--mode-seeking-weight", "-0.1"), ("--mode-seeking-weight", "nan"),
    ("--embedding-range", "0"), ("--embedding-range", "inf"), ("--embedding-range", "wide"),
    ("--embedding-range", "1e39"),  # too large for single precision
    ("--ema-decay", "1"), ("--ema-decay", "-0.1"), ("--ema-decay", "nan"),
    ("--recipe", "classic"), ("--evaluate-every", "-1"),
    ("--seed", "-1"), ("--seed", "2147483648"), ("--seed", "0.5"),
    ("--train-size", "1"), ("--train-size", "60001"), ("--train-size", "all"),
    ("--samples", "0"), ("--samples", "few"),
    ("--generate", ""), ("--generate", "three"), ("--generate", "3 1"), ("--generate", "-3"), ("--generate", "٣"),
    ("--generator", ""), ("--data", ""), ("--output-dir", ""), ("--plots-dir", ""),  # of a variable that is not set
]


@pytest.mark.parametrize("option, value", BAD_VALUES)
def test_a_value_out_of_range_is_refused(run_command, tmp_path, option, value):
    result = run_command([f"{option}={value}"], tmp_path)
    assert_refused(result, tmp_path, {}, option, value)


TINY = ("--train-size", "64", "--batch-size", "64", "--epochs", "1")  # should it train where it ought to refuse


@pytest.mark.parametrize("arguments, word", [
    (["--epoch", "3"], "--epoch"),  # no guessing at what an abbreviation means
    (["--momentum", "0.9"], "--momentum"), (["train"], "train"), (["two\nlines"], "two lines"),
    (["--epochs"], "--epochs"),
    (["--resume", "--generate", "3"], "--generate"),
    ([*TINY, "--samples", "4"], "--generate"), ([*TINY, "--samples", "1"], "--generate"),
    ([*TINY, "--generator", "my.keras"], "--generate"),
    (["--train-size", "100", "--batch-size", "128"], "--batch-size 128"),
    ([*TINY, "--averaging-decay", "0.9"], "--averaging-decay is now --ema-decay"),
    ([*TINY, "--smoothing=1"], "--smoothing is now --box-filter"),
    (["--smoothing"], "--smoothing is now --box-filter")])
def test_a_command_line_that_makes_no_sense_is_refused(run_command, tmp_path, arguments, word):
    assert_refused(run_command(arguments, tmp_path), tmp_path, {}, word)


@pytest.mark.parametrize("arguments, word", [
    (["--epochs", "0"], "--epochs"), (["--data", "none.npz"], "none.npz"), (["--generate", "3"], "generator")])
def test_each_kind_of_refusal_is_one_line_for_a_process_started_from_nothing(tmp_path, arguments, word):
    # The other tests of bad input call `main` in this process, here TensorFlow has its chance to print something, too.
    assert_refused(run_script(arguments, tmp_path), tmp_path, {}, word)


NAME_TOO_LONG = "x" * 300  # for any file system


@pytest.mark.parametrize("arguments", [
    ["--data", NAME_TOO_LONG], ["--data", "two\nlines.npz"], ["--data", "windows.npz\r"],
    ["--output-dir", NAME_TOO_LONG], ["--resume", "--output-dir", NAME_TOO_LONG],
    ["--generate", "3", "--generator", NAME_TOO_LONG]])
def test_a_path_that_cannot_be_is_refused(run_command, tmp_path, arguments):
    assert_refused(run_command(arguments, tmp_path), tmp_path, {}, arguments[-1].split()[0])


@pytest.mark.parametrize("option", ["--output-dir", "--plots-dir"])
@pytest.mark.parametrize("target", ["file", "file/below", "/dev/null/x", "/proc/x"])
def test_a_folder_that_cannot_be_written_to_is_refused(run_command, tmp_path, option, target):
    (tmp_path / "file").write_text("of the user")
    before = contents(tmp_path)
    assert_refused(run_command([option, target], tmp_path), tmp_path, before, target)


def test_work_is_done_also_where_the_output_was_closed(tmp_path):
    # All scripts begin with a Parser, and ask within `run` whether somebody watches.
    code = """
import sys
from mnist_gan.running.command_line import Parser, run
Parser("script.py", "")
sys.exit(run("script.py", lambda: print(sys.stdout.isatty())))
"""
    result = subprocess.run(shlex.join([sys.executable, "-c", code]) + " >&-", shell=True, cwd=tmp_path,
                            capture_output=True, env={**clean_environment(), "PYTHONPATH": str(ROOT)})
    assert (result.returncode, result.stderr) == (0, b"")


def test_help_tells_every_option_and_its_default(run_command, tmp_path):
    status, stdout, stderr = run_command(["--help"], tmp_path)
    assert (status, stderr) == (0, "")
    for option in {option for option, _ in BAD_VALUES} | {"--resume"}:
        assert option in stdout
    assert "default" in stdout
    assert "--averaging-decay" not in stdout
    assert contents(tmp_path) == {}
