"""The run file is read strictly, and every mistake is named at once."""

import tomllib

import pytest

from accord.config import Config
from accord.errors import ConfigError
from accord.recipes.initial import families, initial_run_file, recipes
from accord.runfile import dump_config, load_config, parse_config


def test_written_config_loads_to_the_same_config(tmp_path):
    values = {"method": {"weighting": {"name": "sigmoid", "bias": 1.0}}, "score": {"scales": {"world_taste": 2.0}}}
    config = parse_config(values)
    path = tmp_path / "run.toml"
    path.write_text(dump_config(config))
    assert load_config(path) == config
    assert config.method.weighting.options == {"bias": 1.0}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"train": {"leraning_rate": 1}}, "train.leraning_rate: no such key; did you mean 'learning_rate'?"),
        ({"modle": {}}, "modle: no such key; did you mean 'model'?"),
        ({"train": {"steps": "many"}}, "train.steps: Input should be a valid integer"),
        ({"train": {"steps": 0}}, "train.steps: Input should be greater than or equal to 1"),
        ({"method": {"pairs": "fronteer"}}, "no selector is called 'fronteer'; did you mean 'frontier'?"),
        ({"method": {"loss": "sqared"}}, "no loss is called 'sqared'; did you mean 'squared'?"),
        ({"model": {"family": "sdlx"}}, "no family is called 'sdlx'; did you mean 'sdxl'?"),
        ({"score": {"scorers": []}}, "score.scorers is empty, but method.pairs = 'frontier' decides by scores"),
        ({"score": {"scorers": ["world_taste", "world_taste"]}}, "'world_taste' is named twice"),
        ({"score": {"scales": {"world_tast": 1.0}}}, "did you mean 'world_taste'?"),
        ({"evaluate": {"held_out": ["world_taste"]}}, "a reward trained on is not held out"),
        ({"adapter": {"mode": "full", "uses_dora": True}}, "uses_dora is for adapter.mode = 'lora'"),
        ({"adapter": {"mode": "full"}, "model": {"dtype": "float16"}}, "'float16' is for adapter.mode = 'lora'"),
        ({"train": {"shard_weights": True}}, "shard_weights is for adapter.mode = 'full'"),
        ({"train": {"batch_size": 6, "gradient_accumulation": 4}}, "not a multiple of gradient_accumulation 4"),
        ({"folder": ""}, "folder: String should have at least 1 character"),
        ({"train": {"learning_rate": float("inf")}}, "train.learning_rate: Input should be a finite number"),
        ({"score": {"scales": {"world_taste": float("nan")}}}, "score.scales.world_taste: Input should be a finite"),
        ({"score": {"scales": {"world_taste": -1.0}}}, "score.scales.world_taste: Input should be greater than 0"),
        ({"score": {"scales": {"world_taste": 0}}}, "score.scales.world_taste: Input should be greater than 0"),
        ({"generate": {"image_format": "gif"}}, "generate.image_format: Input should be 'png', 'jpeg' or 'webp'"),
    ],
)
def test_a_mistake_is_named_with_its_path(values, message):
    with pytest.raises(ConfigError) as error:
        parse_config(values)
    assert message in str(error.value)


def test_a_file_may_begin_with_the_mark_of_some_editors_and_a_folder_is_no_file(tmp_path):
    (tmp_path / "run.toml").write_bytes(b"\xef\xbb\xbf[train]\r\nbeta = 2.0\r\n")
    assert load_config(tmp_path / "run.toml").train.beta == 2.0
    with pytest.raises(ConfigError, match=r"is a folder; give a run file, such as .*run\.toml"):
        load_config(tmp_path)


def test_all_mistakes_are_reported_at_once():
    with pytest.raises(ConfigError) as error:
        parse_config({"train": {"beta": -1, "stepz": 3}, "seed": -1})
    assert len(str(error.value).splitlines()) == 3


def test_overrides_are_typed_and_checked(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text("[train]\nbeta = 1.0\n")
    config = load_config(path, ["train.beta=200", "folder=runs/x y", 'score.scorers=["world_taste"]'])
    assert (config.train.beta, config.folder, config.score.scorers) == (200.0, "runs/x y", ("world_taste",))
    for wrong in ("train.beta", "=3", "seed.x=1"):
        with pytest.raises(ConfigError):
            load_config(path, ["seed=1", wrong])


@pytest.mark.parametrize(("text", "message"), [(None, "accord init world"), ("a = ", "not valid TOML")])
def test_a_file_that_cannot_be_read_says_so(tmp_path, text, message):
    path = tmp_path / "run.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(path)


@pytest.mark.parametrize("family", families())
@pytest.mark.parametrize("recipe", recipes())
def test_every_initial_run_file_is_complete_and_valid(family, recipe):
    text = initial_run_file(family, recipe)
    config = parse_config(tomllib.loads(text))
    model_family = "world" if family == "world_epsilon" else family
    assert (config.model.family, config.method.recipe) == (model_family, recipe)
    assert initial_run_file(family, recipe) == text


def test_recipes_are_what_their_papers_say():
    capo = parse_config(tomllib.loads(initial_run_file("world", "capo"))).method
    dpo = parse_config(tomllib.loads(initial_run_file("world", "diffusion_dpo"))).method
    fields = ("pairs", "target", "loss", "noise", "reference")
    assert [getattr(capo, f).name for f in fields] == [
        "frontier", "win_rate_gap", "squared", "gaussian_independent", "frozen",
    ]  # fmt: skip
    assert [getattr(dpo, f).name for f in fields] == ["best_worst", "one", "logistic", "gaussian_shared", "frozen"]


def test_defaults_are_a_valid_run():
    assert Config() == parse_config({})
