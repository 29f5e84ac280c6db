"""Encoders that come from elsewhere: a file of weights becomes an encoder of the service, and nothing in the file is ever run.

checkpoint.py   what torch.save wrote, read by a reader that can make tensors and plain values only
reference.py    what a checkpoint of the reference implementation says about itself
run.py          puts these together: from a file to the folder of an encoder
"""
