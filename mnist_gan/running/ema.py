"""The exponential moving average of a network's weights, which draws better than any one batch's weights.

Keras's `use_ema` has the same decay from the first batch on, which keeps the initial weights for epochs, and
that of `tf.train.ExponentialMovingAverage` rises three times as slowly as this one.
"""

import tensorflow as tf


def update_ema(ema_network, network, decay, step) -> None:
    """Move the trainable weights of `ema_network` towards those of `network` after batch number `step`.

    The decay, in [0, 1), is (step + 1) / (step + 4) as long as that is less than `decay`.
    `step` counts from 0 and is an integer tensor.
    """
    done = tf.cast(step + 1, tf.float32)
    decay = tf.minimum(decay, done / (done + 3.0))

    def move(average, current):
        average.assign(decay * average + (1.0 - decay) * current)

    def move_all(strategy):  # on every device that holds them
        for average, current in zip(ema_network.trainable_variables, network.trainable_variables, strict=True):
            strategy.extended.update(average.value, move, (current.value,))
    tf.distribute.get_replica_context().merge_call(move_all)


def update_batch_norm(ema_network, draw_inputs) -> None:
    """Set the BatchNormalization statistics of an EMA network to those of its own activations.

    `draw_inputs(number)` returns a batch of the network's inputs, another one for each `number` from 0 to 29.
    An average of the statistics would be wrong: each belongs to the weights of one batch.
    With momentum 0.8, 30 batches leave 0.8^30 = 0.1% of the old statistics.
    """
    @tf.function(autograph=False)
    def update_statistics(number):
        ema_network(draw_inputs(number), training=True)

    for number in range(30):
        update_statistics(tf.constant(number))
