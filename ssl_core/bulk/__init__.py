"""Bulk embedding: a folder of any size to Parquet files, in little memory, resumable.

plan.py       which pictures, in which shards: decided once, kept on the disk
pictures.py   files to pixels, ahead of the encoder
shards.py     vectors to Parquet files
run.py        puts these together
"""
