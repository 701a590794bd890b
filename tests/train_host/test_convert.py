import numpy as np
import pytest

keras = pytest.importorskip("keras")
pytest.importorskip("tensorflow")

from edge.bundle import StreamModel, WindowModel  # noqa: E402
from train_host.batches import pad  # noqa: E402
from train_host.convert import QUANTIZATIONS, convert, load_sequences  # noqa: E402
from train_host.errors import ExportError  # noqa: E402
from train_host.export import MAX_DIFFERENCE  # noqa: E402
from train_host.recipes import RECIPES, Recipe  # noqa: E402

STREAM, WINDOW = RECIPES["tonelight"], RECIPES["lstm128"]

pytestmark = pytest.mark.slow


def save_weights(path, network) -> None:
    np.savez(path, **{f"weights.{i:03}": weight for i, weight in enumerate(network.get_weights())})


def probabilities(logits: np.ndarray) -> np.ndarray:
    exponential = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponential / exponential.sum(axis=1, keepdims=True)


def by_keras(network, recipe: Recipe, sequences) -> np.ndarray:
    n_frames = recipe.window_frames if recipe.form == "window" else 320
    return np.concatenate([np.asarray(network(pad([one], n_frames, recipe))) for one in sequences])


def operators(content: bytes) -> list[tuple[str, int, object]]:
    """Name, version and options of every operation of the model."""
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    found = []
    for graph in model.subgraphs:
        for operator in graph.operators:
            code = model.operatorCodes[operator.opcodeIndex]
            found.append((names[code.builtinCode], code.version, operator.builtinOptions))
    return found


def test_stream_form_says_what_keras_says(tmp_path, classify):
    network = STREAM.build(STREAM.features.n_features)
    save_weights(tmp_path / "weights.npz", network)
    tensors = convert(STREAM, tmp_path / "weights.npz", "none", None, tmp_path)
    assert isinstance(tensors, StreamModel)
    content = (tmp_path / "model.tflite").read_bytes()
    names = {name for name, _, _ in operators(content)}
    assert names <= {
        *("ADD", "CONCATENATION", "DIV", "EXP", "FULLY_CONNECTED", "LOGISTIC", "MEAN", "MUL", "RESHAPE", "RSQRT"),
        *("SPLIT", "SQUARED_DIFFERENCE", "STRIDED_SLICE", "SUB", "SUM", "TANH", "TRANSPOSE", "SLICE", "RELU", "SQUARE"),
        *("BATCH_MATMUL", "EXPAND_DIMS", "PACK"),
    }
    rng = np.random.default_rng(0)
    sequences = [rng.standard_normal((n, STREAM.features.n_features)).astype(np.float32) for n in (8, 33, 160, 317)]
    found = classify(STREAM, tensors, content, sequences)
    np.testing.assert_allclose(probabilities(found), probabilities(by_keras(network, STREAM, sequences)), atol=1e-3)


def test_an_untrained_twin_converts(tmp_path, classify):
    tensors = convert(STREAM, None, "dynamic", None, tmp_path)
    content = (tmp_path / "model.tflite").read_bytes()
    check_operators(content)
    sequence = np.random.default_rng(0).standard_normal((100, STREAM.features.n_features)).astype(np.float32)
    assert np.isfinite(classify(STREAM, tensors, content, [sequence])).all()


def check_operators(content: bytes) -> None:
    for name, version, _ in operators(content):
        assert name != "CUSTOM"  # Flex operations are custom ones
        # tflite-runtime 2.14 knows no newer one
        assert name != "FULLY_CONNECTED" or version <= 9


# --- window form ------------------------------------------------------------------------------------------------------


def counting_network():
    """A network whose cells count: up by 0.9 for each frame that is positive in column 0, down for each negative one.

    Trained cells do such things: they reached 45. A cell that is clipped at 10 forgets all but the last frames.
    """
    network = WINDOW.build(WINDOW.features.n_features)
    kernel, recurrent, bias, dense, offset = network.get_weights()
    units = recurrent.shape[0]
    rng = np.random.default_rng(0)
    kernel = 0.02 * rng.standard_normal(kernel.shape).astype(np.float32)
    kernel[0, 2 * units : 3 * units] = 2.0
    bias = np.concatenate([np.full(units, value, np.float32) for value in (3, 12, 0, 3)])
    recurrent = 0.002 * rng.standard_normal(recurrent.shape).astype(np.float32)
    dense = 0.6 * rng.standard_normal(dense.shape).astype(np.float32)
    network.set_weights([kernel, recurrent, bias, dense, offset])
    return network


