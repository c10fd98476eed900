"""What an engine loop has done since its start."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Counters:
    """Written by the engine loop's thread, and read by any.

    Attributes:
        submitted: Requests that were taken.
        refused: Requests that were not, by the name of the error.
        done: Requests with a result.
        failed: Requests with an error, other than the following.
        cancelled: Requests that were cancelled.
        late: Requests that exceeded their deadline.
        prompt_tokens: Positions of the prompts of those done, images included.
        generated_tokens: Of those done.
        image_hits: Images that had been encoded before.
        image_misses: Images that were encoded.
        steps: Decode steps.
        batch_sizes: Requests under way in a step -> how many such steps there were.
        longest_gap: Longest time from a decode step to the next one of the same request, in seconds.
    """

    submitted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    done: int = 0
    failed: int = 0
    cancelled: int = 0
    late: int = 0
    prompt_tokens: int = 0
    generated_tokens: int = 0
    image_hits: int = 0
    image_misses: int = 0
    steps: int = 0
    batch_sizes: Counter[int] = field(default_factory=Counter)
    longest_gap: float = 0.0
