"""bytegolf: train the best language model that fits in a byte budget, pack it, prove its score."""

__version__ = "0.1.0"
