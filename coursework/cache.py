"""What is cached of an experiment: numbers of its finished parts, and by which code they were computed."""

import contextlib
import importlib.metadata
import json
import time
import zlib

from mnist_gan.files import atomic_write
from mnist_gan.running.command_line import readable_time


def code_checksum(root):
    """Return the CRC-32 of all source below the folder `root` that decides a result, and of TensorFlow and Keras.

    What was cached under another checksum may be of other losses or networks and is not used again.
    """
    total = 0
    for pattern in ("cgan_mnist.py", "stackgan_mnist.py", "mnist_gan/**/*.py", "coursework/*.py"):
        for path in sorted(root.glob(pattern)):
            total = zlib.crc32(path.read_bytes(), zlib.crc32(str(path.relative_to(root)).encode(), total))
    versions = [importlib.metadata.version(name) for name in ("tensorflow", "keras")]
    return zlib.crc32(" ".join(versions).encode(), total)


class Cache:
    """The finished parts of one experiment in a file, so that a run that was interrupted continues after them.

    Parts that were computed under another `key`, a dictionary fit for JSON, or that cannot be read are not used.
    """

    def __init__(self, path, key):
        self.path, self.key, self.parts = path, key, {}
        self.earlier_seconds, self.started = 0.0, time.perf_counter()
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            content = json.loads(path.read_text())
            if content["key"] == key:
                self.earlier_seconds, self.parts = content["seconds"], content["parts"]

    def seconds(self):
        """Return how long the experiment has taken, in earlier runs that were interrupted and in this one."""
        return self.earlier_seconds + time.perf_counter() - self.started

    def get(self, name, compute, left=None):
        """Return `compute()`, which must be fit for JSON, or what it returned in an earlier run.

        With `left`, the number of parts that follow, it prints how long they will take.
        """
        if name not in self.parts:
            started = time.perf_counter()
            print(f"  {name}:", end=" ", flush=True)
            self.parts[name] = compute()
            # With NaN for what is no number, so that a part is the same whether it was computed now or before.
            content = json.dumps({"key": self.key, "seconds": self.seconds(), "parts": self.parts})
            atomic_write(self.path, lambda partial: partial.write_text(content))
            took = time.perf_counter() - started
            print(f"{readable_time(took)}" + (f", about {readable_time(left * took)} left" if left else ""), flush=True)
        return self.parts[name]

    def remove(self):
        """Remove the file, once the experiment's results are written."""
        self.path.unlink(missing_ok=True)
