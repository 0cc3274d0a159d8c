"""Other ways to train the same networks, and what several workers cost; `benchmark.py` runs them."""
