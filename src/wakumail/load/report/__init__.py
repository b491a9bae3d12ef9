"""The report.

machine  its header: date, machine, speeds, versions, command
tables   the report as Markdown tables, and as JSON
plots    plots as SVG
html     the report as one HTML file
"""
