"""Whole nets: trunks, the FCN built on them, and what describes or combines nets."""
