"""The layers of a network, drawn; `keras.utils.plot_model` would need Graphviz, which pip cannot install."""

import keras
import numpy as np
from keras import layers, tree
from matplotlib.figure import Figure


def describe_layer(layer) -> str:
    """Return the kind of a layer with the number that matters most about it, such as "Dense 512"."""
    if isinstance(layer, keras.Model):  # a block
        return f"{layer.name.replace('_', ' ')}   [{describe_shape(layer)}]"
    kind = type(layer).__name__
    details = {"InputLayer": lambda: layer.name, "Dense": lambda: layer.units, "Dropout": lambda: layer.rate,
               "Embedding": lambda: f"{layer.input_dim} → {layer.output_dim}",
               "Conv1D": lambda: f"{layer.filters}, {layer.kernel_size[0]} wide",
               "Conv2D": lambda: f"{layer.filters}, {' × '.join(map(str, layer.kernel_size))}"
                                 + (f", stride {layer.strides[0]}" if layer.strides[0] > 1 else ""),
               "Rescaling": lambda: layer.scale, "LeakyReLU": lambda: layer.negative_slope,
               "BatchNormalization": lambda: f"momentum {layer.momentum}"}
    text = f"{kind.replace('InputLayer', 'Input')} {details.get(kind.replace('Transpose', ''), str)()}".strip()
    activation = getattr(getattr(layer, "activation", None), "__name__", "linear")
    return text if activation == "linear" else f"{text}, {activation}"


def describe_shape(operation) -> str:
    """Return the shape of what an operation puts out for one example, such as "14 × 14 × 3"."""
    outputs = tree.flatten(operation.output)
    return " × ".join(map(str, outputs[0].shape[1:])) + (f", {len(outputs)} times" if len(outputs) > 1 else "")


def draw_network(network) -> Figure:
    """Draw a network of two inputs: their branches, the product with the label's embedding, the stack after it.

    Its first Multiply layer is the product, and the layers of the label's branch have names that start with "label".
    Every box names a layer, the shape of its output for one example, and its parameters.
    """
    product = [type(layer).__name__ for layer in network.layers].index("Multiply")
    label_branch = [layer for layer in network.layers[:product] if layer.name.startswith("label")]
    main_branch = [layer for layer in network.layers[:product] if layer not in label_branch]
    stack = network.layers[product:]
    above = max(len(main_branch), len(label_branch))
    figure = Figure((9, 0.55 * (len(stack) + above + 1)), dpi=100, layout="constrained")
    axes = figure.subplots()
    axes.set(title=f"{network.name.capitalize()}: {network.count_params():,} parameters",
             xlim=(-2, 2), ylim=(len(stack) - 0.5, -above - 0.5))
    axes.axis("off")
    # The branches start in the same row and end above the product, which heads the stack in row 0.
    for x, first_row, column in ((-1, -above, main_branch), (1, -above, label_branch), (0, 0, stack)):
        boxes = [(x, first_row + number) for number in range(len(column))]
        for (x, row), layer in zip(boxes, column, strict=True):
            shape = " × ".join(map(str, layer.output.shape[1:])) or "integer 0 to 9"
            parameters = f"   {layer.count_params():,} parameters" if layer.count_params() else ""
            axes.text(x, row, f"{describe_layer(layer)}   [{shape}]{parameters}", ha="center", va="center",
                      bbox=dict(boxstyle="round", facecolor="lightblue" if parameters else "white"))
        ends = boxes[1:] if column is stack else [*boxes[1:], (0.2 * x, 0)]
        for (start_x, start_row), (end_x, end_row) in zip(boxes, ends, strict=column is not stack):
            axes.annotate("", (end_x, end_row - 0.28), (start_x, start_row + 0.28), arrowprops=dict(arrowstyle="->"))
    return figure


def chains(network) -> list:
    """Return the steps of a functional `network` in their order as (chain of operations, numbers of earlier steps).

    An operation belongs to the chain of the one before it where nothing else leaves that one or enters this one.
    """
    operations = [operation for operation in network.operations if operation._inbound_nodes]
    # Not its `input`, which is what a block begins with inside.
    sources = {operation: [tensor._keras_history.operation for tensor in operation._inbound_nodes[-1].input_tensors]
               if not isinstance(operation, layers.InputLayer) else [] for operation in operations}
    uses = [source for found in sources.values() for source in set(found)]
    steps, place = [], {}
    for operation in operations:
        before = list(dict.fromkeys(sources[operation]))
        if len(before) == 1 and uses.count(before[0]) == 1:
            place[operation] = place[before[0]]
            steps[place[operation]][0].append(operation)
        else:
            place[operation] = len(steps)
            steps.append(([operation], [place[source] for source in before]))
    return steps


def draw_graph(network) -> Figure:
    """Draw any functional network of Keras layers and operations, from its inputs at the top downwards.

    A box holds steps that follow one another; it names the shape of their result for one example and their parameters.
    """
    steps, rows = chains(network), []
    for _, before in steps:
        rows.append(1 + max((rows[source] for source in before), default=-1))
    # An input stands right above the first box that uses it.
    for number, (_, before) in enumerate(steps):
        if not before:
            rows[number] = min((rows[user] for user, (_, found) in enumerate(steps) if number in found), default=1) - 1
    texts = []
    for chain, _ in steps:
        parameters = sum(operation.count_params() for operation in chain if isinstance(operation, layers.Layer))
        lines = [describe_layer(operation) for operation in chain]
        shape = "" if isinstance(chain[-1], keras.Model) else f"[{describe_shape(chain[-1])}]   "
        last = f"{shape}{parameters:,} parameters" if parameters else shape.strip()
        texts.append("\n".join([*lines, *([last] if last else [])]))
    heights = [max(texts[number].count("\n") + 1 for number in range(len(steps)) if rows[number] == row)
               for row in range(max(rows) + 1)]
    tops = np.concatenate([[0], np.cumsum(np.array(heights) + 2.5)])
    columns = [[number for number in range(len(steps)) if rows[number] == row] for row in range(len(heights))]
    width = max(map(len, columns))
    figure = Figure((max(7, 3.1 * width), 0.17 * tops[-1] + 0.6), dpi=100, layout="constrained")
    axes = figure.subplots()
    axes.set(title=f"{network.name.replace('_', ' ')}: {network.count_params():,} parameters", xlim=(0, width),
             ylim=(tops[-1], -1.5))
    axes.axis("off")
    where = {number: ((column + 0.5) * width / len(numbers), row)
             for row, numbers in enumerate(columns) for column, number in enumerate(numbers)}
    for number, (_, before) in enumerate(steps):
        x, row = where[number]
        lines = texts[number].count("\n") + 1
        axes.text(x, tops[row] + heights[row] / 2, texts[number], ha="center", va="center", fontsize=9, zorder=3,
                  bbox=dict(boxstyle="round", facecolor="lightblue" if "parameters" in texts[number] else "white"))
        for source in before:
            start_x, start_row = where[source]
            start = tops[start_row] + (heights[start_row] + texts[source].count("\n") + 1) / 2 + 0.4
            end = tops[row] + (heights[row] - lines) / 2 - 0.4
            around = 0.4 if start_x == x and row > start_row + 1 else 0  # past the boxes between
            axes.annotate("", (x, end), (start_x, start), zorder=2, arrowprops=dict(
                arrowstyle="->", color="gray", connectionstyle=f"arc3,rad={around}"))
    return figure
