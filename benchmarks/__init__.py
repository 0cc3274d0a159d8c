"""Other ways to train the same networks, and what several workers cost; `benchmark.py` runs them.

    own_step           the training steps of this repository
    roofline           what no step can be faster than
    classic_keras      the loop of the scripts that people copy
    pytorch            the step of `cgan_mnist.py` in PyTorch
    turns, contender   processes that take turns, one for each of these
    whole_command      the default command from start to end
    workers, worker    several processes that share every batch, measured
    scaling            how much faster more machines would be, predicted
"""
