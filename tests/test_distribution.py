"""One training on two workers: the same as on one, the same again, and what happens when something is wrong."""

import contextlib
import json
import os
import signal
import socket
import time
from types import SimpleNamespace

import cgan_mnist
import numpy as np
import pytest
from helpers import (REPEATED_FILES, ROOT, SMALL_STACKGAN, STACKGAN, assert_one_line, assert_refused, contents, finish,
                     start_script, wait_for_line, wait_until)
from mnist_gan.data.mnist import load_training_images
from mnist_gan.errors import InputError
from mnist_gan.running.distribution import check_cluster, choose_strategy
from mnist_gan.running.run import shuffled_batches

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


def cluster(ports, index, chief=False):
    """Return TF_CONFIG of worker `index` of a cluster on this machine, whose first worker may be called its chief."""
    addresses = [f"127.0.0.1:{port}" for port in ports]
    if not chief:
        return json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}})
    return json.dumps({"cluster": {"chief": addresses[:1], "worker": addresses[1:]},
                       "task": {"type": "worker", "index": index - 1} if index else {"type": "chief", "index": 0}})


@contextlib.contextmanager
def started_workers(folders, *given, chief=False, **options):
    """Start a worker in each of `folders` with the arguments `given` for it; yield the processes.

    All of them see nothing but their CPU, and a proxy that does not answer.
    """
    ports = free_ports(len(folders))
    with contextlib.ExitStack() as running:
        yield [running.enter_context(start_script(
            arguments, folder, TF_CONFIG=cluster(ports, index, chief), CUDA_VISIBLE_DEVICES="",
            http_proxy="http://127.0.0.1:9", **options))
            for index, (folder, arguments) in enumerate(zip(folders, given, strict=True))]


def run_workers(folders, *given, **options):
    """Run workers, as `started_workers` does, to their end; return (exit status, stdout, stderr) of each."""
    with started_workers(folders, *given, **options) as workers:
        return [finish(worker) for worker in workers]


@pytest.fixture(scope="module")
def distributed_run(tmp_path_factory):
    """The folders of both workers of a finished run: the first writes all files, the second none."""
    folders = tmp_path_factory.mktemp("chief"), tmp_path_factory.mktemp("other")
    for status, _, stderr in run_workers(folders, ARGUMENTS, ARGUMENTS, chief=True):
        assert (status, stderr) == (0, "")
    return folders


def test_only_the_first_worker_writes_files(distributed_run):
    chief, other = distributed_run
    assert set(REPEATED_FILES) | {"outputs/checkpoint.npz", "outputs/settings.json"} == set(contents(chief))
    assert not list(other.iterdir())


def test_two_workers_train_what_one_process_does(distributed_run):
    settings = cgan_mnist.parse_arguments(ARGUMENTS)
    gan = cgan_mnist.CGAN(settings, *load_training_images(None, settings.train_size, settings.batch_size))
    history = np.stack([gan.train_step(indices, step) for epoch in range(3)
                        for step, indices in shuffled_batches(settings, epoch)])
    table = np.loadtxt(distributed_run[0] / "outputs" / "history.csv", delimiter=",", skiprows=1)[:, 2:]
    # What rounding changes grows with every batch.
    np.testing.assert_allclose(table[:5], history[:5], atol=2e-3)
    np.testing.assert_allclose(table[:20], history[:20], atol=0.1)
    with np.load(distributed_run[0] / "outputs" / "checkpoint.npz") as checkpoint:
        assert checkpoint["epoch"] == 3
    cgan_mnist.recalibrate(gan.ema_generator, settings.seed)
    generator = cgan_mnist.load_generator(distributed_run[0] / "outputs" / "generator.keras")
    for ours, theirs in zip(gan.ema_generator.get_weights(), generator.get_weights(), strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=0.02, atol=5e-3)


def test_when_a_worker_is_killed_the_other_ends_in_a_line_and_resuming_gives_the_same_bytes(distributed_run, tmp_path):
    with started_workers([tmp_path] * 2, ARGUMENTS, ARGUMENTS) as (chief, victim):
        wait_until((tmp_path / "outputs" / "checkpoint.npz").exists, victim)
        victim.kill()
        killed = time.monotonic()
        status, _, stderr = finish(chief)
    assert status == 1 and time.monotonic() - killed < 60
    assert_one_line(stderr)
    assert "another worker has ended" in stderr and "--resume" in stderr
    for status, stdout, stderr in run_workers([tmp_path] * 2, *[[*ARGUMENTS, "--resume"]] * 2):
        assert (status, stderr) == (0, "") and "Continuing after epoch" in stdout
    for name in REPEATED_FILES:
        assert (tmp_path / name).read_bytes() == (distributed_run[0] / name).read_bytes(), name


def test_a_worker_that_waits_for_the_others_can_be_interrupted(tmp_path):
    with start_script(ARGUMENTS, tmp_path, TF_CONFIG=cluster(free_ports(2), 0)) as process:
        wait_for_line(process, "Waiting for all 2 workers: 127.0.0.1:")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == -signal.SIGINT


