"""Options that several commands share, each declared once; those that belong together form a dataclass."""
