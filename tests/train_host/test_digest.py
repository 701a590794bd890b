"""Two forms of a recipe are told apart, and one form is not taken for two."""

from dataclasses import replace

import msgspec
from tiny_recipe import tiny

from train_host.recipes import RECIPES, VARIANTS, digest, tonelight
from train_host.recipes.digest import recipe_digest


def test_the_digest_of_a_recipe_changes_with_whatever_changes_the_model():
    small_recipe = tiny(RECIPES["lstm128"])
    digests = {
        recipe_digest(one)
        for one in (
            small_recipe,
            replace(small_recipe, build=RECIPES["tonelight"].build),
            replace(small_recipe, window_frames=100),
            tiny(small_recipe, steps=21),
            replace(small_recipe, gate=msgspec.structs.replace(small_recipe.gate, hangover_ms=100)),
            replace(small_recipe, features=msgspec.structs.replace(small_recipe.features, noise_reduction_db=12)),
        )
    }
    assert len(digests) == 6
    assert recipe_digest(small_recipe) in digests


def test_what_a_recipe_does_without_is_no_part_of_its_digest(monkeypatch):
    recipes = [RECIPES[name] for name in ("tonelight", "functionals")]
    assert [bool(recipe.training.perturbed) for recipe in recipes] == [True, False]
    before = [recipe_digest(recipe) for recipe in recipes]
    code = digest._code
    monkeypatch.setattr(digest, "_code", lambda path, *of: "new" if path.name == "perturb.py" else code(path, *of))
    assert recipe_digest(recipes[0]) != before[0]
    assert recipe_digest(recipes[1]) == before[1]


def test_a_network_that_was_written_at_a_prompt_has_a_digest():
    scope: dict = {}
    exec("def small(n): return n\ndef large(n): return 2 * n + 1", scope)
    digests = [recipe_digest(replace(RECIPES["tonelight"], build=scope[name])) for name in ("small", "large", "small")]
    assert digests[0] == digests[2] != digests[1]


def test_what_code_does_is_told_apart_and_how_it_is_told_is_not(tmp_path):
    path = tmp_path / "code.py"

    def digest_of(text: str, *functions: str) -> str:
        path.write_text(text)
        return digest._code(path, *functions)

    plain = digest_of("def f(x):\n    return x + 1\ny = 2\n")
    assert digest_of('"""What."""\ndef f(x):  # why\n    """How."""\n    return (x + 1)\n\n\ny = 2\n') == plain
    assert digest_of("def f(x):\n    return x + 2\ny = 2\n") != plain
    assert digest_of("def f(x):\n    return x + 1\ny = 3\n") != plain
    assert digest_of("def f(x):\n    return x + 1\ny = 3\n", "f") == digest_of("def f(x):\n    return x + 1\n", "f")


def test_a_variant_is_another_when_the_network_is_that_it_takes_something_from(tmp_path, monkeypatch):
    names = [name for name, recipe in VARIANTS.items() if recipe.build is not RECIPES["tonelight"].build]
    assert len(names) == 3
    before = [recipe_digest(VARIANTS[name]) for name in names]
    source = digest.inspect.getsource
    monkeypatch.setattr(
        digest.inspect, "getsource", lambda of: source(of) + (" # wider" if of is tonelight.network else "")
    )
    assert not {recipe_digest(VARIANTS[name]) for name in names} & set(before)
