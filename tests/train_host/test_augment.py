import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from train_host import augment

RATE_HZ = augment.SAMPLE_RATE_HZ
rng = np.random.default_rng


def voice(f0_hz: float = 150.0, seconds: float = 1.5, gain: float = 0.05) -> augment.Samples:
    """Twenty harmonics under a slow swell: voiced enough to have one pitch."""
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    tone = sum(np.cos(2 * np.pi * f0_hz * k * t + k) / k for k in range(1, 21))
    return (gain * tone * (1.2 + np.sin(2 * np.pi * 2 * t))).astype(np.float32)


def tone(f_hz: float, seconds: float = 1.0, gain: float = 0.1) -> augment.Samples:
    return (gain * np.sin(2 * np.pi * f_hz * np.arange(round(seconds * RATE_HZ)) / RATE_HZ)).astype(np.float32)


def pitch_hz(samples: augment.Samples) -> float:
    """By the first high peak of the autocorrelation between 70 and 400 Hz, with a parabola through it."""
    spectrum = np.fft.rfft(samples * np.hanning(len(samples)), 2 * len(samples))
    similarity = np.fft.irfft(np.abs(spectrum) ** 2)
    low, high = RATE_HZ // 400, RATE_HZ // 70
    inner = similarity[low:high]
    is_peak = (inner >= similarity[low - 1 : high - 1]) & (inner > similarity[low + 1 : high + 1])
    # the first, as twice the period is as similar; 0.8 of the highest, as a period is seldom a whole number of samples
    peak = low + int(np.flatnonzero(is_peak & (inner > 0.8 * inner.max()))[0])
    before, at, after = similarity[peak - 1 : peak + 2]
    return RATE_HZ / (peak + 0.5 * (before - after) / (before - 2 * at + after))


def rms(samples: augment.Samples) -> float:
    return float(np.sqrt(np.mean(samples.astype(np.float64) ** 2)))


def level_db(samples: augment.Samples) -> float:
    return 20 * np.log10(augment.active_level(samples))


def gain_at(change, f_hz: float) -> float:
    """What `change` does to a tone, in dB, away from the ends."""
    middle = slice(RATE_HZ // 4, -RATE_HZ // 4)
    return 20 * np.log10(max(rms(change(tone(f_hz))[middle]), 1e-9) / rms(tone(f_hz)[middle]))


NOISE = (0.02 * rng(1).standard_normal(4 * RATE_HZ)).astype(np.float32)
ROOM = np.zeros(4000, np.float32)
ROOM[100] = 1.0
ROOM[101:] = 0.1 * rng(2).standard_normal(3899) * np.exp(-np.arange(3899) / 800)

ON_SAMPLES = {
    "gain": lambda x, r: augment.change_gain(x, 3.0),
    "noise": lambda x, r: augment.add_noise(x, NOISE, 5.0, r),
    "room": lambda x, r: augment.add_room(x, ROOM),
    "pitch": lambda x, r: augment.shift_pitch(x, -1.5),
    "eq": lambda x, r: augment.equalise(x, [1, -2, 3, -4, 5, -6, 5, -4]),
    "band": lambda x, r: augment.limit_band(x, 300, 3400),
    "clip": lambda x, r: augment.clip_peaks(x, 6.0),
    "compress": lambda x, r: augment.compress(x, 3.0),
    "mu-law": lambda x, r: augment.mu_law(x),
    "opus": lambda x, r: augment.opus(x, 0.9),
}


@pytest.mark.parametrize("name", ON_SAMPLES)
@pytest.mark.parametrize("n", [0, 1, 2, 319, 1000, 1023, 1024, 1025, 20000])
@pytest.mark.parametrize("kind", ["silent", "impulse", "voice", "tiny"])
def test_keeps_length_and_type_and_stays_finite(name, n, kind):
    samples = np.zeros(n, np.float32)
    if kind == "impulse":
        samples[n // 2 : n // 2 + 1] = 1.0
    elif kind in ("voice", "tiny"):
        samples = np.resize(voice(), n).astype(np.float32) * np.float32(1 if kind == "voice" else 1e-20)
    before = samples.copy()
    out = ON_SAMPLES[name](samples, rng(0))
    assert (out.dtype, out.shape) == (np.float32, samples.shape)
    assert np.isfinite(out).all()
    np.testing.assert_array_equal(samples, before)  # the caller's array is left alone
    if kind == "silent" and name != "opus":
        assert not out.any()


# --- level and noise --------------------------------------------------------------------------------------------------


def test_active_level_does_not_count_pauses():
    speech = tone(440)
    padded = np.concatenate([np.zeros(RATE_HZ, np.float32), speech, np.zeros(2 * RATE_HZ, np.float32)])
    assert augment.active_level(speech) == pytest.approx(0.1 / np.sqrt(2), rel=1e-3)
    assert augment.active_level(padded) == pytest.approx(augment.active_level(speech), rel=1e-3)
    assert augment.active_level(np.zeros(1000, np.float32)) == 0
    assert augment.active_level(np.zeros(0, np.float32)) == 0


def test_gain_in_decibels():
    np.testing.assert_allclose(augment.change_gain(voice(), 20.0), 10 * voice(), rtol=1e-6)


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 10.0, 25.0])
@pytest.mark.parametrize("n_noise", [100, 8000, 24000, 24001, 64000])
def test_noise_has_the_ratio_asked_for(snr_db, n_noise):
    padded = np.concatenate([np.zeros(8000, np.float32), voice(seconds=1.0)])
    added = augment.add_noise(padded, NOISE[:n_noise], snr_db, rng(3)) - padded
    assert level_db(padded) - 20 * np.log10(rms(added)) == pytest.approx(snr_db, abs=0.1)


