"""As libgpiod's `gpiod.line`."""

from enum import Enum


class Direction(Enum):
    OUTPUT = 3


class Value(Enum):
    INACTIVE = 0
    ACTIVE = 1
