"""Tasks: the flip-flop language, files of strings, floors and covariates of reads."""
