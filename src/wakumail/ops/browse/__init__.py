"""An archive in a browser: days, topics, envelopes. Pages without a script, and one that opens.

archive_reading  days, topics and envelopes, read for a page
archive_pages    the pages
browse_site      the pages on a loopback address
style            their style sheet
open             their script, which opens messages in the browser
"""
