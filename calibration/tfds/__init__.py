"""The files that TensorFlow Datasets writes, read without TensorFlow: framing, checksums, examples, feature tables."""
