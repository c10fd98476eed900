"""Names of models as clients write them."""

import re
from collections.abc import Sequence

MOONDREAM_DEFAULT = "moondream3-preview"  # what Moondream's client sends for a chat where its user named no model


def served_name(given: str | None, names: Sequence[str]) -> tuple[str, str | None]:
    """Return the model and the LoRA adapter that a name stands for.

    Args:
        given: A served name, also after "moondream/" (as in Moondream's cloud) or before ":latest" (as in Ollama), and
            also as "base/adapter@step"; empty or None: the first model.
        names: Those that are served.

    Returns:
        The name and the adapter. A name that is not served is returned as it is.
    """
    if not given or (given == MOONDREAM_DEFAULT and given not in names):
        return names[0], None
    for plain in (given, given.removeprefix("moondream/"), given.removesuffix(":latest")):
        if plain in names:
            return plain, None
        base, _, adapter = plain.rpartition("/")
        # An adapter is a name and a step, never a path: what a client names is not looked for all over the disk.
        if base in names and (match := re.fullmatch(r"(\w[\w-]*)(?:@(\w[\w-]*))?", adapter, re.ASCII)):
            return base, "/".join(part for part in match.groups() if part)
    return given, None
