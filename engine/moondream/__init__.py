"""Moondream 2 (2B, 0.5B) and 3: small vision-language models that caption, answer, detect, point and follow gazes.

The parts in the order of the data: crops, vision, text (made of blocks, with moe in the third model), region, flows,
model.
"""
