"""Mutation fuzzing of everything compiled that reads what others wrote (make fuzz).

targets   what is fuzzed: seeds, and what is done with a mutated one
mutate    mutations of bytes
__main__  builds with sanitizers, runs all targets for a time, says how to repeat a crash
"""
