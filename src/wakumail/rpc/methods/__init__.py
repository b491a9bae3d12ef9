"""The methods of the API, a file for each group of names.

waku     waku_*: keys, posting, receiving
wakuext  wakuext_*: history from a mailserver
admin    admin_*: the node and its peers
net      net_*, web3_* and rpc_*
"""
