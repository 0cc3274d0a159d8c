"""Run a script once for every line on stdin, each time in a new process, but import TensorFlow only once.

A line is JSON, [script, arguments, folder, largest size of a file or null, file for stdout, file for stderr]; the answer
is the exit status.
"""

import json
import os
import resource
import runpy
import sys

sys.path.insert(0, sys.argv[1])  # the folder of the scripts
import cgan_mnist  # noqa: E402, F401  the processes forked below find it, mnist_gan/ and TensorFlow already loaded

for line in sys.stdin:
    script, arguments, folder, size, stdout, stderr = json.loads(line)
    child = os.fork()
    if child == 0:
        for descriptor, path in ((0, os.devnull), (1, stdout), (2, stderr)):
            os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), descriptor)
        if size is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        os.chdir(folder)
        sys.argv = [script, *arguments]
        runpy.run_path(script, run_name="__main__")  # ends the process, as it does for a user
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
