"""Heavy modules, imported on first use.

`from nnexp.lazy import torch` costs nothing; the first attribute that is read imports the module.
So configs are read, checked, listed and compared without waiting for torch.
`importlib.util.LazyLoader` would not do: another module's `import torch` triggers it.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

__all__ = ["functional", "torch"]

if TYPE_CHECKING:
    import torch
    from torch.nn import functional
else:

    class _Lazy(ModuleType):
        """Stands for a module until an attribute of it is read."""

        def __getattr__(self, attribute: str) -> Any:
            value = getattr(importlib.import_module(self.__name__), attribute)
            setattr(self, attribute, value)  # the next read is an ordinary one
            return value

    torch = _Lazy("torch")
    functional = _Lazy("torch.nn.functional")
