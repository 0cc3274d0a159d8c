"""The layers of a network, drawn; `keras.utils.plot_model` would need Graphviz, which pip cannot install."""

from matplotlib.figure import Figure


def describe_layer(layer):
    """Return the kind of a layer with the number that matters most about it, such as "Dense 512"."""
    kind = type(layer).__name__
    details = {"InputLayer": lambda: layer.name, "Dense": lambda: layer.units, "Dropout": lambda: layer.rate,
               "Embedding": lambda: f"{layer.input_dim} → {layer.output_dim}",
               "LeakyReLU": lambda: layer.negative_slope, "BatchNormalization": lambda: f"momentum {layer.momentum}"}
    text = f"{kind.replace('InputLayer', 'Input')} {details.get(kind, str)()}"
    activation = getattr(getattr(layer, "activation", None), "__name__", "linear")
    return text if activation == "linear" else f"{text}, {activation}"


def draw_network(network):
    """Draw a network of two inputs: their branches, the product with the label's embedding, the stack after it.

    Its first Multiply layer is the product, and the layers of the label's branch have names that start with "label".
    Every box names a layer, the shape of its output for one example, and its parameters.
    """
    product = [type(layer).__name__ for layer in network.layers].index("Multiply")
    label_branch = [layer for layer in network.layers[:product] if layer.name.startswith("label")]
    main_branch = [layer for layer in network.layers[:product] if layer not in label_branch]
    stack = network.layers[product:]
    figure = Figure((9, 0.55 * (len(stack) + 3)), dpi=100, layout="constrained")
    axes = figure.subplots()
    axes.set(title=f"{network.name.capitalize()}: {network.count_params():,} parameters",
             xlim=(-2, 2), ylim=(len(stack) - 0.5, -2.5))
    axes.axis("off")
    # The branches start in row -2, above the product that heads the stack in row 0.
    for x, first_row, column in ((-1, -2, main_branch), (1, -2, label_branch), (0, 0, stack)):
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
