"""How it is told.

machine  when, where and how it was measured
tables   for a terminal, and as JSON
plots    as SVG
html     as one HTML file
"""
