"""The part of the configuration that says what mistakes cost."""

from __future__ import annotations

from typing import Annotated, Literal, Self, get_args

from pydantic import Field, ValidationInfo, field_validator, model_validator

from pipeline.config.fields import Closed, Name, Share
from pipeline.errors import nearest
from pipeline.topology import Scale

BuiltInProfile = Literal["zero_one", "absolute", "quadratic", "asymmetric", "cyclic"]
IntervalKind = Literal["central", "greedy"]
Cost = Annotated[float, Field(ge=0)]


class Profile(Closed):
    """Costs of your own, under a name of your own."""

    actions: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        default=(), description="What can be decided; need not be labels. Default: the labels."
    )
    cost: tuple[tuple[Cost, ...], ...] = Field(
        min_length=1,
        description="cost[true label][action]: a row for each label in their order, in it a cost for each "
        "action.",
    )
    abstain: Cost | None = Field(
        default=None,
        description="Cost of one more action, 'abstain', whatever the true label; left out, there is none.",
    )

    @model_validator(mode="after")
    def _rectangular(self) -> Self:
        if len(set(self.actions)) != len(self.actions):
            raise ValueError(f"an action is named twice: {list(self.actions)}")
        width = len(self.actions or self.cost[0])
        for true_label, row in enumerate(self.cost):
            if len(row) != width:
                raise ValueError(
                    f"cost[{true_label}] must have {width} entries, one for each action, got {list(row)}"
                )
        if width + (self.abstain is not None) < 2:
            raise ValueError(f"there must be at least two actions to decide between, cost has {width}")
        return self


class Decision(Closed):
    """What mistakes cost; decides which trial is best, and is the artifact's default."""

    profiles: dict[Name, Profile] = Field(
        default={}, description="Profiles of your own by name, each a table [decision.profiles.NAME]."
    )
    profile: str = Field(
        default="absolute",
        description="The cost profile that selects and that serves by default: 'zero_one', 'absolute', "
        "'quadratic', 'asymmetric', on a ring 'cyclic', or one of your own.",
    )
    under: Annotated[float, Field(ge=0)] = Field(
        default=1.0, description="Of 'asymmetric': cost for each step of deciding too low."
    )
    over: Annotated[float, Field(ge=0)] = Field(
        default=1.0, description="Of 'asymmetric': cost for each step of deciding too high."
    )
    scale: Scale = Field(
        default="steps", description="Distances in steps of the order, or in label values."
    )
    coverage: Share = Field(
        default=0.9, description="Share of rows whose label the interval holds, where a request names none."
    )
    interval: IntervalKind = Field(
        default="central",
        description="How an interval grows: 'central' leaves out as much on both sides, 'greedy' takes the "
        "more probable neighbour.",
    )

    @field_validator("profiles")
    @classmethod
    def _new_names(cls, profiles: dict[str, Profile]) -> dict[str, Profile]:
        for name in profiles:
            if name in get_args(BuiltInProfile):
                raise ValueError(f"{name!r} is built in; a profile of your own needs another name")
        return profiles

    @field_validator("profile")
    @classmethod
    def _known(cls, profile: str, others: ValidationInfo) -> str:
        names = [*get_args(BuiltInProfile), *others.data.get("profiles", ())]
        if profile not in names:
            allowed = ", ".join(names)
            raise ValueError(
                f"no profile is named {profile!r}{nearest(profile, names)} (allowed: {allowed})"
            )
        return profile

    @model_validator(mode="after")
    def _some_mistake_costs(self) -> Self:
        if self.under == self.over == 0:
            raise ValueError("under and over are both 0: every decision would cost nothing")
        return self
