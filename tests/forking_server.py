"""Start scripts in new processes that find TensorFlow already imported, which takes longer than most of them run.

A line on stdin is JSON: the arguments of `run_as_main`, whose answer is the number of the new process, or the number of
such a process, whose answer, at its end, is its exit status.
"""

import json
import multiprocessing
import os
import resource
import runpy
import sys

from helpers import DEADLINE, ROOT

sys.path.insert(0, str(ROOT))
import cgan_mnist  # noqa: E402, F401  the processes forked below find it, mnist_gan/ and TensorFlow already loaded


def run_as_main(script, arguments, folder, stdout, stderr, size, variables):
    """Run `script` in `folder`, its output in the files `stdout` and `stderr`, none of its files larger than `size`."""
    for descriptor, path in ((0, os.devnull), (1, stdout), (2, stderr)):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), descriptor)
    if size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    os.environ.update(variables)
    os.chdir(folder)
    sys.argv = [script, *arguments]
    runpy.run_path(script, run_name="__main__")


processes = {}
for line in sys.stdin:
    request = json.loads(line)
    if isinstance(request, list):
        # Such a process ends without tidying up the memory of TensorFlow, for which Python takes a second.
        process = multiprocessing.get_context("fork").Process(target=run_as_main, args=request)
        process.start()
        processes[process.pid] = process
        print(process.pid, flush=True)
    else:
        process = processes.pop(request)
        process.join(DEADLINE)
        process.kill()  # if it is still there
        process.join()
        print(process.exitcode, flush=True)