def counting_sequences() -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    sequences = []
    for n_up, n_down in ((200, 100), (60, 40), (100, 130), (12, 3)):
        frames = 0.3 * rng.standard_normal((n_up + n_down, WINDOW.features.n_features)).astype(np.float32)
        frames[:, 0] = [1.0] * n_up + [-1.0] * n_down
        sequences.append(frames)
    return sequences


def by_hand(network, sequences, clip: float) -> tuple[np.ndarray, float]:
    """Logits by plain numpy, the cell state clipped at `clip`, and the largest cell state."""
    kernel, recurrent, bias, dense, offset = network.get_weights()
    answers, largest = [], 0.0
    for sequence in sequences:
        h = c = np.zeros(recurrent.shape[0])
        for x in pad([sequence], WINDOW.window_frames, WINDOW)[0]:
            i, f, g, o = np.split(x @ kernel + h @ recurrent + bias, 4)
            c = np.clip(c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i)), -clip, clip)
            h = np.tanh(c) / (1 + np.exp(-o))
            largest = max(largest, float(np.abs(c).max()))
        answers.append(h @ dense + offset)
    return np.array(answers), largest


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_window_form_keeps_cell_states_beyond_ten(tmp_path, classify, quantization):
    network, sequences = counting_network(), counting_sequences()
    expected = by_keras(network, WINDOW, sequences)
    unclipped, largest = by_hand(network, sequences, np.inf)
    clipped, _ = by_hand(network, sequences, 10)
    assert largest > 100
    np.testing.assert_allclose(unclipped, expected, atol=1e-3)
    assert np.abs(probabilities(clipped) - probabilities(expected)).max() > 0.5  # so this test can fail

    save_weights(tmp_path / "weights.npz", network)
    np.savez(tmp_path / "sequences.npz", *sequences)
    tensors = convert(WINDOW, tmp_path / "weights.npz", quantization, tmp_path / "sequences.npz", tmp_path)
    assert isinstance(tensors, WindowModel)
    assert tensors.window_frames == WINDOW.window_frames
    content = (tmp_path / "model.tflite").read_bytes()
    check_operators(content)
    lstms = [options for name, _, options in operators(content) if name == "UNIDIRECTIONAL_SEQUENCE_LSTM"]
    assert [options.cellClip for options in lstms] == [0.0]
    if quantization == "int8":
        # 8 bits of input and output add up to another count; but the range is no longer the clip's, rounded up to 16
        from ai_edge_litert.interpreter import Interpreter

        details = Interpreter(model_content=content).get_tensor_details()
        (cell,) = [detail for detail in details if detail["dtype"] is np.int16]
        assert 32767 * cell["quantization"][0] > 60
        sequences, expected = sequences[:2], expected[:2]
    found = classify(WINDOW, tensors, content, sequences)
    allowed = 1e-3 if quantization == "none" else MAX_DIFFERENCE[quantization]
    assert np.abs(probabilities(found) - probabilities(expected)).max() <= allowed


def test_weights_of_another_network_are_one_clear_line(tmp_path):
    save_weights(tmp_path / "weights.npz", WINDOW.build(WINDOW.features.n_features))
    with pytest.raises(ExportError, match=r"recipe tonelight does not convert to TFLite \(none\): .") as error:
        convert(STREAM, tmp_path / "weights.npz", "none", None, tmp_path)
    assert "\n" not in str(error.value)


def test_sequences_come_back_as_they_were_left(tmp_path):
    sequences = [np.full((n, 2), n, np.float32) for n in (3, 1, 2)]
    np.savez(tmp_path / "sequences.npz", **{f"{i:04}": one for i, one in enumerate(sequences)})
    assert [one.tolist() for one in load_sequences(tmp_path / "sequences.npz")] == [one.tolist() for one in sequences]
