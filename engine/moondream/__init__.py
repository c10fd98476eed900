"""Moondream 2 (2B, 0.5B) and 3: small vision-language models that caption, answer, detect, point and predict gaze.

The modules in the order of the data: preprocess, vision, text (of blocks, with experts in Moondream 3), region,
decoder, flows, model.
"""
