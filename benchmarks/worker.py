"""One of the processes that `workers.py` measures: python -m benchmarks.worker CORE SETTINGS

CORE is the only one that it uses. SETTINGS, a JSON object, are those of `own_step.py` and `calls`, how many steps it
measures. It prints a JSON object: the median `seconds` of a step and, in a cluster, what the workers exchange in one.
"""

import json
import os
import statistics
import sys
import time
from types import SimpleNamespace

if __name__ == "__main__":
    os.sched_setaffinity(0, [int(sys.argv[1])])  # before TensorFlow counts the cores

from benchmarks.own_step import build_cgan, build_stage, train
from mnist_gan import ended_by_ctrl_c
from mnist_gan.running.distribution import replicas, run_distributed

import tensorflow as tf


def count_reductions(train_step, batch_size):
    """Return (number, bytes) of what the workers of a cluster add up in one call of the compiled `train_step`."""
    graph = train_step.get_concrete_function(tf.range(batch_size), tf.constant(0)).graph
    reduced = [operation.inputs[0] for operation in graph.get_operations()
               if operation.type.startswith("CollectiveReduce")]
    return len(reduced), sum(tensor.shape.num_elements() * tensor.dtype.size for tensor in reduced)


def median_seconds(call, calls):
    """Return the median seconds of `calls` calls of `call(number)`, which waits for its result, after 3 to warm up.

    All workers of a cluster must call equally often, or the last ones would wait for ever.
    """
    seconds = []
    for number in range(3 + calls):
        started = time.perf_counter()
        call(number)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[3:])


def time_network(size, calls):
    """Return (latency in seconds per message, bandwidth in bytes per second) between the workers of this cluster.

    They follow, by the model in `scaling.py`, from reductions of one number and of `size` bytes.
    """
    strategy = tf.distribute.get_strategy()

    @tf.function(autograph=False)
    def add_up(values):
        return strategy.experimental_local_results(strategy.run(
            lambda: tf.distribute.get_replica_context().all_reduce(
                tf.distribute.ReduceOp.SUM, tf.identity(values))))[0]  # the copy is on this worker's device
    little, much = (median_seconds(lambda _, values=values: add_up(values).numpy(), calls)
                    for values in (tf.zeros(1), tf.zeros(size // 4)))
    messages = 2 * (replicas() - 1)
    return little / messages, messages * size / replicas() / max(much - little, 1e-9)


def measure(settings):
    """Print what this worker finds."""
    built = build_stage(settings) if hasattr(settings, "stage") else build_cgan(settings)
    found = {"seconds": median_seconds(train(built, settings), settings.calls)}
    if replicas() > 1:
        found["reductions"], found["bytes"] = count_reductions(built.train_step, settings.batch_size)
        found["latency"], found["bandwidth"] = time_network(found["bytes"], settings.calls)
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    with ended_by_ctrl_c():
        run_distributed(measure, SimpleNamespace(**json.loads(sys.argv[2])))
