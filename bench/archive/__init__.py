"""What the archive costs, on its own and behind a served request, beside a plain scan.

`python -m bench.archive` prints tables; all archives are made for the run and deleted after it.
"""
