"""Tasks of Inspect: the model writes its answers, in one reply or turn by turn.

Inspect finds the tasks by an entry point of this package::

    inspect eval ffprompt/flipflop -T template=game -T length=100 --model openai/gpt-5
    ffprompt import logs/*.eval
"""
