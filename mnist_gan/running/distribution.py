"""One training distributed over all GPUs of a machine or over several machines, by tf.distribute.

With one device and no cluster, everything here does what one process does alone.
"""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator

import tensorflow as tf
from keras import layers

from mnist_gan.errors import InputError
from mnist_gan.networks import all_layers

WAIT_SECONDS = 60  # after which it is said why other workers may not come
STILL_WAITING = ("Still waiting. Has every worker been started, with the same TF_CONFIG but for its place? Can each "
                 "reach the ports of the others, through firewalls and containers?")
TF_CONFIG_EXAMPLE = '{"cluster": {"worker": ["host1:12345", "host2:12345"]}, "task": {"type": "worker", "index": 0}}'


def check_cluster(text) -> list:
    """Return the addresses of all workers in `text`, TF_CONFIG, or none if it says nothing of a cluster.

    A chief, as hosted services name one of the workers, counts as one.
    Raises InputError if it is wrong or the port is taken.
    """
    try:
        config = json.loads(text)
        if not config or not config.get("cluster"):
            return []
        jobs, task = config["cluster"], config["task"]
        index, own = task["index"], jobs[task["type"]]
        workers = [*jobs.get("chief", []), *jobs.get("worker", [])]
        ports = {address: int(re.fullmatch(r"[^\s/]+:([0-9]{1,5})", address)[1]) for address in workers}
        fits = (jobs.keys() <= {"chief", "worker"} and len(jobs.get("chief", [])) <= 1 and type(index) is int
                and all(isinstance(job, list) for job in jobs.values()) and config.get("rpc_layer", "grpc") == "grpc"
                and 0 <= index < len(own) and len(workers) == len(ports)
                and all(0 < port < 2**16 for port in ports.values()))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        fits = False
    if not fits:
        raise InputError(f"TF_CONFIG does not describe a cluster and a place in it; give {TF_CONFIG_EXAMPLE}")
    with socket.socket() as port:
        port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # the port of a worker that has just ended is free
        try:
            port.bind(("", ports[own[index]]))
        except OSError as error:
            raise InputError(f"TF_CONFIG: port {ports[own[index]]} of {task['type']} {index} cannot be used here "
                             f"({error.strerror}); choose another one, in the TF_CONFIG of all workers") from error
    return workers


def require_equal_shares(batch_size, devices) -> None:
    """Raise InputError unless `devices` can share a batch equally in pairs: its halves are compared."""
    if devices > 1 and batch_size % (2 * devices):
        raise InputError(f"--batch-size {batch_size}: {devices} devices cannot share it equally in pairs; "
                         f"give a multiple of {2 * devices}")


@contextlib.contextmanager
def reminded(seconds, message) -> Iterator[None]:
    """Print `message` if the context lasts longer than `seconds`, also while native code keeps Python from running.

    So another process prints it, which ends with its standard input, when this one closes it or dies.
    """
    code = (f"import os, threading; ended = threading.Thread(target=os.read, args=(0, 1), daemon=True); ended.start(); "
            f"ended.join({seconds}); ended.is_alive() and print({message!r})")
    # In a session of its own, Ctrl-C does not reach it.
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, start_new_session=True):
        yield


