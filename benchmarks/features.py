"""What features cost beside those of the libraries one would take instead.

    python -m benchmarks.features [--quick]

Each library computes what it has of our descriptors, with our settings, on a clip of the demo recording of the length
that is usual, and on a long one. The same is asked of ours: these descriptors of every frame of the whole clip, no
gate, no offset removed, no level followed, by an extractor that is made once, as it is used. Beside it stands what the
board does, which has more to do: offset and level as well, and groups of a chunk instead of the whole. `pip install
python_speech_features librosa kaldi-native-fbank opensmile` for all of the rows; none of them is needed by tonelight.
openSMILE computes other and more descriptors (eGeMAPS, 25 of them), and its licence allows no commercial product: it is
measured, not used.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import msgspec
import numpy as np

from benchmarks.common import begin, per_second, table, times
from edge.bench import blocks, demo, interleaved
from edge.bundle import default_bundle_path, load_bundle
from edge.features import AT_ONCE, Column, FeatureConfig, FeatureExtractor
from edge.framing import Framer, OffsetRemover
from edge.frontend import FrontEnd
from edge.sources import SAMPLE_RATE_HZ

BLOCKS_MS = (5, 10, 20, 50, 100, 500, 1000, 5000)
HOPS_MS = (5, 10, 20)
CLIP_S, LONG_S = 3, 60


def main() -> int:
    """Print the tables."""
    args = begin("features", __doc__)
    n_rounds = 5 if args.quick else 21
    samples = demo()[: (8 if args.quick else LONG_S) * SAMPLE_RATE_HZ]
    seconds = len(samples) / SAMPLE_RATE_HZ
    manifest = load_bundle(default_bundle_path()).manifest
    chunk = manifest.model.chunk_frames

    def compared(clip: np.ndarray) -> tuple[list[list[str]], str]:
        """The rows of the table, and what the transform alone takes of it."""

        def ours(*columns: Column) -> tuple[Callable[[], None], Callable[[], None]]:
            config = msgspec.structs.replace(manifest.features, columns=columns)
            plain = FeatureExtractor(msgspec.structs.replace(config, level_memory_s=0))
            return lambda: _extract(plain, clip), lambda: _extract_as_on_board(config, clip, chunk)

        pairs = {
            "MFCC + energy": (ours("mfcc", "rms"), {"python_speech_features": _psf(clip)}),
            "MFCC": (ours("mfcc"), {"kaldi-native-fbank (C++)": _kaldi(clip)}),
            "MFCC + RMS + ZCR": (ours("mfcc", "rms", "zcr"), {"librosa": _librosa(clip, pitch=False)}),
            "MFCC + RMS + ZCR + pitch": (
                ours(*manifest.features.columns),
                {"librosa, with yin": _librosa(clip, pitch=True), "openSMILE eGeMAPS (C++)": _opensmile(clip)},
            ),
        }
        clip_s = len(clip) / SAMPLE_RATE_HZ
        rows, share = [], ""
        for what, ((mine, board), peers) in pairs.items():
            there = {name: peer for name, peer in peers.items() if peer is not None}
            alone = {"transform": _transform(manifest.features, clip)} if "librosa" in there else {}
            taken = interleaved({"tonelight": mine, "board": board, **there, **alone}, n_rounds)
            if alone:
                share = f"{times(taken, 'transform', 'tonelight'):.0%} of tonelight's time and "
                share += f"{times(taken, 'transform', 'librosa'):.0%} of librosa's ({clip_s:.0f} s)"
            for name in peers:
                head = [what, f"{clip_s:.0f} s", name]
                if name not in there:
                    rows.append([*head, "not installed", "", "", ""])
                    continue
                cost = per_second(taken["tonelight"], clip_s), per_second(taken[name], clip_s)
                ratios = [f"{times(taken, name, against):.1f}x" for against in ("tonelight", "board")]
                rows.append([*head, *cost, *ratios])
        return rows, share

    (short_rows, of_short), (long_rows, of_long) = compared(samples[: CLIP_S * SAMPLE_RATE_HZ]), compared(samples)
    print("### Features of a whole clip against other libraries, CPU per second of audio\n")
    head = ["descriptors", "clip", "peer", "tonelight", "peer's cost", "peer / tonelight", "peer / as on the board"]
    print(table(head, short_rows + long_rows))
    if of_short:
        print(
            f"Of MFCC + RMS + ZCR numpy's Fourier transform alone takes {of_short}, {of_long}: that much no order of "
            "the rest can take away. Tried, and not quicker: two frames as one complex transform, and neighbouring "
            "samples as one of half the length, once their spectra are taken apart again; rows of other widths, or "
            "transposed; groups of 32 to 2500 frames, and smaller ones for the transform alone; a window for each row "
            "of the group, so that numpy multiplies without its buffer. A smaller buffer of numpy's (`setbufsize`) "
            "helps a whole clip, but not the board's groups. What is left to try is a compiled kernel that windows, "
            "transforms and squares a frame without leaving the processor's first cache.\n"
        )

    def front_end(hop_ms: float, block_ms: float | None) -> Callable[[], None]:
        end = FrontEnd(msgspec.structs.replace(manifest.features, hop_ms=hop_ms), manifest.gate, chunk)
        return lambda: _stream(end, samples, block_ms)

    whole = "whole clip"
    by_block = {f"{ms} ms": front_end(10, ms) for ms in BLOCKS_MS}
    taken = interleaved({whole: front_end(10, None), **by_block}, n_rounds)
    print("### Front end (framing, gate, features of speech), streamed\n")
    print(
        table(
            ["blocks of", "CPU per second of audio", "against the whole clip at once"],
            [[name, per_second(all_s, seconds), f"{times(taken, name, whole):.2f}x"] for name, all_s in taken.items()],
        )
    )
    taken = interleaved({f"{ms} ms": front_end(ms, 20) for ms in HOPS_MS}, n_rounds)
    print("The same in blocks of 20 ms, with a frame every\n")
    print(
        table(
            ["hop", "CPU per second of audio", "against 10 ms"],
            [
                [name, per_second(all_s, seconds), f"{times(taken, name, '10 ms'):.2f}x"]
                for name, all_s in taken.items()
            ],
        )
    )
    return 0


def _extract(extractor: FeatureExtractor, samples: np.ndarray) -> None:
    config = extractor.config
    extractor.compute(Framer(config.window_length, config.hop_length).push(samples))


def _transform(config: FeatureConfig, samples: np.ndarray) -> Callable[[], None]:
    """Nothing but the spectra of as many frames, in the same groups."""
    n = 1 + (len(samples) - config.window_length) // config.hop_length
    group = np.zeros((min(n, AT_ONCE), config.n_fft), np.float32)
    group[:, : config.window_length] = Framer(config.window_length, config.hop_length).push(samples)[: len(group)]

    def compute() -> None:
        for start in range(0, n, AT_ONCE):
            np.fft.rfft(group[: n - start], norm="forward")

    return compute


def _extract_as_on_board(config: FeatureConfig, samples: np.ndarray, chunk: int) -> None:
    extractor = FeatureExtractor(config)
    frames, _ = OffsetRemover(config.hop_ms).push(Framer(config.window_length, config.hop_length).push(samples))
    for start in range(0, len(frames), chunk):
        extractor.compute(frames[start : start + chunk])


def _stream(end: FrontEnd, samples: np.ndarray, block_ms: float | None) -> None:
    end.reset()
    for block in [samples] if block_ms is None else blocks(samples, block_ms):
        end.push(block)
    end.flush()


def _psf(samples: np.ndarray) -> Callable[[], object] | None:
    try:
        from python_speech_features import mfcc
    except ImportError:
        return None
    scaled = samples * 32768
    return lambda: mfcc(
        scaled, SAMPLE_RATE_HZ, 0.025, 0.01, 40, 40, 512, 60, 7600, appendEnergy=True, winfunc=np.hanning
    )


def _kaldi(samples: np.ndarray) -> Callable[[], object] | None:
    try:
        import kaldi_native_fbank
    except ImportError:
        return None
    options = kaldi_native_fbank.MfccOptions()
    options.frame_opts.dither = 0
    options.mel_opts.num_bins = options.num_ceps = 40
    options.mel_opts.low_freq, options.mel_opts.high_freq = 60, 7600

    def compute() -> object:
        mfcc = kaldi_native_fbank.OnlineMfcc(options)
        mfcc.accept_waveform(SAMPLE_RATE_HZ, samples)
        mfcc.input_finished()
        return [mfcc.get_frame(i) for i in range(mfcc.num_frames_ready)]

    return compute


def _librosa(samples: np.ndarray, pitch: bool) -> Callable[[], object] | None:
    try:
        import librosa
    except ImportError:
        return None
    hop, window, n_fft = 160, 400, 512

    def compute() -> object:
        return (
            librosa.feature.mfcc(
                y=samples, sr=SAMPLE_RATE_HZ, n_mfcc=40, n_mels=40, n_fft=n_fft, win_length=window, hop_length=hop,
                fmin=60, fmax=7600, center=False,
            ),
            librosa.feature.rms(y=samples, frame_length=window, hop_length=hop, center=False),
            librosa.feature.zero_crossing_rate(samples, frame_length=window, hop_length=hop, center=False),
            librosa.yin(samples, fmin=78, fmax=420, sr=SAMPLE_RATE_HZ, frame_length=n_fft, hop_length=hop, center=False)
            if pitch
            else None,
        )  # fmt: skip

    return compute


def _opensmile(samples: np.ndarray) -> Callable[[], object] | None:
    try:
        import opensmile
    except ImportError:
        return None
    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.LowLevelDescriptors)
    return lambda: smile.process_signal(samples, SAMPLE_RATE_HZ)


if __name__ == "__main__":
    sys.exit(main())
