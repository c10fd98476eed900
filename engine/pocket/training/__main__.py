"""`python -m engine.pocket.training`."""

import argparse
import sys
from pathlib import Path

from engine.devices import pick_device
from engine.pocket.training.trainer import Plan, train


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m engine.pocket.training", description="Train the pocket model.")
    parser.add_argument("--out", type=Path, default=Path("pocket-training"), help="folder of checkpoints and weights")
    parser.add_argument("--steps", type=int, default=11000)
    parser.add_argument("--look-steps", type=int, default=2500, help="of these, how many train vision alone")
    parser.add_argument("--rate", type=float, default=Plan.rate, help="of learning")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    plan = Plan(given.steps, given.look_steps, rate=given.rate)
    try:
        train(plan, given.out, given.seed, pick_device(given.device))
    except KeyboardInterrupt:
        sys.exit(f"stopped: call it again to go on from the last checkpoint in {given.out}")


if __name__ == "__main__":
    main()
