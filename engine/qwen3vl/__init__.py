"""Qwen3-VL: a ViT for images of any size, whose features enter a Qwen3 decoder at its input and after its first layers.

The modules in the order of the data: preprocess, vision, text, prompts, model. Facts are those of the public
implementation in transformers.
"""
