"""Command line of the training: `python -m engine.pocket.training`."""

import argparse
import sys
from pathlib import Path

from engine.devices import pick_device
from engine.pocket.training.trainer import Plan, train


def main() -> None:
    """Train pocket with the options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m engine.pocket.training", description="Train the pocket model.")
    parser.add_argument("--out", type=Path, default=Path("pocket-training"), help="folder of checkpoints and weights")
    parser.add_argument("--steps", type=int, default=11000, help="without those of captions")
    parser.add_argument(
        "--vision-steps", type=int, default=2500, help="how many of these train only the vision encoder"
    )
    parser.add_argument(
        "--caption-steps", type=int, default=11000, help="further steps that train only the text model, for captions"
    )
    parser.add_argument("--caption-rate", type=float, default=Plan.caption_rate, help="peak learning rate of these")
    parser.add_argument("--weights", type=Path, help="train only for captions, from these weights")
    parser.add_argument("--rate", type=float, default=Plan.rate, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    plan = Plan(
        args.steps,
        args.vision_steps,
        rate=args.rate,
        caption_steps=args.caption_steps,
        caption_rate=args.caption_rate,
    )
    try:
        train(plan, args.out, args.seed, pick_device(args.device), weights=args.weights)
    except KeyboardInterrupt:
        sys.exit(f"interrupted: run again to resume from the last checkpoint in {args.out}")


if __name__ == "__main__":
    main()
