"""Small networks trained from scratch on the strings of a task: the yardstick for prompted models.

``vocabulary`` turns strings into tokens and ``tokens`` reads the flip-flop's raw symbols. ``networks`` holds the
networks, ``training`` the recipe, ``checkpoints`` the files and those that are shipped, ``export`` what other libraries
load. All but the first two need ``pip install "ffprompt[reference]"``.
"""