def choose_strategy(settings) -> tf.distribute.Strategy | None:
    """Return the tf.distribute strategy for what there is: a cluster, several GPUs, or one device (None).

    With `settings.slurm`, Slurm describes the cluster, otherwise TF_CONFIG. Must be called before TensorFlow computes
    anything; returns when all workers of the cluster have come. Raises InputError, before that, if the cluster is
    invalid or cannot share `settings.batch_size` equally.
    """
    gpus = len(tf.config.list_physical_devices("GPU"))
    if settings.slurm:
        try:
            # Without GPUs, it does not count tasks unless each is said to have one.
            resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(
                gpus_per_node=gpus or 2**16, gpus_per_task=None if gpus else 1, auto_set_gpu=gpus > 0)
            cluster = resolver.cluster_spec()
            workers = cluster.job_tasks("worker")
            if not gpus:  # The strategy must not hear of them.
                kind, index = resolver.get_task_info()
                os.environ["TF_CONFIG"] = json.dumps({"cluster": cluster.as_dict(),
                                                      "task": {"type": kind, "index": index}})
                resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
        except (KeyError, ValueError, RuntimeError, OSError) as error:
            raise InputError(f"--slurm: this is no task of a Slurm step ({type(error).__name__}: {error}); "
                             "start the script with srun") from error
    elif workers := check_cluster(os.environ.get("TF_CONFIG") or "{}"):
        resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    else:
        require_equal_shares(settings.batch_size, gpus)
        return tf.distribute.MirroredStrategy() if gpus > 1 else None
    require_equal_shares(settings.batch_size, len(workers) * max(1, gpus))
    if len(workers) * max(1, gpus) == 1:
        return None
    # TensorFlow's connections take the proxies that environment variables name, and would not reach the workers.
    os.environ["no_grpc_proxy"] = ",".join(address.rsplit(":", 1)[0] for address in workers)
    handler = signal.getsignal(signal.SIGINT)
    if callable(handler):
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Python's handlers would wait, too
    print(f"Waiting for all {len(workers)} workers: {', '.join(workers)}", flush=True)
    try:
        with reminded(WAIT_SECONDS, STILL_WAITING):
            strategy = tf.distribute.MultiWorkerMirroredStrategy(resolver)
    finally:
        signal.signal(signal.SIGINT, handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # TensorFlow has caught it, and would train on
    return strategy


def run_distributed(train, settings) -> None:
    """Call `train(settings)` on every device there is, each with an equal share of every batch.

    Raises what `choose_strategy` does, and ChildProcessError, an OSError, when another worker cannot be reached.
    """
    try:
        tf.get_logger().setLevel("CRITICAL")  # whatever goes wrong is told in one line
        strategy = choose_strategy(settings)
        with strategy.scope() if strategy else contextlib.nullcontext():
            train(settings)
    except tf.errors.UnavailableError as error:
        raise ChildProcessError("another worker has ended or cannot be reached; start all workers again") from error


def is_chief() -> bool:
    """Return whether this process writes the files: the only one, the chief of a cluster, or its first worker."""
    if not is_clustered():
        return True
    resolver = tf.distribute.get_strategy().cluster_resolver
    first = "chief" if "chief" in resolver.cluster_spec().jobs else "worker"
    return (resolver.task_type, resolver.task_id) == (first, 0)


def is_clustered() -> bool:
    """Return whether this process is one of several workers."""
    return tf.distribute.get_strategy().cluster_resolver is not None


def require_agreement(record, checkpoint=None) -> None:
    """Raise InputError if the workers of a cluster have been given other settings or data than this one.

    `record` is what `record_settings` returns; where files go may differ. `checkpoint` is the file that the training
    continues from, if it does: the same bytes for all of them.
    """
    if not is_clustered():
        return
    strategy = tf.distribute.get_strategy()
    shared = {name: value for name, value in record.items() if name not in ("output_dir", "plots_dir", "data")}
    mine = zlib.crc32(json.dumps(shared, sort_keys=True).encode())
    if checkpoint:
        mine = zlib.crc32(checkpoint.read_bytes(), mine)

    @tf.function(autograph=False)
    def gather():
        return strategy.run(lambda: tf.distribute.get_replica_context().all_gather(
            tf.constant([mine], tf.int64), axis=0))
    others = set(strategy.experimental_local_results(gather())[0].numpy().tolist())
    if others != {mine}:
        with contextlib.suppress(tf.errors.OpError):
            gather()  # a worker that left now could keep the others from the answer
        raise InputError("the workers have different settings, data or checkpoints; give all of them the same options "
                         "and, to --resume, copies of the same output folder")


def replicas() -> int:
    """Return on how many devices the training runs, each with an equal share of every batch."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def share(batch) -> tf.Tensor:
    """Return this device's share, (n / replicas, ...), of the entries of `batch` (n, ...)."""
    if replicas() == 1:
        return batch
    size = batch.shape[0] // replicas()
    start = tf.distribute.get_replica_context().replica_id_in_sync_group * size
    return tf.ensure_shape(batch[start:start + size], (size, *batch.shape[1:]))


def share_pairs(batch) -> tf.Tensor:
    """Return the same share of both halves of `batch`: entries half a batch apart stay half a share apart."""
    if replicas() == 1:
        return batch
    half = batch.shape[0] // 2
    return tf.concat([share(batch[:half]), share(batch[half:])], 0)


def minimize(objective, tape, variables, optimizer) -> None:
    """Update `variables` with the gradients of `objective`, a scalar mean over this device's share of a batch.

    `tape` has recorded it. The optimizer adds up the gradients of all devices, so each gives its part of the mean.
    """
    gradients = tape.gradient(objective, variables, output_gradients=tf.constant(1.0 / replicas()))
    optimizer.apply(gradients, variables)


def normal_numbers(jit_compile) -> Callable:
    """Return `tf.random.stateless_normal` as it draws within a step that `compile_step` compiles with `jit_compile`.

    XLA makes other normal numbers of the same random bits. Where one device would draw them with XLA, several devices
    compile the drawing alone with it, so that they draw the same.
    """
    if replicas() == 1 or not jit_compile:
        return tf.random.stateless_normal

    def draw(shape, seed):
        compiled = tf.function(lambda seed: tf.random.stateless_normal(shape, seed), jit_compile=True, autograph=False)
        return compiled(tf.stack(seed))
    return draw


def compile_step(step, jit_compile) -> Callable:
    """Compile `step`, a function of tensors that returns means over its device's share, for all devices.

    The compiled function returns the means over the whole batch. With several devices, XLA is not used: it cannot
    compile their collectives on CPUs.
    """
    strategy = tf.distribute.get_strategy()
    if strategy.num_replicas_in_sync == 1:
        return tf.function(step, jit_compile=jit_compile, autograph=False)

    @tf.function(autograph=False)
    def distributed_step(*inputs):
        return strategy.reduce(tf.distribute.ReduceOp.MEAN, strategy.run(step, inputs), axis=None)
    return distributed_step


def synchronize(*networks) -> None:
    """Let BatchNormalization of `networks` see the whole batch and not one device's share."""
    for layer in (layer for network in networks for layer in all_layers(network)):
        if isinstance(layer, layers.BatchNormalization):
            layer.synchronized = replicas() > 1
