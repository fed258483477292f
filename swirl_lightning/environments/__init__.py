"""Where transitions come from: a folder for each world, and beside them what worlds have in common.

A world's folder holds its data module (``datamodule``), its collector (``collect``), the formats that others published,
the grammar of its states and actions, and the metrics that are its own (``metrics``). No world knows another.
"""
