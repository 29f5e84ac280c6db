"""Encoders that leave: the same network in forms that other programs load without Imprint, with preprocessing and a card.

    forms.py             what forms there are; the short programs that load them
    card.py, curves.py   README.md and curves.svg, from facts alone
    written.py           a writer and a reader for each form
    modeling_imprint.py  goes out with the weights: the network's code, whole in one file
    check.py             whether what was written gives the vectors of the encoder
    export.py            puts these together: a folder that agrees, or none
    command.py           python -m ssl_core export DIR --format onnx -o OUT

Importing the package, forms, card and curves imports no torch.
"""
