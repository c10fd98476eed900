"""LFM2-VL and LFM2.5-VL (450M, 1.6B): small, fast vision-language models with a choice of image tokens.

A SigLIP2 NaFlex vision encoder (Tschannen et al. 2025) at native resolution, in tiles if the image is large, and the
LFM2 text model (Liquid AI 2025): short convolutions, with grouped-query attention in some layers. The modules in the
order of the data: preprocess, vision (with the projector), text, model.
"""
