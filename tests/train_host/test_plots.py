import numpy as np
import pytest

pytest.importorskip("matplotlib")

from matplotlib import image

from train_host import plots


def ink(path, columns=slice(None)) -> int:
    """How many pixels are not white."""
    return int((image.imread(path)[:, columns, :3] < 0.9).any(axis=2).sum())


def test_curves_are_drawn(tmp_path):
    history = tmp_path / "history.csv"
    history.write_text(
        "step,loss,val_uar\n" + "".join(f"{s},{2 - s / 2000},{s / 4000}\n" for s in range(250, 2001, 250))
    )
    plots.curves(history, tmp_path / "curves.png")
    assert image.imread(tmp_path / "curves.png").shape[:2] == (480, 840)
    assert not plots.plt.get_fignums()


def test_a_single_point_can_be_seen(tmp_path):
    history = tmp_path / "history.csv"
    history.write_text("step,loss,val_uar\n30,1.97,0.43\n")
    plots.curves(history, tmp_path / "curves.png")
    blue = image.imread(tmp_path / "curves.png")[100:400, 150:700, :3]
    assert ((blue[..., 2] > 0.6) & (blue[..., 0] < 0.3)).any()


def test_coverages_are_drawn_in_colours_of_their_own(tmp_path):
    shares = np.linspace(0.9, 0.5, 20)
    plots.coverage({"emotion": shares}, tmp_path / "one.png")
    plots.coverage({"emotion": shares, "activation": shares + 0.1}, tmp_path / "two.png")
    one, two = (image.imread(tmp_path / f"{name}.png")[..., :3] for name in ("one", "two"))
    orange = [(pixels[..., 0] > 0.9) & (pixels[..., 2] < 0.2) for pixels in (one, two)]
    assert not orange[0].any()
    assert orange[1].sum() > 200
    assert not plots.plt.get_fignums()


def test_confusion_is_darkest_where_the_answers_are(tmp_path):
    counts = np.diag([30, 20, 10])
    plots.confusion(np.hstack([counts, [[0], [1], [10]]]), ["a", "b", "c"], "of three", tmp_path / "confusion.png")
    pixels = image.imread(tmp_path / "confusion.png")
    assert pixels.shape[:2] == (720, 840)
    assert ink(tmp_path / "confusion.png") > 50_000
    assert not plots.plt.get_fignums()


def test_confusion_of_a_row_without_examples(tmp_path):
    plots.confusion(np.zeros((2, 3), int), ["a", "b"], "nothing", tmp_path / "confusion.png")
    assert (tmp_path / "confusion.png").stat().st_size > 0
