"""Where sound comes from: a microphone or a recording, as blocks of mono float32 samples at 16 kHz in [-1, 1).

Both kinds of source are read the same way (`Source`):

    with MicrophoneSource() as source:
        while (block := source.read(timeout_s=2)) is not None:
            ...

`read` returns None at the end of a recording. A microphone has no end: when it stops delivering, `read` raises
`SourceError`, and the caller closes it and opens it anew until it is back.
"""

from edge.sources.blocks import SAMPLE_RATE_HZ, Block, Source
from edge.sources.microphone import InputDevice, MicrophoneSource, input_devices
from edge.sources.recording import FileSource

__all__ = ["SAMPLE_RATE_HZ", "Block", "FileSource", "InputDevice", "MicrophoneSource", "Source", "input_devices"]
