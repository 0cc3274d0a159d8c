"""The data: MNIST, the sentences about painted digits, and the paint."""
