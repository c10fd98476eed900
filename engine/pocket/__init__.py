"""`pocket`: a very small Moondream 2, trained by this project on synthetic scenes.

It detects coloured shapes, signs with digits, and simple drawn heads, and nothing in photographs. With it every command
can be tried without a download, and the whole engine is tested on meaningful answers.
scene, draw: the synthetic scenes. tasks: prompts with ground truth. evaluation: scores. training: how the weights were
made.
"""
