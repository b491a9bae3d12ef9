"""wakumail: a Waku v1 mailserver. See README.md; the public names are re-exported here."""
