"""Features against librosa, python_speech_features and scipy under our definitions, and on sounds of known answer."""

import librosa
import msgspec
import numpy as np
import pytest
import scipy.fft
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from python_speech_features import delta, sigproc
from signals import FORMANTS_HZ, RATE_HZ, harmonics, noise, phrase, pieces, talk, tone

from edge import features
from edge.features import PITCH_RANGE_HZ, DeltaStage, FeatureConfig, FeatureExtractor, deltas
from edge.framing import Framer

CONFIG = FeatureConfig(
    sample_rate_hz=RATE_HZ,
    window_ms=25,
    hop_ms=10,
    n_mels=40,
    f_min_hz=60,
    f_max_hz=7600,
    n_mfcc=13,
    columns=("mfcc", "log_mel", "chroma", "rms", "zcr", "pitch"),
    level_memory_s=0,
    floor_db=-90,
    noise_reduction_db=0,
)
LEVELLED = msgspec.structs.replace(CONFIG, level_memory_s=10, floor_db=-50)
FLOOR = 10 ** (CONFIG.floor_db / 10)


def frames_of(samples: np.ndarray) -> np.ndarray:
    return Framer(CONFIG.window_length, CONFIG.hop_length).push(samples)


def compute(samples: np.ndarray, config: FeatureConfig = CONFIG) -> dict[str, np.ndarray]:
    rows = FeatureExtractor(config).compute(frames_of(samples))
    return {name: rows[:, where] for name, where in config.slices.items()}


@pytest.fixture(scope="module")
def voice() -> np.ndarray:
    return phrase(120, 180, 1.2) + noise(1.2, -60)


# Oracles --------------------------------------------------------------------------------------------------------------


def scaled_mel_power(voice: np.ndarray) -> np.ndarray:
    """Mel powers by librosa, `(n_frames, n_mels)`, brought to our unit: by Parseval, that of the mean square."""
    # librosa puts the window in the middle of n_fft samples; ours begins with the frame
    margin = (CONFIG.n_fft - CONFIG.window_length) // 2
    power = librosa.feature.melspectrogram(
        y=np.pad(voice, margin),
        sr=RATE_HZ,
        n_fft=CONFIG.n_fft,
        win_length=CONFIG.window_length,
        hop_length=CONFIG.hop_length,
        window="hann",
        center=False,
        power=2.0,
        n_mels=CONFIG.n_mels,
        fmin=CONFIG.f_min_hz,
        fmax=CONFIG.f_max_hz,
        htk=True,
        norm=None,
    )
    window = librosa.filters.get_window("hann", CONFIG.window_length)
    return power.T * 2 / (CONFIG.n_fft * np.sum(window**2))


def test_mel_filterbank_is_librosa_s():
    for n_mels, f_min_hz, f_max_hz in ((40, 60, 7600), (26, 0, 8000), (64, 100, 4000)):
        ours = features.mel_filterbank(n_mels, 1024, RATE_HZ, f_min_hz, f_max_hz)
        theirs = librosa.filters.mel(
            sr=RATE_HZ, n_fft=1024, n_mels=n_mels, fmin=f_min_hz, fmax=f_max_hz, htk=True, norm=None
        )
        np.testing.assert_allclose(ours, theirs.T, atol=1e-5)


def test_log_mel_is_librosa_s(voice):
    expected = np.log(scaled_mel_power(voice) + FLOOR)
    np.testing.assert_allclose(compute(voice)["log_mel"], expected, atol=1e-3)


def test_mfcc_is_librosa_s(voice):
    log_mel = np.log(scaled_mel_power(voice) + FLOOR)
    expected = librosa.feature.mfcc(S=log_mel.T, n_mfcc=CONFIG.n_mfcc, dct_type=2, norm="ortho", lifter=0).T
    np.testing.assert_allclose(compute(voice)["mfcc"], expected, atol=2e-3)


def test_mfcc_is_that_of_python_speech_features(voice):
    frames = sigproc.framesig(voice, CONFIG.window_length, CONFIG.hop_length, winfunc=features.hann)
    frames = frames[: len(frames_of(voice))]  # the others are filled up with zeros
    power = sigproc.powspec(frames, CONFIG.n_fft) * 2 / np.sum(features.hann(CONFIG.window_length) ** 2.0)
    bank = features.mel_filterbank(CONFIG.n_mels, CONFIG.n_fft, RATE_HZ, CONFIG.f_min_hz, CONFIG.f_max_hz)
    log_mel = np.log(power @ bank + FLOOR)
    expected = scipy.fft.dct(log_mel, type=2, axis=1, norm="ortho")[:, : CONFIG.n_mfcc]
    np.testing.assert_allclose(compute(voice)["mfcc"], expected, atol=2e-3)


