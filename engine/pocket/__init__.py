"""`pocket`: a very small Moondream of this project's own, trained on scenes that it draws itself.

It knows coloured shapes, signs with digits, and simple drawn heads, and nothing of photographs. It is here so that
every command can be tried with nothing downloaded, and so that the whole engine is tested on answers that mean
something.
scene, draw: the world. lessons: what is asked of it and the right answers. train: how the weights were made.
"""
