"""The benchmark: what it counts, and that the real command prints every ratio."""

import json
import re
import subprocess
import sys

import benchmark
import cgan_mnist
import numpy as np
import pytest
import stackgan_mnist
from helpers import ROOT, assert_refused, bundled_arrays, clean_environment
from mnist_gan import scaling
from mnist_gan.networks import multiply_adds


def test_multiply_adds_are_those_of_the_dense_layers():
    generator, discriminator = cgan_mnist.build_generator(100), cgan_mnist.build_discriminator()
    forward_g = 100 * 256 + 256 * 512 + 512 * 1024 + 1024 * 784
    forward_d = 784 * 512 + 512 * 512 + 512 * 512 + 512
    assert multiply_adds(generator) == forward_g
    assert multiply_adds(discriminator) == forward_d
    # Two full updates of the discriminator and the way through it; one pass and one full update of the generator.
    expected = 7 * (2 * 3 * forward_d + 2 * forward_d + forward_g + 3 * forward_g) + 3 * 3 * forward_d
    assert benchmark.step_multiply_adds(generator, discriminator, 7, wrong_labels=3) == expected


def test_the_bytes_of_a_step_are_those_of_adam_and_the_average():
    generator, discriminator = cgan_mnist.build_generator(7), cgan_mnist.build_discriminator()
    weights_g = (10 * 7 + (7 * 256 + 256) + 2 * 256 + (256 * 512 + 512) + 2 * 512 + (512 * 1024 + 1024) + 2 * 1024
                 + (1024 * 784 + 784))
    weights_d = 10 * 784 + (784 * 512 + 512) + 2 * (512 * 512 + 512) + (512 + 1)
    assert benchmark.step_bytes(generator, discriminator) == 4 * (14 * weights_d + 9 * weights_g)


def test_the_benchmark_prints_every_contender_relative_to_the_floor_and_to_ours(tmp_path):
    result = subprocess.run([sys.executable, ROOT / "benchmark.py", "--rounds", "1", "--batch-size", "32"],
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
    record = json.loads((tmp_path / "outputs" / "benchmark.json").read_text())
    assert record["command"] == "python benchmark.py --rounds 1 --batch-size 32"
    for name, (floor, ours) in rows.items():
        assert record["results"][name]["times_ours"] == pytest.approx(ours, abs=0.006)
        assert record["results"][name]["times_floor"] == pytest.approx(floor, abs=0.006)


@pytest.mark.parametrize("arguments, word", [
    (["--bandwidth", "10"], "--workers"), (["--latency", "0"], "--workers"), (["--plots-dir", "plots"], "--workers"),
    (["--epochs", "20"], "--whole-command"), (["--workers", "2", "--bandwidth", "1e-320"], "--bandwidth"),
    (["--workers", "2", "--stackgan"], "--stackgan")])
def test_options_that_cannot_be_used_are_refused(forked_script, tmp_path, arguments, word):
    script = str(ROOT / "benchmark.py")
    assert_refused(forked_script(arguments, tmp_path, script=script), tmp_path, {}, word, script=script)


def test_the_contender_of_a_stage_is_the_scripts_own_step():
    arrays = bundled_arrays(64)
    step = benchmark.uncompiled(benchmark.stage_contender(1, 4, arrays["x_train"], arrays["y_train"], False)[0])
    losses = step(0)
    assert losses.shape == (len(stackgan_mnist.HISTORY_COLUMNS),) and np.isfinite(losses).all()


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
