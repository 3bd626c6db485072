"""Small networks trained from scratch on the raw symbols of a flip-flop string: the yardstick for prompted models.

``models`` the networks, ``train`` the recipe, ``text`` from prompt text to tokens, ``checkpoint`` the files, ``build``
makes those that are shipped. All but ``text`` need ``pip install "ffprompt[reference]"``.
"""
