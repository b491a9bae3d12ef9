"""What is measured.

cases        the scenarios of one kind of client
mixed        the scenarios of small requests beside other clients
crowd        thousands of peers
soak         a long run
goals        the cases of `--targets`, with the numbers to reach
case_choice  the cases that flags choose
"""
