"""The methods of the API, a file for each group of names.

waku     waku_*: keys, posting, receiving
wakuext  wakuext_*: history from a mailserver
admin    admin_*: the node and its peers
sync     admin_sync*: the peers whose archives are made equal to ours
net      net_*, web3_* and rpc_*
"""
