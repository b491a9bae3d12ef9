"""What `wakumail serve` runs.

config      the settings
assembly    the parts of a server, made from settings
endpoints   what is offered over HTTP
monitoring  metrics and health
workers     several processes that are one server
heap        how the allocator is told to behave
file_limit  how many files may be open
logs        log lines
"""
