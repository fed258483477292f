"""How much memory a run takes: shapes of models, passes of phases, bytes of each, and what fits."""
