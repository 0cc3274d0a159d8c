"""One way to train, in this process: python -m benchmarks.contender FUNCTION SETTINGS

FUNCTION is a function in a module of this folder, such as `pytorch.cgan`; SETTINGS, a JSON object, become the namespace
that it is called with. It returns a function of the batch number that trains with one batch and returns when that is
computed. After a first batch the process writes an empty list to stdout. Each line of stdin is a number of seconds for
which it trains, with at least two batches; it answers with the list of the seconds that each took. It ends as soon as
stdin does, and so with the process at the other end.
"""

import importlib
import json
import os
import queue
import signal
import sys
import threading
import time
from types import SimpleNamespace


def listen(turns):
    """Put every line of stdin into the queue `turns` as a float, and end the process when there are no more."""
    for line in open(0, "rb", buffering=0, closefd=False):
        turns.put(float(line))
    os._exit(0)


def take_turns(train, turns, answers):
    """Call `train(number)` for as many seconds as each of `turns` says, and write the seconds per call to `answers`."""
    number = 0
    while True:
        seconds, deadline = [], time.perf_counter() + turns.get()
        while len(seconds) < 2 or time.perf_counter() < deadline:
            number += 1
            started = time.perf_counter()
            train(number)
            seconds.append(time.perf_counter() - started)
        print(json.dumps(seconds), file=answers, flush=True)


def main():
    """Run the contender of the command line; whatever it raises becomes one line on stderr and exit status 1."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a word: the benchmark says what happened
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a framework prints is no answer
    turns = queue.SimpleQueue()
    threading.Thread(target=listen, args=(turns,), daemon=True).start()
    name, settings = sys.argv[1:]
    module, function = name.split(".")
    try:
        build = getattr(importlib.import_module(f"benchmarks.{module}"), function)
        train = build(SimpleNamespace(**json.loads(settings)))
        train(0)  # compilation and warm-up
        print("[]", file=answers, flush=True)
        take_turns(train, turns, answers)
    except Exception as error:
        sys.exit(" ".join([f"{type(error).__name__}:", *str(error).splitlines()[:1]]))


if __name__ == "__main__":
    main()
