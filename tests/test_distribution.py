"""One training on two workers: the same as on one, the same again, and what happens when something is wrong."""

import json
import os
import signal
import socket
import time
from types import SimpleNamespace

import cgan_mnist
import numpy as np
import pytest
from helpers import (REPEATED_FILES, SMALL_STACKGAN, STACKGAN, assert_one_line, assert_refused, contents,
                     start_script)
from mnist_gan.running.distribution import check_cluster, choose_strategy
from mnist_gan.errors import InputError
from mnist_gan.data.mnist import load_training_images

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


@pytest.fixture(scope="session")
def start_workers(fork_script):
    """A function that starts a worker in each of `folders`, and all of them see nothing but their CPU."""
    def start(folders, *given, **options):
        ports = free_ports(len(folders))
        return [fork_script(arguments, folder, TF_CONFIG=cluster(ports, index), CUDA_VISIBLE_DEVICES="", **options)
                for index, (folder, arguments) in enumerate(zip(folders, given, strict=True))]
    return start


@pytest.fixture(scope="module")
def spread_run(start_workers, tmp_path_factory):
    """The folders of both workers of a finished run: the first writes all files, the second none."""
    folders = tmp_path_factory.mktemp("chief"), tmp_path_factory.mktemp("other")
    for worker in start_workers(folders, ARGUMENTS, ARGUMENTS):
        status, _, stderr = worker.wait()
        assert (status, stderr) == (0, "")
    return folders


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
    cgan_mnist.recalibrate(training.ema_generator, settings.seed)
    spread_generator = cgan_mnist.load_generator(spread_run[0] / "outputs" / "generator.keras")
    for ours, theirs in zip(training.ema_generator.get_weights(), spread_generator.get_weights(), strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=0.02, atol=5e-3)


def test_when_a_worker_is_killed_the_other_ends_in_a_line_and_resuming_gives_the_same_bytes(
        start_workers, spread_run, tmp_path):
    chief, victim = start_workers([tmp_path] * 2, ARGUMENTS, ARGUMENTS)
    victim.kill_when((tmp_path / "outputs" / "checkpoint.npz").exists)
    killed = time.monotonic()
    status, _, stderr = chief.wait()
    assert status == 1 and time.monotonic() - killed < 60
    assert_one_line(stderr)
    assert "another worker has ended" in stderr and "--resume" in stderr
    for worker in start_workers([tmp_path] * 2, *[[*ARGUMENTS, "--resume"]] * 2):
        status, stdout, stderr = worker.wait()
        assert (status, stderr) == (0, "") and "Continuing after epoch" in stdout
    for name in REPEATED_FILES:
        assert (tmp_path / name).read_bytes() == (spread_run[0] / name).read_bytes(), name


def test_a_worker_that_waits_for_the_others_can_be_interrupted(tmp_path, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", cluster(free_ports(2), 0))
    with start_script(ARGUMENTS, tmp_path) as process:
        try:
            assert process.stdout.readline() == "Waiting for all 2 workers.\n"
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == -signal.SIGINT
        finally:
            process.kill()


def test_workers_with_different_settings_are_refused_before_training(start_workers, tmp_path):
    for worker in start_workers([tmp_path] * 2, ARGUMENTS, [*ARGUMENTS, "--seed", "1"]):
        assert_refused(worker.wait(), tmp_path, {}, "different settings")


@pytest.mark.parametrize("text", ["{", "[]", '{"cluster": {}}', cluster([12345, 12346], 2), cluster([12345, 12345], 0),
                                  cluster(["x", 12346], 0), '{"cluster": ' * 10**5,
                                  '{"cluster": {"worker": {"0": "a:1"}}, "task": {"type": "worker", "index": 0}}',
                                  cluster([12345, 12346], 0)[:-1] + ', "rpc_layer": "none"}',
                                  cluster(["１２３４５", 12346], 0), cluster([12345, 12346], 0).replace("127", "12 7"),
                                  cluster([12345, 12346], 0).replace('"worker":', '"ps":')])
def test_a_cluster_that_is_none_is_refused(text):
    with pytest.raises(InputError, match="TF_CONFIG does not describe a cluster"):
        check_cluster(text)


def test_a_malformed_cluster_is_refused_in_a_line(forked_script, tmp_path):
    assert_refused(forked_script(ARGUMENTS, tmp_path, TF_CONFIG="{"), tmp_path, {}, "TF_CONFIG", '"cluster"')


def test_a_port_that_is_in_use_is_refused(forked_script, tmp_path):
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = forked_script(ARGUMENTS, tmp_path, TF_CONFIG=cluster([port, *free_ports(1)], 0))
        assert_refused(result, tmp_path, {}, "port", str(port))


def test_a_batch_that_cannot_be_shared_equally_is_refused(forked_script, tmp_path):
    result = forked_script([*ARGUMENTS, "--batch-size", "30"], tmp_path,
                           TF_CONFIG=cluster(free_ports(2), 0))  # the other worker need not even be there
    assert_refused(result, tmp_path, {}, "--batch-size 30", "4")


def test_a_cluster_of_one_is_no_cluster(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", cluster(free_ports(1), 0))
    assert choose_strategy(SimpleNamespace(batch_size=32, slurm=False)) is None


def test_slurm_counts_the_tasks_of_its_step_also_without_gpus(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", "")  # which is set then, and unset after the test
    for name, value in (("PROCID", "0"), ("STEP_NODELIST", "localhost"), ("STEP_TASKS_PER_NODE", "1"),
                        ("STEP_NUM_TASKS", "1")):
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert choose_strategy(SimpleNamespace(batch_size=32, slurm=True)) is None
    assert check_cluster(os.environ["TF_CONFIG"]) == 1
    for name, value in (("STEP_TASKS_PER_NODE", "3"), ("STEP_NUM_TASKS", "3")):
        monkeypatch.setenv(f"SLURM_{name}", value)
    with pytest.raises(InputError, match="3 devices"):
        choose_strategy(SimpleNamespace(batch_size=32, slurm=True))


def test_slurm_is_refused_where_there_is_none(forked_script, tmp_path):
    assert_refused(forked_script([*ARGUMENTS, "--slurm"], tmp_path), tmp_path, {}, "--slurm", "srun")


def test_two_workers_train_a_stackgan_as_one_process_does(start_workers, stackgan_run, tmp_path):
    workers = start_workers([tmp_path] * 2, SMALL_STACKGAN, SMALL_STACKGAN, script=STACKGAN)
    assert [worker.wait()[0] for worker in workers] == [0, 0]
    spread_history, history = (np.loadtxt(folder / "outputs" / "stackgan" / "history.csv", delimiter=",", skiprows=1)
                               for folder in (tmp_path, stackgan_run))
    # Rounding moves Adam's first steps, which have the size of the learning rate whatever the gradient is.
    np.testing.assert_allclose(spread_history, history, rtol=0.25, atol=0.02)
    np.testing.assert_allclose(spread_history[::8, 2], history[::8, 2], rtol=0.01)  # on real pictures, before any step
