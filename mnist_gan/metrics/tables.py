"""Figures of several sets of images, beside each other."""

import numpy as np


def print_table(columns, table) -> None:
    """Print `columns`, a dictionary from a heading to figures, as a table.

    `table` has for each row its label, the name of its figure, a factor and the number of decimals.
    """
    first, width = max(36, *(len(row[0]) + 1 for row in table)), max(15, *(len(heading) + 2 for heading in columns))
    print(" " * first + "".join(f"{heading:>{width}}" for heading in columns))
    for label, name, factor, decimals in table:
        print(f"{label:<{first}}"
              + "".join(f"{factor * figures[name]:>{width}.{decimals}f}" for figures in columns.values()))


def median(columns) -> dict:
    """Return the median of every figure over `columns`, dictionaries with the same numbers or lists of numbers."""
    return {name: np.median([figures[name] for figures in columns], axis=0).tolist() for name in columns[0]}
