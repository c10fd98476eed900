"""CenterFace: Joint Face Detection and Alignment Using Face as Point (Xu et al. 2019, arXiv 1911.03599).

prompts  the words it serves        network  the ONNX file, run by OpenCV
resize   picture -> network input   decode   the network's maps -> faces        model  all of it, as a Model
"""
