"""The floor: the CPU that the kernels alone take for the work of a case.

wire      a connection whose near end counts its CPU
ingest    the floor of envelopes that are sent
requests  the floor of requests for history
speeds    the speeds of this machine, to compare two reports
"""