def test_dct_is_scipy_s():
    rows = np.random.default_rng(0).standard_normal((5, 40)).astype(np.float32)
    expected = scipy.fft.dct(rows, type=2, norm="ortho")
    np.testing.assert_allclose(rows @ features.dct_matrix(40, 40), expected, atol=1e-5)
    np.testing.assert_allclose(rows @ features.dct_matrix(40, 13), expected[:, :13], atol=1e-5)


def test_hann_is_periodic():
    np.testing.assert_allclose(features.hann(4), [0, 0.5, 1, 0.5], atol=1e-7)
    np.testing.assert_allclose(features.hann(400), scipy.signal.get_window("hann", 400, fftbins=True), atol=1e-7)


def test_rms_is_librosa_s(voice):
    expected = librosa.feature.rms(
        y=voice, frame_length=CONFIG.window_length, hop_length=CONFIG.hop_length, center=False
    )[0]
    np.testing.assert_allclose(features.rms(frames_of(voice)), expected, rtol=1e-5)
    np.testing.assert_allclose(compute(voice)["rms"][:, 0], np.log(expected**2 + FLOOR), atol=1e-4)


def test_zcr_is_librosa_s(voice):
    frames = frames_of(voice)
    centred = frames - frames.mean(axis=1, keepdims=True)
    # theirs is a share of the samples, ours of the steps between them
    crossings = [
        librosa.feature.zero_crossing_rate(frame, frame_length=400, hop_length=400, center=False, threshold=0)[0, 0]
        * 400
        for frame in centred
    ]
    np.testing.assert_allclose(features.zcr(frames) * 399, crossings, atol=1e-3)


def test_deltas_are_those_of_python_speech_features():
    for n in (1, 2, 3, 5, 40):
        sequence = np.random.default_rng(n).standard_normal((n, 3)).astype(np.float32)
        np.testing.assert_allclose(deltas(sequence), delta(sequence, 2), atol=1e-6)


# Readable -------------------------------------------------------------------------------------------------------------


def test_zcr_readable():
    frames = np.array([[1, -1, 1, -1, 1], [1, 1, 1, -1, -1], [0, 0, 0, 0, 0], [5, 4, 5, 4, 5]], np.float32)
    # an offset hides no crossing
    assert features.zcr(frames).tolist() == [1, 0.25, 0, 1]


def test_zcr_of_a_tone():
    assert compute(tone(1000, 0.2))["zcr"].ravel() == pytest.approx(2 * 1000 / RATE_HZ, abs=0.003)


def test_deltas_readable():
    ramp = np.arange(6, dtype=np.float32)[:, None] * 3
    assert deltas(ramp)[2:4, 0].tolist() == [3, 3]
    assert deltas(np.full((4, 1), 7, np.float32)).tolist() == [[0]] * 4
    assert deltas(np.zeros((0, 2), np.float32)).shape == (0, 2)


def test_silence_gives_the_floor():
    found = compute(np.zeros(4000, np.float32), LEVELLED)
    floor = np.float32(np.log(1e-5))
    assert found["log_mel"] == pytest.approx(floor)
    assert found["rms"] == pytest.approx(floor)
    assert found["mfcc"][:, 0] == pytest.approx(floor * np.sqrt(40), rel=1e-5)
    assert found["mfcc"][:, 1:] == pytest.approx(0, abs=1e-3)
    for name in ("chroma", "zcr", "pitch"):
        assert not found[name].any()


def test_mel_powers_add_up_to_the_mean_square():
    for samples in (tone(1000, 0.5), noise(0.5, -20)):
        found = compute(samples)
        total_db = 10 * np.log10(np.exp(found["log_mel"]).sum(axis=1).mean())
        power_db = 10 * np.log10(np.exp(found["rms"]).mean())
        assert total_db == pytest.approx(power_db, abs=1)


@pytest.mark.parametrize("hz", [200, 1000, 3000])
def test_a_tone_stands_in_the_filter_around_it(hz):
    mel = 2595 * np.log10(1 + np.array([60, hz, 7600]) / 700)
    position = (mel[1] - mel[0]) / (mel[2] - mel[0]) * (CONFIG.n_mels + 1) - 1
    loudest = compute(tone(hz, 0.1))["log_mel"].argmax(axis=1)
    assert np.abs(loudest - position).max() <= 1


def test_columns_stand_where_the_slices_say():
    assert CONFIG.slices == {
        "mfcc": slice(0, 13),
        "log_mel": slice(13, 53),
        "chroma": slice(53, 65),
        "rms": slice(65, 66),
        "zcr": slice(66, 67),
        "pitch": slice(67, 69),
    }
    assert CONFIG.n_features == 69


