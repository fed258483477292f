"""Lightning callbacks, imported as ``swirl_lightning.callbacks``."""

if __name__ != "swirl_lightning.callbacks":
    raise ImportError("import swirl_lightning.callbacks, not the top-level folder: its classes would exist twice")
