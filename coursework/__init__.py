"""The experiments of REPORT.md, question by question; `experiments.py` runs them.

The questions, with their experiments:

    training         two recipes and what each part of them does, the objective, other losses
    noise            length, distribution and scale of the noise
    collapse         mode collapse, vanishing gradients, non-convergence
    ring             what helps, on a ring of Gaussians
    stacked          what helps on Stacked MNIST, with a thousand modes
    labels           ways to merge the label, and what the discriminator says of right and wrong ones
    convolutions     transposed convolutions, a DCGAN
    pixelshuffle     PixelShuffle beside them
    stackgan         what each stage of the StackGAN does, ways to upsample
    fid              what the Fréchet distance sees and what it does not

What they share, each importing only those below it:

    comparison       variants side by side, in numbers and in a figure
    trainings        trainings as a user runs them, with one thing changed, and their metrics
    variants         networks with other layers, updates with other losses
    figures          colours, markers and images of their figures
    timing           how long functions take beside each other
    context          data, folders, seeds, classifier, committed networks
    cache            finished parts of an experiment, and the checksum of the code that they depend on
    report           the numbers in the reports

An experiment is a function `name(context)` that returns `(results, figure)`: numbers, which become JSON, and a
matplotlib figure. The first line of its docstring says what it shows.
"""

import mnist_gan  # noqa: F401  before Keras, because it starts TensorFlow without its messages
