"""Options that several commands have, declared once: a dataclass each for those that belong together."""
