"""From the tiny run to bundles, as the command line makes them."""

import json
import shutil
from dataclasses import replace

import msgspec
import numpy as np
import pytest

keras = pytest.importorskip("keras")
pytest.importorskip("tensorflow")

from rich.console import Console  # noqa: E402
from test_convert import check_operators  # noqa: E402

from edge.bundle import StreamModel, load_bundle  # noqa: E402
from edge.events import Detection, Score  # noqa: E402
from edge.labels import EMOTIONS, HIGH  # noqa: E402
from edge.pipeline import Pipeline, verify_golden  # noqa: E402
from train_host import export as exporting  # noqa: E402
from train_host.cli import main  # noqa: E402
from train_host.errors import ExportError  # noqa: E402
from train_host.export import MAX_DIFFERENCE, MIN_AGREEMENT, check_parity, decide, export, next_version  # noqa: E402
from train_host.recordings import read_recording  # noqa: E402
from train_host.train import RUN, RunInfo, load_model  # noqa: E402

VAL_SPEAKER = "anna"


def tonelight_train(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


@pytest.mark.slow
def test_the_bundle_is_whole_and_says_what_it_is(bundle, run):
    loaded = load_bundle(bundle)
    manifest = loaded.manifest
    assert bundle.name == "tonelight-0.7.0"
    assert sorted(path.name for path in bundle.iterdir()) == [
        *("MODEL_CARD.md", "golden.npz", "manifest.json", "model.tflite")
    ]
    assert sorted(path.name for path in bundle.parent.iterdir()) == ["tonelight-0.7.0"]
    assert (manifest.recipe, manifest.quantization, manifest.labels) == ("tonelight", "dynamic", EMOTIONS)
    assert isinstance(manifest.model, StreamModel)
    assert manifest.normalizer == load_model(run)[0].normalizer
    assert [(use.name, use.clips, use.speakers) for use in manifest.corpora] == [("voices", 32, 2)]
    assert {"tensorflow", "keras", "numpy", "ai-edge-litert", "tonelight", "python"} <= set(manifest.tools)
    check_operators(loaded.model)
    verify_golden(loaded)


@pytest.mark.slow
def test_the_device_hears_what_was_trained(bundle, clips):
    pipeline = Pipeline(load_bundle(bundle))
    right = 0
    mine = [clip for clip in clips if clip.speaker == VAL_SPEAKER]
    for clip in mine:
        pipeline.reset()
        samples = read_recording(clip.path)
        events = [event for i in range(0, len(samples), 320) for event in pipeline.push(samples[i : i + 320])]
        events += pipeline.flush()
        (detection,) = [event for event in events if isinstance(event, Detection)]
        assert [event for event in events if isinstance(event, Score)]
        right += detection.label == clip.emotion
    assert right / len(mine) >= 0.7


@pytest.mark.slow
def test_figures_and_card(bundle):
    manifest = load_bundle(bundle).manifest
    assert manifest.metrics["uar_validation_speakers"] >= 0.7
    assert manifest.metrics["parity_agreement"] >= MIN_AGREEMENT["dynamic"]
    assert 0 <= manifest.metrics["calibration_error_validation_speakers"] <= 1
    assert 0.5 <= manifest.metrics["named_validation_speakers"] <= 1
    assert manifest.metrics["accuracy_named_validation_speakers"] >= 0.7
    assert manifest.metrics["activation_uar_validation_speakers"] >= 0.7
    assert 0 <= manifest.metrics["activation_calibration_error_validation_speakers"] <= 1
    text = (bundle / "MODEL_CARD.md").read_text()
    new, known = text.index("### Speakers it was not trained on"), text.index("### Speakers it was trained on")
    assert "| truth \\ answer | neutral | calm |" in text[new:known]
    assert "| all | 16 |" in text[new:known]
    assert "**Training data**" in text[known:]
    assert "| all | 32 |" in text[known:]
    assert "#### voices (training data)" in text[known:]
    assert f"Speakers held out for validation: voices/{VAL_SPEAKER}" in text


def test_the_next_version_is_above_the_newest(tmp_path):
    assert next_version(tmp_path / "none", "mine") == "0.1.0"
    for name in ("mine-0.9.3", "mine-0.10.1", "mine-personal-4.0.0", "other-7.0.0", "mine-1.0", ".mine-8.0.0-x"):
        (tmp_path / name).mkdir()
    assert next_version(tmp_path, "mine") == "0.11.0"
    assert next_version(tmp_path, "mine-personal") == "4.1.0"


@pytest.mark.slow
def test_a_bundle_never_changes(bundle, run, capsys):
    before = {path: path.read_bytes() for path in bundle.iterdir()}
    assert tonelight_train("export", run, "--version", "0.7.0", "--out", bundle.parent, "--no-figures") == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error == (
        f"tonelight-train: {bundle} exists; give another --version, or delete it first: a bundle never changes"
    )
    assert {path: path.read_bytes() for path in bundle.iterdir()} == before


@pytest.mark.slow
@pytest.mark.parametrize("quantization", ["none", "float16", "int8"])
def test_every_quantization(run, tmp_path, quantization, capsys):
    arguments = ("--quantize", quantization, "--name", "mine", "--version", "1.2.3", "--out", tmp_path / "models")
    assert tonelight_train("export", run, *arguments, "--no-figures") == 0
    assert "next: tonelight listen --bundle" in capsys.readouterr().out
    loaded = load_bundle(tmp_path / "models" / "mine-1.2.3")
    check_operators(loaded.model)
    verify_golden(loaded)
    assert loaded.manifest.quantization == quantization
    assert loaded.manifest.metrics["parity_agreement"] >= MIN_AGREEMENT[quantization]
    assert loaded.manifest.metrics["parity_mean_difference"] <= MAX_DIFFERENCE[quantization]
    assert set(loaded.manifest.metrics) == {"parity_agreement", "parity_mean_difference"}
    text = (loaded.path / "MODEL_CARD.md").read_text()
    assert "Not measured: the corpora were not at hand" in text
    assert "UAR" not in text


@pytest.mark.slow
def test_a_model_that_says_something_else_is_refused(bundle, run):
    _, recipe, model = load_model(run)
    rng = np.random.default_rng(0)
    sequences = [rng.standard_normal((100, recipe.features.n_features)).astype(np.float32) for _ in range(4)]
    check_parity(load_bundle(bundle), model, recipe, sequences, "dynamic")
    weights = model.get_weights()
    model.set_weights([*weights[:-1], weights[-1][::-1] + np.arange(9)])
    with pytest.raises(
        ExportError, match=r"does not say what the trained one says: .*; use --quantize float16, or train again"
    ):
        check_parity(load_bundle(bundle), model, recipe, sequences, "dynamic")


@pytest.mark.slow
def test_a_model_that_cannot_be_run_is_refused(bundle, run):
    _, recipe, model = load_model(run)
    broken = replace(load_bundle(bundle), model=b"TFL3 it is not")
    sequences = [np.zeros((100, recipe.features.n_features), np.float32)]
    with pytest.raises(ExportError, match=r"\(int8\) is one that no board can run; use --quantize dynamic, or train"):
        check_parity(broken, model, recipe, sequences, "int8")


@pytest.mark.parametrize(
    ("name", "version"), [("My Light", "1.0.0"), ("../up", "1.0.0"), ("", "1.0.0"), ("ok", "1.0"), ("ok", "v1.0.0")]
)
def test_a_name_that_no_bundle_can_have_is_refused_at_once(tmp_path, name, version):
    with pytest.raises(ExportError, match=r"cannot be name and version of a bundle; a --name is of a-z, 0-9, - and _"):
        export(
            tmp_path,
            tmp_path / "models",
            name=name,
            version=version,
            quantization="none",
            clips=None,
            console=Console(quiet=True),
        )
    assert not (tmp_path / "models").exists()


@pytest.mark.slow
def test_corpora_that_cannot_measure_the_run_are_refused(run, clips, tmp_path, capsys):
    info = load_model(run)[0]
    with pytest.raises(ExportError, match=r"are not those of the run; name their folder by --corpora, or give --no-f"):
        known = [one for one in clips if one.speaker != VAL_SPEAKER]
        exporting._measure(tmp_path, info, known, [], Console(quiet=True))
    # voices that trained cannot stand for new ones
    both = msgspec.structs.replace(info, train_speakers=(*info.train_speakers, *info.val_speakers))
    with pytest.raises(ExportError, match=r"trained on its validation speakers too \(voices/anna"):
        exporting._measure(tmp_path, both, clips, [], Console(quiet=True))


@pytest.mark.slow
def test_damaged_weights_are_one_clear_line(run, tmp_path, capsys):
    broken = tmp_path / "broken"
    shutil.copytree(run, broken, ignore=shutil.ignore_patterns("tensorboard"))
    (broken / "weights.npz").write_bytes(b"no archive")
    assert tonelight_train("export", broken, "--no-figures", "--out", tmp_path) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "weights.npz is damaged or of another network" in error
    (broken / RUN).write_text(json.dumps({**json.loads((broken / RUN).read_text()), "extra": 1}))
    assert tonelight_train("export", broken, "--no-figures", "--out", tmp_path) == 1
    assert "run.json" in capsys.readouterr().err.splitlines()[-1]
    assert RunInfo.__struct_config__.forbid_unknown_fields


# --- thresholds -------------------------------------------------------------------------------------------------------


NO_SPEECH = np.zeros((0, 0), np.float32)  # of a network that cannot tell


def test_speech_is_what_nearly_all_validation_speech_is_taken_for():
    rng = np.random.default_rng(0)
    logits, truth = rng.normal(size=(1000, 8)).astype(np.float32), rng.integers(0, 8, 1000)
    assert decide(logits, NO_SPEECH, truth, 1.0).speech_from == 0
    sure = decide(logits, np.full((1000, 1), 9, np.float32), truth, 1.0)
    assert sure.speech_from == 0.95
    unsure = np.linspace(-3, 3, 1000, dtype=np.float32)[:, None]
    decision = decide(logits, unsure, truth, 1.0)
    decision.check()
    heard = np.mean(1 / (1 + np.exp(-unsure)) >= decision.speech_from)
    assert heard >= 0.995
    outliers = decide(logits, np.where(np.arange(1000) < 4, -9, 2).astype(np.float32)[:, None], truth, 1.0)
    assert 0.8 < outliers.speech_from < 1 / (1 + np.exp(-2))
    few = decide(logits[:10], unsure[495:505], truth[:10], 1.0)
    assert (1 / (1 + np.exp(-unsure[495:505])) > few.speech_from).all()


def test_thresholds_name_an_emotion_for_seven_of_ten():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (1000, 8)).astype(np.float32)
    truth = rng.integers(0, 8, 1000)
    decision = decide(logits, NO_SPEECH, truth, 1.5)
    decision.check()
    scaled = np.exp(logits / 1.5)
    confidence = (scaled / scaled.sum(axis=1, keepdims=True)).max(axis=1)
    assert np.mean(confidence >= decision.uncertain_below) == pytest.approx(0.7, abs=0.01)
    assert decision.exit < decision.enter == decision.uncertain_below
    assert decision.temperature == 1.5


