"""Statistics of rare errors that come in clusters: pure functions over counts.

The cluster is the string. Its reads share a text and a model state, so they fail together. The same string under two
templates or in two repeats is one cluster. Nothing here assumes how strongly they do.

======================  ================================================================================
:mod:`.clusters`        counts a string, merged by string
:mod:`.intervals`       an interval for the error rate, and what no error at all shows
:mod:`.bootstrap`       a second opinion on that interval
:mod:`.score_test`      the test behind these intervals, which hold what it does not reject
:mod:`.paired`          two models on the same strings: difference, interval and p-value
:mod:`.pvalues`         other tests of that: clustered McNemar, sign flips, Holm over several conditions
:mod:`.gate`            pass, regression or inconclusive
:mod:`.sequential`      go on drawing strings until a bound is shown, and may look after every one
:mod:`.power`           how many strings a question needs
:mod:`.association`     does a rate differ between kinds of reads, or change along the string
:mod:`.calibration`     do the probabilities mean what they say
======================  ================================================================================

``docs/methods/statistics.md`` says which method answers which question and how often it is right, as
``benchmarks/coverage.py`` simulates it.
"""