def test_noise_is_cropped_or_repeated_at_random():
    silence_but_for_a_click = np.zeros(16000, np.float32)
    silence_but_for_a_click[0] = 1e-3
    long = np.arange(1, 64001, dtype=np.float32)
    starts = set()
    for seed in range(5):
        added = augment.add_noise(silence_but_for_a_click, long, 0.0, rng(seed)) - silence_but_for_a_click
        steps = added / added[0] * 1.0
        starts.add(round(1 / (steps[1] - 1)))
    assert len(starts) == 5
    short = np.array([1, 2, 3, 4], np.float32)
    added = augment.add_noise(np.full(10, 0.5, np.float32), short, 0.0, rng(0)) - 0.5
    np.testing.assert_allclose(added[:4], added[4:8], rtol=1e-5)
    assert len(set(np.round(added[:4], 5))) == 4


def test_a_pause_in_the_noise_is_not_raised():
    bursts = np.zeros(64000, np.float32)
    bursts[:100] = 1.0
    bursts[100:] = 1e-7
    for seed in range(10):
        out = augment.add_noise(voice(seconds=0.5), bursts, 0.0, rng(seed))
        assert np.abs(out).max() < 4
    np.testing.assert_array_equal(augment.add_noise(voice(), np.zeros(100, np.float32), 0.0, rng(0)), voice())


@pytest.mark.parametrize("slope_db", [0.0, -3.0, -6.0])
def test_coloured_noise_falls_by_its_slope(slope_db):
    noise = augment.coloured_noise(1 << 17, slope_db, rng(0))
    power = np.abs(np.fft.rfft(noise)) ** 2
    octaves = [10 * np.log10(power[1 << k : 2 << k].mean()) for k in range(8, 16)]
    assert np.diff(octaves).mean() == pytest.approx(slope_db, abs=0.3)
    assert rms(noise) == pytest.approx(1, rel=1e-3)
    assert [len(augment.coloured_noise(n, slope_db, rng(0))) for n in (0, 1, 2, 3, 1001)] == [0, 1, 2, 3, 1001]


# --- room -------------------------------------------------------------------------------------------------------------


def test_room_without_echo_changes_nothing():
    delay = np.zeros(500, np.float32)
    delay[123] = -0.3
    np.testing.assert_allclose(augment.add_room(voice(), delay), -voice(), atol=1e-6)


