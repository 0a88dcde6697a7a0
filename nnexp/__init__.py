"""nnexp: does this training choice help on my data, or was it luck?"""

__version__ = "0.1.0"
