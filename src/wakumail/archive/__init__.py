"""Envelopes on disk.

archive     the LMDB file, its rows and its queries (compiled)
results     the shapes of its answers
store       one thread that writes and a few that read
datadir     the files of a data directory
dump        dumps: envelope RLPs, one after the other
statusgo    what a status-go mailserver stored
page_check  the pages of the file, checked without LMDB
"""
