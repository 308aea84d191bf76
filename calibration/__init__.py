"""What is measured once for this robot and this model: datasets, ranges, accuracy, cameras, joints, latency."""
