"""Random changes of the training examples, one file a kind."""

from nnexp.components.augmentations import base, geometric, photometric, warp
from nnexp.components.augmentations.base import Augmentation

__all__ = ["Augmentation", "base", "geometric", "photometric", "warp"]