def test_a_column_is_the_same_whatever_stands_beside_it(voice):
    everything = compute(voice)
    for name in CONFIG.columns:
        alone = compute(voice, msgspec.structs.replace(CONFIG, columns=(name,)))
        np.testing.assert_allclose(alone[name], everything[name], atol=1e-5)
    delta_alone = compute(voice, msgspec.structs.replace(CONFIG, columns=("mfcc_delta",)))
    np.testing.assert_allclose(delta_alone["mfcc_delta"], everything["mfcc"], atol=1e-5)


def test_lengths_follow_from_physical_units():
    assert (CONFIG.window_length, CONFIG.hop_length, CONFIG.n_fft) == (400, 160, 512)
    wide = msgspec.structs.replace(CONFIG, sample_rate_hz=48000, window_ms=32, hop_ms=12.5)
    assert (wide.window_length, wide.hop_length, wide.n_fft) == (1536, 600, 2048)
    exact = msgspec.structs.replace(CONFIG, window_ms=32)
    assert (exact.window_length, exact.n_fft) == (512, 512)


# Chroma and pitch -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("semitone", range(12))
def test_chroma_names_the_tone(semitone):
    hz = 440 * 2 ** ((72 + semitone - 69) / 12)  # from C5
    found = compute(tone(2 * hz, 0.2))["chroma"]
    assert set(found.argmax(axis=1)) == {semitone}
    assert found.max(axis=1) == pytest.approx(1)


def test_chroma_counts_each_bin_once():
    weights = features.chroma_filterbank(512, RATE_HZ)
    hz = np.arange(257) * RATE_HZ / 512
    assert weights.sum(axis=1).tolist() == ((hz >= 100) & (hz <= 5000)).astype(float).tolist()


