"""History over HTTP, as the REST API of the network's successor gives it, read only.

store_query     the parameters of a request
store_cursor    the place at which the next page begins
store_reader    answers, read from the archive
rest_endpoint   GET /store/v3/messages
"""
