"""mdtool sees for you: say in plain words what to find in pictures and videos, and hide it, list it, judge it."""

__version__ = "0.1.0"
