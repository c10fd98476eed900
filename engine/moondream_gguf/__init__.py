"""Moondream 2 in GGUF: the single-crop model of spring 2024, as published in pairs of a phi2 and an mmproj file.

It has no region heads, so that it answers questions and describes images, but finds no objects; it is causal over the
image too. Architecture: Phi-1.5 (Li et al. 2023) and SigLIP (Zhai et al. 2023); reference: vikhyat/moondream of 2024.
"""