def pitch_hz(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fundamental and voicing of each frame."""
    weighted, voicing = compute(samples)["pitch"].T
    return 100 * 2 ** (weighted / np.maximum(voicing, 1e-6)), voicing


def semitones(found_hz: np.ndarray, hz: float) -> np.ndarray:
    return np.abs(12 * np.log2(found_hz / hz))


@pytest.mark.parametrize("hz", [90, 100, 131, 175, 220, 262, 300, 349, 392, 419])
def test_pitch_of_tones_and_vowels(hz):
    for sound in (tone(hz, 0.3), *(harmonics(np.full(4800, float(hz)), vowel) for vowel in FORMANTS_HZ)):
        found_hz, _ = pitch_hz(sound)
        assert semitones(found_hz, hz).max() < 0.3


@pytest.mark.parametrize("hz", [80, 85])
def test_pitch_of_the_lowest_voices_is_right_in_most_frames(hz):
    # a 25 ms window holds two periods of 80 Hz at the most; frames between two pulses show one, and low voicing
    for vowel in FORMANTS_HZ:
        found_hz, voicing = pitch_hz(harmonics(np.full(8000, float(hz)), vowel))
        assert np.median(semitones(found_hz, hz)) < 0.3
        assert (semitones(found_hz, hz)[voicing > 0.5] < 1).all()


def test_pitch_stays_in_its_range():
    lowest_hz, highest_hz = PITCH_RANGE_HZ
    for sound in (tone(40, 0.3), tone(1000, 0.3), noise(0.3, -20)):
        found_hz, voicing = pitch_hz(sound)
        found_hz = found_hz[voicing > 0.01]
        assert found_hz.min() > lowest_hz - 1
        assert found_hz.max() < highest_hz + 2


def test_voicing_tells_a_vowel_from_noise():
    assert pitch_hz(harmonics(np.full(4800, 150.0), FORMANTS_HZ[0]))[1].min() > 0.9
    assert pitch_hz(noise(1, -20))[1].max() < 0.5


# Level ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gain", [0.1, 10])
def test_a_quiet_microphone_gives_what_a_loud_one_gives(gain):
    samples = 0.1 * talk()[round(0.7 * RATE_HZ) : round(1.8 * RATE_HZ)]
    plain, other = compute(samples, LEVELLED), compute(np.float32(gain) * samples, LEVELLED)
    for name in ("mfcc", "log_mel", "chroma", "rms", "pitch"):
        np.testing.assert_allclose(other[name], plain[name], atol=2e-3, err_msg=name)
    # rounding may move a sample across the mean
    np.testing.assert_allclose(other["zcr"], plain["zcr"], atol=2.1 / 399)


def test_without_a_memory_the_level_stays():
    samples = phrase(120, 150, 0.5)
    quiet, loud = (compute(np.float32(gain) * samples)["rms"] for gain in (0.1, 1))
    assert loud - quiet == pytest.approx(np.log(100), abs=0.01)


def test_reset_forgets_the_level():
    extractor = FeatureExtractor(LEVELLED)
    frames = frames_of(phrase(120, 150, 0.5))
    first = extractor.compute(frames)
    extractor.compute(10 * frames)
    assert np.abs(extractor.compute(frames) - first).max() > 1
    extractor.reset()
    assert (extractor.compute(frames) == first).all()


@pytest.mark.parametrize("n", [1, 3, 32])
def test_groups_of_frames_agree(voice, n):
    frames = frames_of(voice)
    extractor = FeatureExtractor(LEVELLED)
    grouped = np.concatenate([extractor.compute(frames[i : i + n]) for i in range(0, len(frames), n)])
    np.testing.assert_allclose(grouped, FeatureExtractor(LEVELLED).compute(frames), atol=2e-4)


# Anything at all ------------------------------------------------------------------------------------------------------

EXTREMES = [0.0, 1.0, -1.0, 1e-40, -1e-40, 1e-20, 0.5, 2.0**-15]


@settings(max_examples=40, deadline=None)
@given(arrays(np.float32, (3, 400), elements=st.floats(-1, 1, width=32), fill=st.sampled_from(EXTREMES)))
def test_any_samples_give_finite_features(frames):
    for config in (CONFIG, LEVELLED):
        rows = FeatureExtractor(config).compute(frames)
        assert rows.shape == (3, config.n_features)
        assert rows.dtype == np.float32
        assert np.isfinite(rows).all()


def test_no_frames_give_no_rows():
    assert FeatureExtractor(CONFIG).compute(np.zeros((0, 400), np.float32)).shape == (0, CONFIG.n_features)


# Deltas as a stage ----------------------------------------------------------------------------------------------------


@given(st.integers(1, 40), st.lists(st.integers(0, 12), max_size=10))
def test_the_delta_stage_gives_the_deltas_of_the_whole(n, cuts):
    sequence = np.random.default_rng(n).standard_normal((n, 5)).astype(np.float32)
    stage = DeltaStage(slice(1, 4))
    for _ in range(2):  # it starts anew after `finish`
        found = np.concatenate([stage.push(piece) for piece in pieces(sequence, cuts)] + [stage.finish()])
        assert (found[:, 1:4] == deltas(sequence[:, 1:4])).all()
        assert (found[:, [0, 4]] == sequence[:, [0, 4]]).all()


def test_the_delta_stage_is_two_rows_late():
    stage = DeltaStage(slice(0, 1))
    rows = np.arange(10, dtype=np.float32)[:, None]
    assert [len(stage.push(rows[i : i + 1])) for i in range(10)] == [0, 0, 1, 1, 1, 1, 1, 1, 1, 1]
    assert len(stage.finish()) == 2
    assert len(stage.finish()) == 0


# Settings -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sample_rate_hz", 4000),
        ("sample_rate_hz", 10**9),
        ("window_ms", 0),
        ("window_ms", float("nan")),
        ("hop_ms", 26),
        ("hop_ms", 0.01),
        ("f_min_hz", -1),
        ("f_min_hz", 7600),
        ("f_max_hz", 8001),
        ("n_mfcc", 0),
        ("n_mfcc", 41),
        ("n_mels", 257),
        ("n_mels", 250),
        ("columns", ()),
        ("columns", ("rms", "rms")),
        ("level_memory_s", -1),
        ("level_memory_s", 0.01),
        ("level_memory_s", 1e9),
        ("floor_db", -121),
        ("floor_db", 1),
        ("noise_reduction_db", -1),
        ("noise_reduction_db", 41),
    ],
)
def test_settings_that_cannot_be_computed_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=name):
        msgspec.structs.replace(CONFIG, **{name: value}).check()


def test_pitch_needs_a_window_of_some_length():
    with pytest.raises(ValueError, match="pitch needs window_ms"):
        msgspec.structs.replace(CONFIG, window_ms=10).check()


@settings(max_examples=60, deadline=None)
@given(
    st.builds(
        FeatureConfig,
        sample_rate_hz=st.sampled_from([8000, 11025, 16000, 44100, 48000]),
        window_ms=st.floats(1, 200),
        hop_ms=st.floats(1, 200),
        n_mels=st.integers(1, 256),
        f_min_hz=st.floats(0, 4000),
        f_max_hz=st.floats(1, 24000),
        n_mfcc=st.integers(1, 40),
        columns=st.lists(
            st.sampled_from(["mfcc", "mfcc_delta", "log_mel", "chroma", "rms", "zcr", "pitch"]), unique=True
        ).map(tuple),
        level_memory_s=st.sampled_from([0, 2, 10, 3600]),
        floor_db=st.floats(-120, 0),
        noise_reduction_db=st.floats(0, 40),
    )
)
def test_all_settings_that_pass_can_be_computed(config):
    try:
        config.check()
    except ValueError:
        return
    frames = np.random.default_rng(0).standard_normal((2, config.window_length)).astype(np.float32) / 4
    rows = FeatureExtractor(config).compute(frames)
    assert rows.shape == (2, config.n_features)
    assert np.isfinite(rows).all()
