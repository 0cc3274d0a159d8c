"""The experiments of REPORT.md, question by question; `experiments.py` runs them.

    runs            short trainings of the CGAN and its variants, their figures and pictures
    noise           length, distribution and scale of the noise
    collapse        mode collapse, vanishing gradients, non-convergence, and what helps
    training        the objective, the best discriminator, BatchNormalization
    labels          ways to merge the label, and what the discriminator says of right and wrong ones
    convolutions    transposed convolutions, PixelShuffle, a DCGAN
    stackgan        what each stage of the StackGAN does, what its parts give, ways to upsample
    fid             what the Fréchet distance sees and what it does not
    report          the numbers in the reports

An experiment is a function `name(options, part)` that returns `(results, figure)`: numbers, which become JSON, and a
matplotlib figure. The first line of its docstring says what it shows. `options` has

- `quick`: whether it is to show in a minute that it works, rather than to measure anything;
- `seeds`: the seeds of its trainings, a tuple;
- `data`: `x_train`, `y_train`, `x_test`, `y_test`, as `mnist_gan.data.mnist.load_data` returns them, few of each if quick;
- `classifiers`, `networks`: the folders where the classifiers and the baseline's networks are kept.

`part(name, compute, left=None)` returns `compute()`, which must be fit for JSON, or what it returned in an earlier run
that was interrupted; with `left`, the number of parts that follow, it prints how long they will take.
"""

import mnist_gan  # noqa: F401  before Keras, because it starts TensorFlow without its messages
