"""The batch work over many machines, on Ray (https://docs.ray.io), which is imported only where `--ray` is given."""
