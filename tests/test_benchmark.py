"""The benchmark: what it counts, and that the real command prints every ratio."""

import contextlib
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import cgan_mnist
import numpy as np
import pytest
import stackgan_mnist
import tensorflow as tf
from benchmarks import own_step, roofline, scaling
from benchmarks.classic_keras import ClassicLoop
from benchmarks.turns import Contender, time_in_turns
from helpers import (DEADLINE, ROOT, assert_refused, bundled_arrays, clean_environment, finish, start_script,
                     wait_until)
from mnist_gan.networks import multiply_adds


def test_multiply_adds_are_those_of_the_dense_layers():
    generator, discriminator = cgan_mnist.build_generator(100), cgan_mnist.build_discriminator()
    forward_g = 100 * 256 + 256 * 512 + 512 * 1024 + 1024 * 784
    forward_d = 784 * 512 + 512 * 512 + 512 * 512 + 512
    assert multiply_adds(generator) == forward_g
    assert multiply_adds(discriminator) == forward_d
    # Two full updates of the discriminator and the way through it; one pass and one full update of the generator.
    expected = 7 * (2 * 3 * forward_d + 2 * forward_d + forward_g + 3 * forward_g) + 3 * 3 * forward_d
    assert roofline.step_multiply_adds(generator, discriminator, 7, wrong_labels=3) == expected


def test_the_bytes_of_a_step_are_those_of_adam_and_the_ema():
    generator, discriminator = cgan_mnist.build_generator(7), cgan_mnist.build_discriminator()
    weights_g = (10 * 7 + (7 * 256 + 256) + 2 * 256 + (256 * 512 + 512) + 2 * 512 + (512 * 1024 + 1024) + 2 * 1024
                 + (1024 * 784 + 784))
    weights_d = 10 * 784 + (784 * 512 + 512) + 2 * (512 * 512 + 512) + (512 + 1)
    assert roofline.step_bytes(generator, discriminator) == 4 * (14 * weights_d + 9 * weights_g)


def test_the_benchmark_prints_every_contender_relative_to_the_floor_and_to_ours(tmp_path):
    result = subprocess.run([sys.executable, ROOT / "benchmark.py", "--rounds", "1", "--batch-size", "32",
                             "--output-dir", tmp_path / "figures"],
                            cwd=tmp_path, capture_output=True, text=True, env=clean_environment())
    assert (result.returncode, result.stderr) == (0, "")
    rows = {name: (float(floor), float(ours)) for name, floor, ours in re.findall(
        r"^(floor|roofline|its matrix products|cgan_mnist\.py|without XLA|uncompiled|classic Keras loop) +[\d.]+"
        r" +([\d.]+) +([\d.]+)$", result.stdout, re.MULTILINE)}
    assert rows["floor"][0] == 1 and rows["cgan_mnist.py"][1] == 1
    assert rows["cgan_mnist.py"][0] > 1  # nothing is faster than its own matrix products
    assert rows["roofline"][1] > rows["its matrix products"][1]
    assert 0 < rows["its matrix products"][1] < 1.2  # but one short round is not exact
    assert rows["uncompiled"][1] > 1 and rows["classic Keras loop"][1] > 1
    record = json.loads((tmp_path / "figures" / "benchmark.json").read_text())
    assert record["command"] == "python benchmark.py --rounds 1 --batch-size 32"  # wherever the file goes
    for name, (floor, ours) in rows.items():
        assert record["results"][name]["times_ours"] == pytest.approx(ours, abs=0.006)
        assert record["results"][name]["times_floor"] == pytest.approx(floor, abs=0.006)


@pytest.mark.parametrize("arguments, word", [
    (["--bandwidth", "10"], "--workers"), (["--latency", "0"], "--workers"), (["--plots-dir", "plots"], "--workers"),
    (["--epochs", "20"], "--whole-command"), (["--workers", "2", "--bandwidth", "1e-320"], "--bandwidth"),
    (["--workers", "2", "--stackgan"], "--stackgan")])
def test_options_that_cannot_be_used_are_refused(run_command, tmp_path, arguments, word):
    script = str(ROOT / "benchmark.py")
    assert_refused(run_command(arguments, tmp_path, script=script), tmp_path, {}, word, script=script)


@pytest.fixture
def eager():
    """Let the steps that a test builds run without compilation."""
    yield
    tf.config.run_functions_eagerly(False)


