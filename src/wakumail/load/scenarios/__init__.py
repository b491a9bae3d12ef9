"""What is measured.

cases        the scenarios of one kind of client
mixed        those of two kinds
crowd        thousands of peers
soak         a long run
case_choice  the cases of a run: those that flags choose, or those with goals
"""
