"""The .golf file: one self-describing file that holds a model, and who spent which of its bytes.

format.py   the layout; bytes <-> Artifact, every byte under a checksum
header.py   the JSON header, validated value by value
pack.py     weights and roles -> Artifact
ledger.py   bytes by role, the budget, and what would fit
"""
