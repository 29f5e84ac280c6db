"""From prepared pictures to vectors, as fast as the hardware allows: backends of a frozen encoder, and what is checked of them.

    network.py    what is served, in torch: uint8 in, a vector and a grid of local features out
    openvino.py   the same, compiled for CPUs
    on_torch.py   the same in torch itself: on GPUs, and on CPUs where nothing faster passed its check
    check.py      whether a backend gives the vectors that fp32 torch gives
    projection.py principal components, for shorter vectors

Importing the package imports neither torch nor OpenVINO.
"""
