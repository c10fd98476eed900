"""Metrics of the evaluations: pure functions of answers and ground truth, without I/O."""
