"""One training on two workers: the same as on one, the same again, and what happens when something is wrong."""

import json
import os
import socket
import time

import cgan_mnist
import numpy as np
import pytest
from helpers import (DEADLINE, REPEATED_FILES, SMALL_STACKGAN, STACKGAN, assert_one_line, assert_refused, contents,
                     run_script, start_script)
from mnist_gan.distribution import check_cluster
from mnist_gan.errors import InputError
from mnist_gan.mnist import load_training_images

ARGUMENTS = ["--train-size", "320", "--batch-size", "32", "--epochs", "3"]  # 30 batches


def free_ports(count):
    """Return `count` ports of this machine that nobody uses."""
    with_ports = [socket.socket() for _ in range(count)]
    for each in with_ports:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in with_ports]
    for each in with_ports:
        each.close()
    return ports


def cluster(ports, index):
    """Return TF_CONFIG of worker `index` of a cluster on this machine."""
    return json.dumps({"cluster": {"worker": [f"127.0.0.1:{port}" for port in ports]},
                       "task": {"type": "worker", "index": index}})


def start_workers(folder, monkeypatch, arguments, *others, **options):
    """Start a worker with `arguments` and one with each of `others`, all in `folder`."""
    ports, workers = free_ports(1 + len(others)), []
    for index, given in enumerate((arguments, *others)):
        monkeypatch.setenv("TF_CONFIG", cluster(ports, index))
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        workers.append(start_script(given, folder, **options))
    monkeypatch.delenv("TF_CONFIG")
    return workers


def finish(workers):
    """Wait for all workers and return (exit status, stdout, stderr) of each."""
    try:
        outputs = [worker.communicate(timeout=DEADLINE) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    return [(worker.returncode, *output) for worker, output in zip(workers, outputs, strict=True)]


@pytest.fixture(scope="module")
def spread_run(tmp_path_factory):
    """The folders of both workers of a finished run: the first writes all files, the second none."""
    chief, other = tmp_path_factory.mktemp("chief"), tmp_path_factory.mktemp("other")
    with pytest.MonkeyPatch.context() as monkeypatch:
        ports, workers = free_ports(2), []
        for index, folder in enumerate((chief, other)):
            monkeypatch.setenv("TF_CONFIG", cluster(ports, index))
            workers.append(start_script(ARGUMENTS, folder))
        for status, _, stderr in finish(workers):
            assert (status, stderr) == (0, "")
    return chief, other


def test_only_the_first_worker_writes_files(spread_run):
    chief, other = spread_run
    assert set(REPEATED_FILES) | {"outputs/checkpoint.npz", "outputs/settings.json"} == set(contents(chief))
    assert not list(other.iterdir())


def test_two_workers_train_what_one_process_does(spread_run):
    settings = cgan_mnist.parse_arguments(ARGUMENTS)
    images, labels = load_training_images(None, settings.train_size, settings.batch_size)
    training = cgan_mnist.build_training(settings, images, labels)
    history = np.concatenate([cgan_mnist.train_epoch(training, settings, epoch) for epoch in range(2)])
    spread_history = np.loadtxt(spread_run[0] / "outputs" / "history.csv", delimiter=",", skiprows=1)[:, 2:]
    # What rounding changes grows with every batch.
    np.testing.assert_allclose(spread_history[:5], history[:5], atol=2e-3)
    np.testing.assert_allclose(spread_history[:20], history, atol=0.1)
    with np.load(spread_run[0] / "outputs" / "checkpoint.npz") as checkpoint:
        assert checkpoint["epoch"] == 3
    cgan_mnist.train_epoch(training, settings, 2)
    cgan_mnist.recalibrate(training.averaged_generator, settings.seed)
    spread_generator = cgan_mnist.load_generator(spread_run[0] / "outputs" / "generator.keras")
    for ours, theirs in zip(training.averaged_generator.get_weights(), spread_generator.get_weights(), strict=True):
        np.testing.assert_allclose(theirs, ours, atol=5e-3)


def test_when_a_worker_is_killed_the_other_ends_in_a_line_and_resuming_gives_the_same_bytes(
        spread_run, tmp_path, monkeypatch):
    chief, victim = start_workers(tmp_path, monkeypatch, ARGUMENTS, ARGUMENTS)
    deadline = time.monotonic() + DEADLINE
    while not (tmp_path / "outputs" / "checkpoint.npz").exists() and time.monotonic() < deadline:
        os.sched_yield()
    victim.kill()
    killed = time.monotonic()
    (status, _, stderr), _ = finish([chief, victim])
    assert status == 1 and time.monotonic() - killed < 60
    assert_one_line(stderr)
    assert "another worker has ended" in stderr and "--resume" in stderr
    for status, stdout, stderr in finish(start_workers(tmp_path, monkeypatch, *[[*ARGUMENTS, "--resume"]] * 2)):
        assert (status, stderr) == (0, "") and "Continuing after epoch" in stdout
    for name in REPEATED_FILES:
        assert (tmp_path / name).read_bytes() == (spread_run[0] / name).read_bytes(), name


def test_workers_with_different_settings_are_refused_before_training(tmp_path, monkeypatch):
    for result in finish(start_workers(tmp_path, monkeypatch, ARGUMENTS, [*ARGUMENTS, "--seed", "1"])):
        assert_refused(result, tmp_path, {}, "different settings")


@pytest.mark.parametrize("text", ["{", "[]", '{"cluster": {}}', cluster([12345, 12346], 2), cluster([12345, 12345], 0),
                                  cluster(["x", 12346], 0),
                                  cluster([12345, 12346], 0).replace('"worker":', '"ps":')])
def test_a_cluster_that_is_none_is_refused(text):
    with pytest.raises(InputError, match="TF_CONFIG does not describe a cluster"):
        check_cluster(text)


def test_a_malformed_cluster_is_refused_in_a_line(tmp_path, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", "{")
    assert_refused(run_script(ARGUMENTS, tmp_path), tmp_path, {}, "TF_CONFIG", '"cluster"')


def test_a_port_that_is_in_use_is_refused(tmp_path, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        monkeypatch.setenv("TF_CONFIG", cluster([taken.getsockname()[1], *free_ports(1)], 0))
        assert_refused(run_script(ARGUMENTS, tmp_path), tmp_path, {}, "port", str(taken.getsockname()[1]))


def test_a_batch_that_cannot_be_shared_equally_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", cluster(free_ports(2), 0))  # the other worker need not even be there
    assert_refused(run_script([*ARGUMENTS, "--batch-size", "30"], tmp_path), tmp_path, {}, "--batch-size 30", "4")


def test_slurm_is_refused_where_there_is_none(tmp_path):
    assert_refused(run_script([*ARGUMENTS, "--slurm"], tmp_path), tmp_path, {}, "--slurm", "srun")


def test_two_workers_train_a_stackgan_as_one_process_does(stackgan_run, tmp_path, monkeypatch):
    results = finish(start_workers(tmp_path, monkeypatch, SMALL_STACKGAN, SMALL_STACKGAN, script=STACKGAN))
    assert [status for status, _, _ in results] == [0, 0]
    spread_history, history = (np.loadtxt(folder / "outputs" / "stackgan" / "history.csv", delimiter=",", skiprows=1)
                               for folder in (tmp_path, stackgan_run))
    # Rounding moves Adam's first steps, which have the size of the learning rate whatever the gradient is.
    np.testing.assert_allclose(spread_history, history, rtol=0.25, atol=0.02)
    np.testing.assert_allclose(spread_history[::8, 2], history[::8, 2], rtol=0.01)  # on real pictures, before any step
