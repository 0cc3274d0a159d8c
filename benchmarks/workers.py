"""What several workers cost: processes with a core each, alone and sharing every batch, measured and predicted."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from typing import NamedTuple

from benchmarks.own_step import cgan_settings, stage_settings
from benchmarks.scaling import fit_compute, reduction_seconds, speed_up, worthwhile_rows
from benchmarks.turns import ROOT

SCRIPTS = {"cgan_mnist.py": True, "Stage I": True, "Stage II": False}  # whether one device compiles it with XLA
MOST_WORKERS = 64
WORKERS = [2**power for power in range(MOST_WORKERS.bit_length())]  # for which a speed-up is predicted


class Measured(NamedTuple):
    """The seconds of a training step in one process and in several workers, and what these exchange in it."""
    compiled: float | None  # one process, with XLA, if the script uses it
    whole: float  # one process, without XLA as all that follow
    share: float  # one process, with the share of the batch that a worker has
    workers: float  # the workers, with the whole batch
    predicted: float  # what the model in `scaling.py` says of them
    compute: tuple  # what `fit_compute` returns
    reductions: int
    bytes: int  # of all reductions of a step
    latency: float  # in seconds per message
    bandwidth: float  # in bytes per second


def settings_of(name, batch_size, jit_compile):
    """Return the settings of the step `name` of SCRIPTS, a dictionary."""
    if name == "cgan_mnist.py":
        return cgan_settings(batch_size, jit_compile)
    return stage_settings(1 if name == "Stage I" else 2, batch_size, jit_compile)


def time_processes(count, name, batch_size, jit_compile, calls):
    """Return what `worker.py` finds in the first of `count` processes on loopback, a core each; or raise OSError."""
    cores = sorted(os.sched_getaffinity(0))
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    environment.pop("TF_CONFIG", None)
    settings = json.dumps({**settings_of(name, batch_size, jit_compile), "calls": calls})
    with contextlib.ExitStack() as held:
        taken = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        addresses = [f"127.0.0.1:{port.getsockname()[1]}" for port in taken]
    with contextlib.ExitStack() as held:
        processes = []
        for index in range(count):
            if count > 1:
                environment["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses},
                                                       "task": {"type": "worker", "index": index}})
            process = subprocess.Popen([sys.executable, "-m", "benchmarks.worker", str(cores[index]), settings],
                                       cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment)
            processes.append(held.enter_context(process))
            held.callback(process.kill)
        outputs = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise OSError(f"a measured process of {name} failed")
    return json.loads(outputs[0].splitlines()[-1])


def measure(name, count, batch_size, calls):
    """Return the Measured step `name` of SCRIPTS, medians of `calls` of it, with `count` workers; or raise OSError."""
    compiled = time_processes(1, name, batch_size, True, calls)["seconds"] if SCRIPTS[name] else None
    whole, half, share = (time_processes(1, name, size, False, calls)["seconds"]
                          for size in (batch_size, batch_size // 2, batch_size // count))
    together = time_processes(count, name, batch_size, False, calls)
    exchange = [together[part] for part in ("reductions", "bytes", "latency", "bandwidth")]
    return Measured(compiled, whole, share, together["seconds"], share + reduction_seconds(count, *exchange),
                    fit_compute(batch_size, whole, half), *exchange)


def predict(measured, images, latency, gigabits):
    """Predict for a network of `gigabits` per second and `latency` seconds per message.

    Returns the speed-ups of WORKERS with `images` each, and how many images each of the most of them needs to compute
    as long as it communicates.
    """
    costs = [reduction_seconds(count, measured.reductions, measured.bytes, latency, gigabits * 1e9 / 8)
             for count in WORKERS]
    return ([speed_up(measured.compute, cost, images, count) for count, cost in zip(WORKERS, costs, strict=True)],
            worthwhile_rows(measured.compute, costs[-1]))
