"""Two archives that agree: what each lacks is found, then fetched.

items  the sorted items of one side, as reconciliation asks for them
"""
