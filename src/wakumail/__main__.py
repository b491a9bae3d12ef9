"""`python -m wakumail`: the same as the `wakumail` command."""

import sys

from wakumail.cli import main

sys.exit(main())
