"""Which pairs of loss and head there are, and whether all that may be drawn of them can be trained."""

from __future__ import annotations

from itertools import product
from typing import Any

import keras

from pipeline import costs, heads, losses, models
from pipeline.config import Config, Named
from pipeline.data import Dataset
from pipeline.errors import InputError, choice
from pipeline.sweep.trial import Pair, Trial


def pairs(config: Config, data: Dataset) -> list[Pair]:
    """Return each loss on each head, and a method that has a head of its own only on that.

    Raises InputError for a loss, a parameter, a head, a backbone or a cost that cannot be, at either end of
    its range, and where there are fewer trials than pairs.
    """
    models.check(config.model, data)
    found = [pair for loss in config.search.losses for pair in _on_heads(loss, config.search.heads)]
    if config.search.trials < len(found):
        raise InputError(
            f"search.trials is {config.search.trials}, "
            f"but there are {len(found)} pairs of loss and head to try"
        )
    kind = data.labels.topology.kind
    for head in config.search.heads:
        for corner in _corners(head):
            heads.check(corner.name, corner.parameters, kind)
    for pair in found:
        if losses.method(pair.loss.name).head:
            for corner in _corners(pair.head):
                heads.check(corner.name, corner.parameters, kind, f"search.losses: {pair.loss.name}")
        for corner in _corners(pair.loss):
            build_loss(corner, config, data)
    return found


def plan(config: Config, data: Dataset) -> list[Trial]:
    """Return the trials of a config without ranges: each pair with one seed, then again with the next.

    Raises InputError as `pairs` does.
    """
    found = pairs(config, data)
    rounds = (divmod(number, len(found)) for number in range(config.search.trials))
    return [
        Trial(number, found[place], config.search.seed + round_)
        for number, (round_, place) in enumerate(rounds)
    ]


def build_loss(loss: Named, config: Config, data: Dataset) -> keras.losses.Loss:
    """Return a loss for the labels of `data` and the costs of `config`."""
    topology = data.labels.topology
    profiles = costs.profiles(config.decision, topology, data.labels.names)
    matrices = {name: one.cost if one.decides_labels else None for name, one in profiles.items()}
    return losses.build(loss.name, loss.parameters, topology, matrices, config.decision.profile)


def _corners(named: Named) -> list[Named]:
    """Return it with every combination of the ends of its ranges."""
    ranges = named.ranges
    return [
        named.chosen(dict(zip(ranges, values, strict=True)))
        for values in product(*(one.ends for one in ranges.values()))
    ]


def _on_heads(loss: Named, chosen: tuple[Named, ...]) -> list[Pair]:
    """Return the loss on each head; a method that has a head of its own only on that.

    Parameters of the method that are not its loss's are its head's, as `link` of `cumulative_link`.
    """
    method = losses.method(loss.name)
    if not method.head:
        return [Pair(loss, head, head == Named(name="softmax")) for head in chosen]
    for_loss, for_head = losses.parameters(method), heads.parameters(method.head)
    own: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for name, value in loss.parameters.items():
        if name not in (*for_loss, *for_head):
            raise choice(f"search.losses: {loss.name}", "parameter is named", name, [*for_loss, *for_head])
        (own if name in for_loss else rest)[name] = value
    return [Pair(Named(name=loss.name, **own), Named(name=method.head, **rest), not rest)]