def test_a_worker_that_waits_for_long_says_what_may_be_wrong(tmp_path):
    code = "import sys; from mnist_gan.running import distribution; distribution.WAIT_SECONDS = 0.5; " \
           "import cgan_mnist; sys.exit(cgan_mnist.main([]))"
    with start_script([code], tmp_path, "-c", TF_CONFIG=cluster(free_ports(2), 0), PYTHONPATH=str(ROOT)) as process:
        wait_for_line(process, "Still waiting.")


def test_scores_while_several_workers_train_are_refused(tmp_path):
    for status, _, stderr in run_workers([tmp_path] * 2, *[[*ARGUMENTS, "--evaluate-every", "1"]] * 2):
        assert status == 2 and "--evaluate-every works on one machine alone" in stderr


def test_workers_with_different_settings_are_refused_before_training(tmp_path):
    for result in run_workers([tmp_path] * 2, ARGUMENTS, [*ARGUMENTS, "--seed", "1"]):
        assert_refused(result, tmp_path, {}, "different settings")


@pytest.mark.parametrize("text", ["{", "[1]", '{"cluster": 1}', cluster([12345, 12346], 2), cluster([12345, 12345], 0),
                                  cluster(["x", 12346], 0), '{"cluster": ' * 10**5,
                                  '{"cluster": {"worker": {"0": "a:1"}}, "task": {"type": "worker", "index": 0}}',
                                  cluster([12345, 12346], 0)[:-1] + ', "rpc_layer": "none"}',
                                  cluster(["１２３４５", 12346], 0), cluster([12345, 12346], 0).replace("127", "12 7"),
                                  cluster([12345, 12346], 0).replace('"worker":', '"ps":')])
def test_a_cluster_that_is_none_is_refused(text):
    with pytest.raises(InputError, match="TF_CONFIG does not describe a cluster"):
        check_cluster(text)


def test_a_malformed_cluster_is_refused_in_a_line(run_command, tmp_path, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", "{")
    assert_refused(run_command(ARGUMENTS, tmp_path), tmp_path, {}, "TF_CONFIG", '"cluster"')


def test_a_port_that_is_in_use_is_refused(run_command, tmp_path, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setenv("TF_CONFIG", cluster([port, *free_ports(1)], 0))
        assert_refused(run_command(ARGUMENTS, tmp_path), tmp_path, {}, "port", str(port))


def test_a_batch_that_cannot_be_shared_equally_is_refused(run_command, tmp_path, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", cluster(free_ports(2), 0))  # the other worker need not even be there
    assert_refused(run_command([*ARGUMENTS, "--batch-size", "30"], tmp_path), tmp_path, {}, "--batch-size 30", "4")


@pytest.mark.parametrize("chief", [False, True])
def test_a_cluster_of_one_is_no_cluster(monkeypatch, chief):
    monkeypatch.setenv("TF_CONFIG", cluster(free_ports(1), 0, chief))
    assert choose_strategy(SimpleNamespace(batch_size=32, slurm=False)) is None


@pytest.mark.parametrize("text", ["", "{}", '{"cluster": {}}', '{"task": {"type": "worker", "index": 0}}'])
def test_a_configuration_without_a_cluster_is_no_cluster(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    assert choose_strategy(SimpleNamespace(batch_size=32, slurm=False)) is None


def test_slurm_counts_the_tasks_of_its_step_also_without_gpus(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", "")  # which is set then, and unset after the test
    for name, value in (("PROCID", "0"), ("STEP_NODELIST", "localhost"), ("STEP_TASKS_PER_NODE", "1"),
                        ("STEP_NUM_TASKS", "1")):
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert choose_strategy(SimpleNamespace(batch_size=32, slurm=True)) is None
    assert len(check_cluster(os.environ["TF_CONFIG"])) == 1
    for name, value in (("STEP_TASKS_PER_NODE", "3"), ("STEP_NUM_TASKS", "3")):
        monkeypatch.setenv(f"SLURM_{name}", value)
    with pytest.raises(InputError, match="3 devices"):
        choose_strategy(SimpleNamespace(batch_size=32, slurm=True))


def test_slurm_is_refused_where_there_is_none(run_command, tmp_path):
    assert_refused(run_command([*ARGUMENTS, "--slurm"], tmp_path), tmp_path, {}, "--slurm", "srun")


def test_two_workers_train_a_stackgan_as_one_process_does(stackgan_run, tmp_path):
    results = run_workers([tmp_path] * 2, SMALL_STACKGAN, SMALL_STACKGAN, script=STACKGAN)
    assert [status for status, _, _ in results] == [0, 0]
    table, history = (np.loadtxt(folder / "outputs" / "stackgan" / "history.csv", delimiter=",", skiprows=1)
                      for folder in (tmp_path, stackgan_run))
    # Rounding moves Adam's first steps, which have the size of the learning rate whatever the gradient is.
    np.testing.assert_allclose(table, history, rtol=0.25, atol=0.02)
    np.testing.assert_allclose(table[::8, 2], history[::8, 2], rtol=0.01)  # on real pictures, before any step
