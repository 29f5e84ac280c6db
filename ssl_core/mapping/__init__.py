"""A map of a data set: its embeddings in two dimensions, their clusters, and what stands apart. Knows no torch.

neighbours.py   the nearest others of every picture, by the graph that search uses
layout.py       principal components, then UMAP: where a picture lies
clusters.py     HDBSCAN on the map: what belongs together
table.py        the Arrow file that all of it is stored in
run.py          puts these together as a job: progress, an end when it is asked for
"""
