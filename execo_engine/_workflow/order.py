"""The order in which a campaign runs its combinations.  Pure."""

from __future__ import annotations

import random
from collections.abc import Mapping

from ..results import combination_name
from ..sweep import ParameterSpace
from .plan import size_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from .replay import Earlier

MAX_TO_SORT = 10_000_000
"""Combinations of a plan: more cannot be replayed."""


def in_order(parameters: Any, shuffle_seed: int | None, earlier: Earlier | None) -> Sequence[Any]:
    """The combinations, as they are to be run.

    :param shuffle_seed: None: as they come.
    :param earlier: its order wins.
    """
    space: Any = ParameterSpace(parameters) if isinstance(parameters, Mapping) else parameters
    if not isinstance(space, ParameterSpace):
        space = list(space)
        if shuffle_seed is not None:
            space.sort(key=combination_name)        # a set has another order in each interpreter
            random.Random(shuffle_seed).shuffle(space)
    elif shuffle_seed is not None:
        space = space.shuffled(shuffle_seed)
    if earlier is not None:
        if size_of(space) > MAX_TO_SORT:
            raise ValueError(f"--replay: {size_of(space)} combinations are too many to be put into the order of another run")
        space = earlier.sorted(space)
    plan: Sequence[Any] = space
    return plan
