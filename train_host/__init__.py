"""The workstation side of tonelight: corpora, training, export to TFLite bundles, evaluation and deployment."""