def test_room_keeps_the_place_of_the_direct_sound_and_the_level():
    click = np.zeros(RATE_HZ, np.float32)
    click[5000] = 1.0
    heard = augment.add_room(click, ROOM)
    assert np.argmax(np.abs(heard)) == 5000
    np.testing.assert_allclose(heard[5000:5100] / heard[5000], ROOM[100:200], atol=1e-5)
    assert level_db(augment.add_room(voice(), ROOM)) == pytest.approx(level_db(voice()), abs=0.01)
    np.testing.assert_array_equal(augment.add_room(voice(), np.zeros(10, np.float32)), voice())


# --- speed and pitch --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [0.9, 1.0, 1.07])
def test_speed_moves_length_and_pitch_together(factor):
    out = augment.change_speed(voice(150), factor)
    assert len(out) == round(len(voice()) / factor)
    assert out.dtype == np.float32
    assert pitch_hz(out) == pytest.approx(150 * factor, rel=0.005)


@pytest.mark.parametrize("semitones", [-2.0, -0.7, 0.0, 1.0, 2.0])
@pytest.mark.parametrize("f0_hz", [95.0, 150.0, 240.0])
def test_pitch_moves_and_duration_stays(semitones, f0_hz):
    out = augment.shift_pitch(voice(f0_hz), semitones)
    assert len(out) == len(voice(f0_hz))
    assert pitch_hz(out) / pitch_hz(voice(f0_hz)) == pytest.approx(2 ** (semitones / 12), rel=0.01)
    assert level_db(out) == pytest.approx(level_db(voice(f0_hz)), abs=0.5)


def test_pitch_shift_keeps_events_in_their_place():
    bursts = np.zeros(3 * RATE_HZ, np.float32)
    for start in (8000, 24000, 40000):
        bursts[start : start + 3200] = voice(150, 0.2)
    out = augment.shift_pitch(bursts, 2.0)
    for start in (8000, 24000, 40000):
        around = np.abs(out[start - 4000 : start + 7200]) ** 2
        centre = (around * np.arange(len(around))).sum() / around.sum() - 4000
        truth = np.abs(bursts[start : start + 3200]) ** 2
        assert centre == pytest.approx((truth * np.arange(3200)).sum() / truth.sum(), abs=320)  # 20 ms


def test_no_shift_is_nearly_the_original():
    out = augment.shift_pitch(voice(), 0.0)
    np.testing.assert_allclose(out[1000:-1000], voice()[1000:-1000], atol=1e-3)


# --- filters ----------------------------------------------------------------------------------------------------------


def test_equaliser_hits_its_gains():
    gains_db = [6.0, -6.0, 0.0, 3.0, -3.0, 6.0, -6.0, 0.0]
    for centre_hz, gain_db in list(zip(augment.EQ_CENTRES_HZ, gains_db, strict=True))[1:-1]:
        assert gain_at(lambda x: augment.equalise(x, gains_db), centre_hz) == pytest.approx(gain_db, abs=0.6)
    with pytest.raises(ValueError, match="8 gains"):
        augment.equalise(voice(), [1.0, 2.0])


def test_a_flat_equaliser_changes_nothing():
    np.testing.assert_allclose(augment.equalise(voice(), [0.0] * 8), voice(), atol=1e-6)


@pytest.mark.parametrize(("low_hz", "high_hz"), [(300, 3400), (None, 4000), (None, 7000), (250, None)])
def test_band_limit(low_hz, high_hz):
    def change(x):
        return augment.limit_band(x, low_hz, high_hz)

    assert gain_at(change, 1000) == pytest.approx(0, abs=0.1)
    if low_hz:
        assert gain_at(change, low_hz) == pytest.approx(-3, abs=0.3)
        assert gain_at(change, low_hz / 2) < -40
    if high_hz:
        assert gain_at(change, high_hz) == pytest.approx(-3, abs=0.3)
    if high_hz and high_hz < 4000:
        assert gain_at(change, 2 * high_hz) < -40


