"""Average two files of weights: `python -m engine.pocket.training.average ONE OTHER OUT`.

The mean of two runs is often better than either (Wortsman et al. 2022, model soups).
"""

import sys

from safetensors.torch import load_file, save_file


def main() -> None:
    """Write the mean of two files of bfloat16 weights to a third."""
    if len(sys.argv) != 4:
        sys.exit("usage: python -m engine.pocket.training.average ONE OTHER OUT")
    one, other = map(load_file, sys.argv[1:3])
    mean = {name: ((tensor.float() + other[name].float()) / 2).bfloat16() for name, tensor in one.items()}
    save_file(mean, sys.argv[3])


if __name__ == "__main__":
    main()
