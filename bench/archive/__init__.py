"""Measures the cost of the archive, alone and in a served request, beside a plain scan.

`python -m bench.archive` prints tables; all archives are made for the run and deleted after it.
"""
