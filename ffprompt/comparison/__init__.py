"""Runs beside each other: the same reads of the same strings, answered twice.

===========================  ===========================================================================
:mod:`.conditions`           the reads of a run, condition by condition, and the settings of each
:mod:`.matching`             which conditions of which runs are compared, and what may differ between them
:mod:`.pairing`              the reads that two conditions have in common
:mod:`.prompt_differences`   whether equal settings also showed the model equal prompts
:mod:`.compare`              differences with intervals and tests
:mod:`.gate`                 pass, regression or inconclusive, over all conditions
:mod:`.gate_report`          JSON, JUnit's XML and Markdown
:mod:`.baselines`            which runs a gate compares with
:mod:`.trend`                accuracy over the runs of a results folder
:mod:`.power`                how many strings a question needs, from runs there are
===========================  ===========================================================================
"""
