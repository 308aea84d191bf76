"""`make gpu-check`: whether and how fast this machine's NVIDIA GPU runs our policies, beside PyTorch and a floor."""
