"""CenterFace: Joint Face Detection and Alignment Using Face as Point (Xu et al. 2019, arXiv 1911.03599).

abilities  the prompts it supports     network  the ONNX network, run by OpenCV
resize     image -> network input      decode   output maps -> faces      model  all of these, as a Model
"""
