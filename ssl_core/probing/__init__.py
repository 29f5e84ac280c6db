"""What a finished encoder is worth on labelled pictures: a linear probe on its frozen features, or the whole network finetuned.

data.py       the labelled pictures, to learn from and held out
features.py   their features, taken once and kept in shards
logistic.py   a logistic regression by L-BFGS
loop.py       epochs of SGD or AdamW, with checkpoints
score.py      top-1, top-5, per class, confusion
run.py        puts these together: measure(spec, encoder, out, …) -> result.json
"""