def test_thresholds_of_a_model_that_is_always_sure_can_be_passed():
    logits = 100 * np.eye(8, dtype=np.float32)
    decision = decide(logits, NO_SPEECH, np.arange(8), 0.25)
    decision.check()
    assert decision.enter <= 0.99


def test_the_activation_is_calibrated_on_emotions_that_have_one():
    # a model that is far too sure, and too fond of high
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 8, 4000)
    is_high = np.isin(truth, [EMOTIONS.index(emotion) for emotion in HIGH])
    odds = rng.normal(np.where(is_high, 1.0, -1.0), 1.0)  # log odds of equal normals around +1 and -1 are twice these
    logits = np.zeros((4000, 8), np.float32)
    logits[:, [EMOTIONS.index(emotion) for emotion in HIGH]] = (5 * odds + 3)[:, None]
    decision = decide(logits, NO_SPEECH, truth, 1.0)
    # what leads back: 2 * odds + log(4 / 3), from 5 * odds + 3 + log(4 / 3), four emotions being high and three low
    assert decision.activation_scale == pytest.approx(2 / 5, rel=0.1)
    prior = np.log(4 / 3)
    assert decision.activation_offset == pytest.approx(prior - decision.activation_scale * (3 + prior), abs=0.2)
    # the same numbers where disgust is not there at all
    has_one = truth != EMOTIONS.index("disgusted")
    other = decide(logits[has_one], NO_SPEECH, truth[has_one], 1.0)
    assert (other.activation_scale, other.activation_offset) == (decision.activation_scale, decision.activation_offset)