# --- distortion -------------------------------------------------------------------------------------------------------


def test_clipping_cuts_the_peaks_only():
    out = augment.clip_peaks(tone(440), 6.0)
    ceiling = np.abs(tone(440)).max() * 10 ** (-6 / 20)
    assert np.abs(out).max() == pytest.approx(ceiling, rel=1e-6)
    under = np.abs(tone(440)) < ceiling
    np.testing.assert_array_equal(out[under], tone(440)[under])


def test_compression_narrows_the_range_and_keeps_the_level():
    loud_and_soft = np.concatenate([tone(440), 0.2 * tone(440)])
    out = augment.compress(loud_and_soft, 2.0)
    before = 20 * np.log10(rms(loud_and_soft[4000:12000]) / rms(loud_and_soft[20000:28000]))
    after = 20 * np.log10(rms(out[4000:12000]) / rms(out[20000:28000]))
    assert after == pytest.approx(before / 2, abs=0.3)
    assert level_db(out) == pytest.approx(level_db(loud_and_soft), abs=0.01)


def test_mu_law_has_few_steps_and_a_telephones_noise():
    samples = voice(gain=0.1)
    out = augment.mu_law(samples)
    assert len(np.unique(out)) <= 255
    assert 30 < 20 * np.log10(rms(samples) / rms(out - samples)) < 45
    np.testing.assert_allclose(augment.mu_law(np.array([-3, -1, 0, 1, 3], np.float32)), [-1, -1, 0, 1, 1], atol=1e-6)


def test_opus_is_lossy_but_aligned():
    samples = voice()
    coarse, fine = augment.opus(samples, 1.0), augment.opus(samples, 0.5)
    errors = [rms(out - samples) / rms(samples) for out in (coarse, fine)]
    assert errors[1] < 0.1
    assert errors[0] > 2 * errors[1]


# --- the chain --------------------------------------------------------------------------------------------------------


def test_augmenter_repeats_itself_by_seed():
    def outcomes(seed):
        augmenter = augment.Augmenter([NOISE], [ROOM], rng(seed))
        return [augmenter(voice(seconds=0.5)) for _ in range(30)]

    first, again, other = outcomes(0), outcomes(0), outcomes(1)
    for one, same in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, same)
    assert any(len(a) != len(b) or not np.array_equal(a, b) for a, b in zip(first, other, strict=True))
    assert len({one.tobytes() for one in first}) == 30


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 5, 300, 2000, 9000]), st.booleans(), st.floats(0, 2, width=32))
def test_augmenter_takes_anything(seed, n, equipped, gain):
    samples = np.resize(voice(), n).astype(np.float32) * np.float32(gain)
    silent = np.zeros(10, np.float32)
    augmenter = augment.Augmenter([NOISE, silent] if equipped else [], [ROOM, silent] if equipped else [], rng(seed))
    out = augmenter(samples)
    assert out.dtype == np.float32
    assert np.isfinite(out).all()
    assert np.abs(out).max(initial=0) <= 1
    assert n / 1.1 - 1 <= len(out) <= n / 0.9 + 1


def test_augmenter_changes_length_only_by_speed():
    augmenter = augment.Augmenter([NOISE], [ROOM], rng(0))
    lengths = [len(augmenter(voice(seconds=0.2))) for _ in range(300)]
    share = np.mean([length != 3200 for length in lengths])
    assert share == pytest.approx(0.35, abs=0.08)


def test_rooms_are_cut_to_a_living_rooms_length():
    hall = np.concatenate([np.zeros(3000), [1.0], 0.1 * rng(0).standard_normal(80000)]).astype(np.float32)
    cut = augment._near(hall)
    assert len(cut) <= 0.65 * RATE_HZ
    assert cut[np.argmax(np.abs(cut))] == 1.0
    assert abs(cut[-1]) < 1e-6
    assert augment._near(np.ones(1, np.float32)).tolist() == [1.0]
    assert augment._near(np.ones(0, np.float32)).tolist() == []
