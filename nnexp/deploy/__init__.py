"""Trained models outside nnexp: as a torch module, and as an ONNX file."""
