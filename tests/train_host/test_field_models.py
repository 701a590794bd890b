import numpy as np
import pytest

keras = pytest.importorskip("keras")
from tiny_recipe import pass_for_whole  # noqa: E402

from train_host import field_models  # noqa: E402
from train_host.recipes import RECIPES  # noqa: E402

FIELD = {name: recipe for name, recipe in RECIPES.items() if recipe.form == "window" and name != "lstm128"}
every = pytest.mark.parametrize("recipe", FIELD.values(), ids=FIELD)

BUILDERS = {
    "lstm": (field_models.lstm, {"units": (6,)}),
    "two lstms": (field_models.lstm, {"units": (6, 5)}),
    "cnn": (field_models.cnn, {"filters": (6, 8), "width": 5}),
    "cnn_lstm": (field_models.cnn_lstm, {"filters": (6, 8), "width": 5, "units": 5}),
    "lfb_lstm": (field_models.lfb_lstm, {"filters": (4, 4, 6, 6), "units": 5}),
    "functionals": (field_models.functionals, {"units": (8, 6)}),
}
N = 20


def network(builder: str, n_frames: int):
    """With no weight or statistic that is zero or one, as after training."""
    build, settings = BUILDERS[builder]
    made = build(n_frames, N, dropout=0.3, **settings)
    rng = np.random.default_rng(0)
    made.set_weights(
        [
            weight + 0.3 * rng.uniform(0.1, 1, weight.shape).astype(np.float32)
            if weight.ndim == 1
            else 0.5 * rng.standard_normal(weight.shape).astype(np.float32)
            for weight in made.get_weights()
        ]
    )
    return made


def frames(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, N)).astype(np.float32)


def answer(made, sequence: np.ndarray) -> np.ndarray:
    window = np.zeros((1, made.input_shape[1], N), np.float32)
    window[0, : len(sequence)] = sequence
    return np.asarray(made(window))[0]


@pytest.mark.parametrize("builder", BUILDERS)
def test_the_padding_of_a_window_is_not_heard(builder):
    fitting, wide = network(builder, 64), network(builder, 160)
    sequence = frames(64)
    np.testing.assert_allclose(answer(wide, sequence), answer(fitting, sequence), atol=1e-4)
    # another half second of speech is
    assert np.abs(answer(wide, frames(89)) - answer(wide, sequence)).max() > 1e-3


@pytest.mark.parametrize("builder", BUILDERS)
@pytest.mark.parametrize("n_frames", [0, 1, 2, 25])
def test_any_length_has_an_answer(builder, n_frames):
    assert np.isfinite(answer(network(builder, 64), frames(n_frames))).all()


@pytest.mark.parametrize("builder", [name for name in BUILDERS if name != "functionals"])
def test_the_order_of_frames_matters(builder):
    made = network(builder, 64)
    assert np.abs(answer(made, frames(64)[::-1]) - answer(made, frames(64))).max() > 1e-3


def test_functionals_do_not_know_which_way_time_goes():
    made = network("functionals", 64)
    np.testing.assert_allclose(answer(made, frames(64)[::-1]), answer(made, frames(64)), atol=1e-4)


def test_speech_is_what_is_not_all_zero():
    features = np.zeros((2, 4, 3), np.float32)
    features[0, :3, 1] = (1, -2, 1e-6)
    features[1, 0, 0] = 5
    assert np.asarray(field_models.speech(features))[..., 0].tolist() == [[1, 1, 1, 0], [1, 0, 0, 0]]


def test_statistics_by_hand():
    features = np.zeros((1, 6, 2), np.float32)
    features[0, :4] = [[1, -1], [3, -2], [2, -2], [2, -3]]
    mean, deviation, least, most, movement = np.asarray(field_models.statistics(features)).reshape(5, 2)
    np.testing.assert_allclose(mean, [2, -2], atol=1e-5)
    np.testing.assert_allclose(deviation, [np.sqrt(0.5), np.sqrt(0.5)], atol=1e-3)
    # of a column that is above zero all the time, and of one below: zero is no extreme of theirs
    np.testing.assert_allclose(least, [1, -3], atol=1e-5)
    np.testing.assert_allclose(most, [3, -1], atol=1e-5)
    np.testing.assert_allclose(movement, [1, 2 / 3], atol=1e-5)


def test_statistics_of_one_frame_do_not_move():
    features = np.zeros((1, 3, 2), np.float32)
    features[0, 0] = (4, -4)
    mean, deviation, least, most, movement = np.asarray(field_models.statistics(features)).reshape(5, 2)
    for found in (mean, least, most):
        np.testing.assert_allclose(found, [4, -4], rtol=1e-4)
    assert deviation.max() < 2e-3
    assert movement.tolist() == [0, 0]


@every
def test_a_recipe_hears_what_it_says(recipe):
    slices = recipe.features.slices
    assert recipe.features.hop_ms == 20
    if recipe.name == "lfb_lstm":
        assert list(slices) == ["log_mel"]
    elif recipe.name == "functionals":
        assert set(slices) == {"rms", "chroma", "zcr", "mfcc", "log_mel"}
    else:
        assert set(slices) == {"rms", "zcr", "mfcc"}


@every
def test_it_is_small_enough_for_a_board(recipe):
    assert recipe.build(recipe.features.n_features).count_params() < 400_000


# --- the whole way ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@every
def test_from_recordings_to_a_bundle_that_listens(recipe, clips, voices, no_sounds, tmp_path, capsys):
    pytest.importorskip("tensorflow")
    import io
    import json
    from dataclasses import replace

    from rich.console import Console

    from edge.bundle import WindowModel, load_bundle
    from edge.cli import main as tonelight
    from edge.labels import EMOTIONS
    from train_host.export import export
    from train_host.folds import everything
    from train_host.train import train

    # its steps cost next to nothing, and a network that is not sure yet has a likeliest emotion that rounding may move
    n_steps = 300 if recipe.name == "functionals" else 30
    short = replace(recipe, training=replace(recipe.training, steps=n_steps, batch_size=8, average=0.5))
    console = Console(file=io.StringIO())
    train(tmp_path / "run", short, everything(clips), no_sounds, 0, console, checkpoint_steps=10)
    _, *rows = (tmp_path / "run" / "history.csv").read_text().splitlines()
    losses = [float(row.split(",")[1]) for row in rows]
    assert losses[-1] < losses[0]

    pass_for_whole(tmp_path / "run")
    path = export(tmp_path / "run", tmp_path, name="field", version="0.0.1", clips=None, console=console)
    bundle = load_bundle(path)
    assert bundle.manifest.quantization == recipe.quantization
    assert isinstance(bundle.manifest.model, WindowModel)
    assert bundle.manifest.model.chunk_frames * bundle.manifest.features.hop_ms == 500
    assert bundle.manifest.metrics["parity_agreement"] >= 0.97

    assert tonelight(["listen", "--bundle", str(path), "--json", *sorted(map(str, voices.glob("*/anna/*-0.wav")))]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    found = [event for event in events if event["event"] == "file"]
    assert len(found) == 4
    assert all(event["label"] in EMOTIONS for event in found)
