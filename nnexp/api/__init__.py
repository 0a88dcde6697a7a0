"""What `import nnexp` gives: define, compile, fit, evaluate, predict and compare from Python.

All of it goes through what the command line uses, and leaves the same run directories.
"""
