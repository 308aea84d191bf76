"""The GPU: memory, one stream, the steps between graphs, and a program as one CUDA graph."""
