"""How Qwen3-VL is asked: ChatML, and JSON with coordinates in 0..1000 for objects.

The instructions follow Qwen's cookbook on 2D grounding and the prompts of its evaluation (Qwen3-VL Technical Report,
arXiv:2511.21631, appendix B), with an example of the form, and with what to answer if there is nothing.
"""

from dataclasses import replace

from engine.contract import Box, Generation, Point
from engine.generation.chat_template import ChatTemplate
from engine.generation.prompt_style import ObjectQuestion, PromptStyle

MIN_GROUNDING_TOKENS = 1024  # below, boxes and points become poor

STYLE = PromptStyle(
    ChatTemplate("chatml", "Qwen3-VL", {"image_token": "<|vision_start|><|image_pad|><|vision_end|>"}),
    "<|image_pad|>",
    ("<|im_end|>", "<|endoftext|>"),
    Generation(),
    cpu_longest_side=1024,  # an answer to a large photo would take minutes
    detect=ObjectQuestion(
        Box,
        'Locate every instance that belongs to the following categories: "{prompt}". Report bbox coordinates in JSON '
        'format like this: [{"bbox_2d": [x1, y1, x2, y2], "label": "label"}]. Answer [] if there is none.',
        "bbox_2d",
        answer_start="```json\n",
        min_image_tokens=MIN_GROUNDING_TOKENS,
    ),
    point=ObjectQuestion(
        Point,
        'Locate every instance that belongs to the following categories: "{prompt}". Output the point coordinates in '
        'JSON format. For example: [{"point_2d": [x, y], "label": "point_1"}]. Answer [] if there is none.',
        "point_2d",
        answer_start="```json\n",
        min_image_tokens=MIN_GROUNDING_TOKENS,
    ),
)


def prompt_style(defaults: Generation) -> PromptStyle:
    """Return the style of a checkpoint with these default sampling parameters."""
    return replace(STYLE, defaults=defaults)
