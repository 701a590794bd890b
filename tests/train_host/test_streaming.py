import numpy as np
import pytest

keras = pytest.importorskip("keras")
tf = pytest.importorskip("tensorflow")

from train_host import model  # noqa: E402
from train_host.streaming import CHUNK_FRAMES, StreamingModel  # noqa: E402

F = 6
STRIDE = model.STRIDE


def network(n_layers: int = 2):
    """Random in all its weights: what is zero or one at the start must be carried over too."""
    keras.utils.set_random_seed(n_layers)
    built = model.build(F, units=16, n_layers=n_layers, n_heads=3, dropout=0.3, hears_speech=True)
    rng = np.random.default_rng(0)
    built.set_weights([w + 0.3 * rng.standard_normal(w.shape).astype(np.float32) for w in built.get_weights()])
    return built


@pytest.fixture(scope="module")
def pair():
    built = network()
    return built, StreamingModel(built)


def sequence(n_frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n_frames, F)).astype(np.float32)


def whole(built, frames: np.ndarray) -> np.ndarray:
    n_steps = len(frames) // STRIDE
    valid = np.ones((1, n_steps), np.float32)
    return np.asarray(built([frames[None, : n_steps * STRIDE], valid]))[0]


def streamed(streaming: StreamingModel, frames: np.ndarray) -> list[np.ndarray]:
    """As the device feeds it: zeros after the end, and steps that are not whole are not valid."""
    states = {name: tf.zeros(shape) for name, shape in streaming.state_shapes.items()}
    answers = []
    for start in range(0, len(frames), CHUNK_FRAMES):
        chunk = frames[start : start + CHUNK_FRAMES]
        padded = np.zeros((1, CHUNK_FRAMES, F), np.float32)
        padded[0, : len(chunk)] = chunk
        valid = (np.arange(CHUNK_FRAMES // STRIDE) < len(chunk) // STRIDE).astype(np.float32)
        states = streaming.step(tf.constant(padded), tf.constant(valid[None]), states)
        answers.append(states.pop("logits").numpy()[0])
    return answers


@pytest.mark.parametrize("n_frames", [8, 9, 15, 31, 32, 33, 40, 63, 64, 99, 130, 321])
def test_chunk_by_chunk_is_the_whole(pair, n_frames):
    built, streaming = pair
    frames = sequence(n_frames)
    np.testing.assert_allclose(streamed(streaming, frames)[-1], whole(built, frames), atol=1e-4)


def test_every_chunk_answers_for_all_so_far(pair):
    built, streaming = pair
    frames = sequence(100)
    for i, logits in enumerate(streamed(streaming, frames), start=1):
        np.testing.assert_allclose(logits, whole(built, frames[: i * CHUNK_FRAMES]), atol=1e-4)


@pytest.mark.parametrize("n_layers", [1, 3])
def test_any_number_of_layers(n_layers):
    built = network(n_layers)
    frames = sequence(70)
    np.testing.assert_allclose(streamed(StreamingModel(built), frames)[-1], whole(built, frames), atol=1e-4)


def test_ten_seconds_do_not_drift(pair):
    built, streaming = pair
    frames = sequence(1000)
    np.testing.assert_allclose(streamed(streaming, frames)[-1], whole(built, frames), atol=1e-4)


def test_the_function_to_convert_takes_and_gives_every_state(pair):
    _, streaming = pair
    function = streaming.concrete_function()
    names = sorted(streaming.state_shapes)
    assert [spec.name for spec in function.inputs[: 2 + len(names)]] == [
        "features:0",
        "valid:0",
        *(f"state_{name}:0" for name in names),
    ]
    shapes = [tuple(output.shape) for output in function.outputs]
    assert shapes == [(1, 9), *(streaming.state_shapes[name] for name in names)]
