"""A conversation with a model on a terminal, or line by line through a pipe."""
