"""One training to be done. Nothing here needs Keras: trials are drawn where none is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline.config import Config, Model, Named
from pipeline.config.search import shown


@dataclass(frozen=True)
class Pair:
    """A loss on a head, maybe with ranges of their parameters.

    Attributes:
        loss: By name.
        head: By name.
        usual: Whether the head needs no mention: softmax, or the one that the loss belongs to.
    """

    loss: Named
    head: Named
    usual: bool = True

    def __str__(self) -> str:
        return str(self.loss) if self.usual else f"{self.loss} on {self.head}"


@dataclass(frozen=True)
class Trial:
    """One training to be done.

    Attributes:
        number: From 0, in the order in which trials begin.
        pair: Its loss and head, with every parameter chosen.
        seed: Of all that is random in it.
        settings: What else was chosen: keys of `[model]` and `[search]` with their values.
    """

    number: int
    pair: Pair
    seed: int
    settings: tuple[tuple[str, Any], ...] = ()

    @property
    def loss(self) -> Named:
        """The loss by name."""
        return self.pair.loss

    @property
    def head(self) -> Named:
        """The head by name."""
        return self.pair.head

    @property
    def title(self) -> str:
        """Short and readable: `expected_value(lam=0.1) on cumulative, dropout=0.2, seed 0`."""
        chosen = "".join(f", {key}={shown(value)}" for key, value in self.settings)
        return f"{self.pair}{chosen}, seed {self.seed}"

    def applied(self, config: Config) -> Config:
        """Return a config with what was chosen in its place."""
        changed: dict[str, dict[str, Any]] = {"model": {}, "search": {}}
        for key, value in self.settings:
            changed["model" if key in Model.model_fields else "search"][key] = value
        sections = {
            name: getattr(config, name).__class__.model_validate({**dict(getattr(config, name)), **keys})
            for name, keys in changed.items()
            if keys
        }
        return config.model_copy(update=sections)
