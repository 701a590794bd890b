"""The device side of tonelight: from a microphone to a coloured light, with nothing but numpy and a TFLite runtime.

Reading order: `sources` -> `ring` -> `framing` -> `gate` -> `features` -> `classifier` -> `smoothing`, composed by
`pipeline`, wired to the outside by `daemon`. See docs/architecture.md.
"""

__version__ = "0.1.0"
