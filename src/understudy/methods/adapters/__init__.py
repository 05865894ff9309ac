"""Methods that make text classifiers withstand changed words: adapters on a frozen language model."""
