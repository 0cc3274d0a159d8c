"""Ways to train that take turns in rounds, because shared machines change their speed from minute to minute.

Each has a process of its own, because PyTorch and TensorFlow do not get along in one.
"""

import contextlib
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


class Contender:
    """A process of `contender.py`, which trains when it is told to and ends with the context."""

    def __init__(self, function, settings):
        """Start it; `function` is a name such as "pytorch.cgan", `settings` a dictionary for JSON."""
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.contender", function, json.dumps(settings)], cwd=ROOT,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()
        self.errors.close()

    def answer(self):
        """Wait for the next list of seconds: the first, an empty one, comes after the first batch.

        Raises ChildProcessError, which says why in one line, if the process has ended.
        """
        line = self.process.stdout.readline()
        if line:
            return json.loads(line)
        status = self.process.wait()
        self.errors.seek(0)
        said = self.errors.read().strip().splitlines()
        if status < 0:
            raise ChildProcessError(f"its process was ended by {signal.Signals(-status).name}")
        raise ChildProcessError(said[-1] if said else f"its process ended with status {status}")

    def run(self, seconds):
        """Let it train for so many `seconds`, at least twice; return those of each batch, or raise as `answer`."""
        with contextlib.suppress(BrokenPipeError):  # `answer` says why
            print(seconds, file=self.process.stdin, flush=True)
        return self.answer()


def time_in_turns(contenders, rounds, seconds=0.5):
    """Let `contenders`, {name: (function, settings)}, take turns in `rounds` rounds, for about `seconds` each.

    Returns the median seconds per batch by name, and why the rest of them could not be measured, by name.
    """
    samples, failures = {name: [] for name in contenders}, {}
    with contextlib.ExitStack() as held:
        running = {name: held.enter_context(Contender(*contender)) for name, contender in contenders.items()}
        for turn in range(rounds + 1):
            for name, contender in list(running.items()):
                try:
                    samples[name] += contender.run(seconds) if turn else contender.answer()
                except ChildProcessError as error:
                    failures[name] = str(error)
                    del running[name]
            if turn and sys.stdout.isatty():
                print(f"\rround {turn}/{rounds}", end="\n" if turn == rounds else "", flush=True)
    return {name: statistics.median(samples[name]) for name in running}, failures


def seconds_to_first_batch(function, settings):
    """Return the seconds from the start of a contender's process to the end of its first batch; raise as `answer`."""
    started = time.perf_counter()
    with Contender(function, settings) as contender:
        contender.answer()
        return time.perf_counter() - started
