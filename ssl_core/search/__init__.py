"""Nearest pictures: an index over the vectors of an embed job, built in flat memory, searched by memory map. Knows no torch.

build.py    vectors (Parquet) -> a folder with the index
run.py      the same as a job: its progress as events, and an end when it is asked for
index.py    opens such a folder and searches it
report.py   near-duplicates and outliers, from the neighbours that the build wrote down
facts.py    index.json: what was indexed, and the checksums of the files
"""