@pytest.mark.parametrize("name, columns", [("cgan", cgan_mnist.HISTORY_COLUMNS),
                                           ("stage", stackgan_mnist.HISTORY_COLUMNS)])
def test_our_contenders_take_the_scripts_own_steps(eager, name, columns):
    settings = (own_step.cgan_settings(4, jit_compile=False, eager=True) if name == "cgan" else
                own_step.stage_settings(1, 4, jit_compile=False, eager=True))
    losses = getattr(own_step, name)(SimpleNamespace(**settings))(0)
    assert losses.shape == (len(columns),) and np.isfinite(losses).all()


def test_the_classic_loop_trains_both_networks_and_freezes_the_discriminator():
    arrays = bundled_arrays(64)
    loop = ClassicLoop(SimpleNamespace(**own_step.cgan_settings(4)), arrays["x_train"], arrays["y_train"])
    parts = loop.generator.trainable_variables, loop.discriminator.trainable_variables
    for step in (loop.train_step, lambda: loop.train_generator(np.ones((4, 100), np.float32), np.arange(4))):
        before = [[variable.numpy() for variable in variables] for variables in parts]
        step()
        moved = [not all(np.array_equal(old, variable) for old, variable in zip(values, variables, strict=True))
                 for values, variables in zip(before, parts, strict=True)]
        assert moved == [True, step == loop.train_step]


def test_a_contender_that_dies_is_told_and_the_others_are_measured():
    seconds, failures = time_in_turns({"memory": ("roofline.memory", {}), "none": ("roofline.nothing", {})}, 1, 0.01)
    assert list(seconds) == ["memory"] and seconds["memory"] > 0
    assert failures == {"none": "AttributeError: module 'benchmarks.roofline' has no attribute 'nothing'"}
    with Contender("roofline.memory", {}) as contender:
        assert contender.answer() == []
        assert len(contender.run(0)) == 2
        contender.process.kill()
        with pytest.raises(ChildProcessError, match="SIGKILL"):
            contender.run(0)


def test_a_contender_ends_with_its_stdin():
    contender = Contender("roofline.memory", {})
    with contender.errors:
        assert contender.process.communicate(timeout=DEADLINE) == ("", None)
    assert contender.process.returncode == 0


def is_running(pid):
    """Return whether there is a process `pid` that has not ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    return False


@pytest.mark.skipif(not Path("/proc/thread-self/children").exists(), reason="only Linux tells what processes there are")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_no_contender_outlives_the_benchmark(tmp_path, number):
    with start_script([], tmp_path, script=str(ROOT / "benchmark.py")) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        wait_until(lambda: len(children.read_text().split()) > 3, process)
        contenders = children.read_text().split()
        process.send_signal(number)
        _, _, stderr = finish(process)
    assert stderr == f"benchmark.py: {'interrupted' if number == signal.SIGINT else 'terminated'}.\n"
    end = time.monotonic() + DEADLINE
    while any(map(is_running, contenders)):  # one that was just being started ends by itself
        assert time.monotonic() < end
        time.sleep(0.05)


def test_reductions_take_the_time_of_their_messages_and_bytes():
    # Two workers: 2 messages for each of 3 reductions, and each half of the bytes twice.
    assert scaling.reduction_seconds(2, 3, 1e6, 1e-3, 1e9) == pytest.approx(2 * 3 * 1e-3 + 1e6 / 1e9)
    assert scaling.reduction_seconds(1, 3, 1e6, 1e-3, 1e9) == 0
    # Very many: as many messages as there are workers, but every byte only twice.
    assert scaling.reduction_seconds(10**6, 1, 1e6, 0, 1e9) == pytest.approx(2 * 1e6 / 1e9, rel=1e-5)


def test_at_the_worthwhile_number_of_rows_half_of_the_time_is_lost():
    compute = scaling.fit_compute(64, whole=0.034, half=0.018)
    assert compute == pytest.approx((0.002, 0.0005))
    rows = scaling.worthwhile_rows(compute, 0.1)
    assert scaling.speed_up(compute, 0.1, rows, 64) == pytest.approx(32, rel=0.01)
    assert scaling.worthwhile_rows(compute, 0.001) == 1
    assert scaling.speed_up(compute, 0.0, 64, 64) == 64
