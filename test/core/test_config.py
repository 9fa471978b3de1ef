"""Settings: strict reading, and errors that a person can act on."""

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meld_core.config import (
    Config,
    ConfigError,
    Section,
    did_you_mean,
    dump_config,
    flatten,
    from_mapping,
    load_config,
    merge,
    parse_override,
    read_yaml,
    to_mapping,
)

CONFIGS = Path(__file__).parents[2] / "config"


def refusal(call, *args) -> str:
    with pytest.raises(ConfigError) as caught:
        call(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def override(text: str) -> Config:
    return load_config([], [text])


def sections(section: Section):
    for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        if isinstance(value, Section):
            yield from sections(value)
        else:
            yield section, field


def test_every_setting_says_what_it_means():
    for section, field in sections(Config()):
        assert field.metadata.get("doc", "").endswith("."), f"{type(section).__name__}.{field.name}"


def test_defaults_need_no_file():
    assert load_config() == Config()
    assert Config().task.episodes == 2


def test_a_later_file_wins_and_an_override_wins_over_files(tmp_path):
    (tmp_path / "a.yaml").write_text("sac: {discount: 0.5, hidden: 64}\n")
    (tmp_path / "b.yaml").write_text("sac: {discount: 0.75}\n")
    config = load_config([tmp_path / "a.yaml", tmp_path / "b.yaml"], ["sac.critics=5"])
    assert (config.sac.discount, config.sac.hidden, config.sac.critics) == (0.75, 64, 5)
    assert config.sac.n_step == Config().sac.n_step


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sac.discoutn=0.9", "unknown setting 'sac.discoutn'; did you mean 'discount'?"),
        ("sacc.discount=0.9", "unknown setting 'sacc'; did you mean 'sac'?"),
        ("sac.discount=1.5", "SacConfig.discount is 1.5, must lie in [0.0, 1.0]"),
        ("sac.discount=-0.1", "SacConfig.discount is -0.1, must lie in [0.0, 1.0]"),
        ("task.horizon=0", "TaskConfig.horizon is 0, must lie in [1, 1000] steps"),
        ("task.episode_form=fixed_lenght", "TaskConfig.episode_form is 'fixed_lenght'; did you mean 'fixed_length'?"),
        ("sac.hidden=64.0", "setting 'sac.hidden' is 64.0 (float), expected int"),
        ("sac.hidden=true", "setting 'sac.hidden' is True (bool), expected int"),
        ("model.skip=1", "setting 'model.skip' is 1 (int), expected bool"),
        ("sac.discount=true", "setting 'sac.discount' is True (bool), expected float"),
        ("sac.discount=high", "setting 'sac.discount' is 'high' (str), expected float"),
        ("sac.discount=", "setting 'sac.discount' is None (NoneType), expected float"),
        ("sac=3", "setting 'sac' is a group of settings, got 3"),
        ("reward.region=[0, 0, 64]", "setting 'reward.region' has 3 elements, expected 4"),
        ("reward.region=[0, 0, 64, 1.5]", "setting 'reward.region[3]' is 1.5 (float), expected int"),
        ("reward.region=[0, 0, 64, -1]", "RewardConfig.region is (0, 0, 64, -1), must lie in [0, None] px"),
        ("sim.views=external", "setting 'sim.views' is 'external', expected a list"),
        ("sac.discount", "'sac.discount' is not of the form group.name=value"),
        ("=3", "'=3' is not of the form group.name=value"),
        ("sac.target_entropy_per_action=.nan", "SacConfig.target_entropy_per_action is nan, must be a finite number"),
        ("loss.image_weight=.inf", "LossConfig.image_weight is inf, must be a finite number"),
    ],
)
def test_a_wrong_setting_is_refused_with_what_would_do(text, message):
    assert refusal(override, text) == message


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1e-3", 0.001), ("1.0e-3", 0.001), (".5", 0.5), ("1", 1.0), ("0", 0.0), ("'0.25'", 0.25)],
)
def test_numbers_that_yaml_reads_as_text_or_int_are_floats(text, expected):
    """YAML 1.1 reads 1e-3 as text and 1 as an int."""
    value = override(f"sac.discount={text}").sac.discount
    assert value == expected
    assert type(value) is float


@pytest.mark.parametrize("text", ["no", "off", "yes", "on"])
def test_yaml_words_for_bool_are_no_names(text):
    """YAML 1.1 reads no, off, yes, on as bool: a name must not turn into one unnoticed."""
    assert "(bool), expected str" in refusal(override, f"reward.kind={text}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n", "must hold settings as 'group: {name: value}', got list"),
        ("sac\n", "must hold settings as 'group: {name: value}', got str"),
        ("a: [1", "is not readable YAML: "),
        ("sac: !!python/object/apply:os.getcwd []", "is not readable YAML: could not determine a constructor"),
        ("sac: {hidden: 64}\nsac: {critics: 2}\n", "is not readable YAML: 'sac' is given twice"),
        ("sac:\n  hidden: 64\n  hidden: 65\n", "is not readable YAML: 'hidden' is given twice"),
        ("on: 1\n", "unknown setting 'True'"),
        ("sac:\n", "setting 'sac' is a group of settings, got None"),
        ("sac: {hiden: 64}\n", "unknown setting 'sac.hiden'; did you mean 'hidden'?"),
    ],
)
def test_a_wrong_file_is_named(tmp_path, text, message):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    said = refusal(load_config, [path])
    assert said.startswith(str(path))
    assert message in said


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    assert refusal(read_yaml, tmp_path / "none.yaml") == f"there is no config file {tmp_path / 'none.yaml'}"
    assert refusal(read_yaml, tmp_path) == f"cannot read config file {tmp_path}: Is a directory"
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe")
    assert "not UTF-8 text" in refusal(read_yaml, tmp_path / "b.yaml")


def test_an_empty_file_changes_nothing(tmp_path):
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert load_config([tmp_path / "empty.yaml"]) == Config()


def test_override_with_malformed_yaml():
    assert refusal(override, "sac.discount=[1").startswith("the value in 'sac.discount=[1' is not readable YAML: ")


def test_resolved_config_reads_back_equal(tmp_path):
    config = load_config([], ["sac.discount=0.5", "sim.views=[wrist]", "reward.region=[1, 2, 3, 4]"])
    (tmp_path / "config.yaml").write_text(dump_config(config))
    assert load_config([tmp_path / "config.yaml"]) == config


def test_digest_changes_with_every_setting_and_not_with_how_it_was_given():
    assert override("sac.discount=0.95").digest() == Config().digest()
    assert override("sac.discount=0.949").digest() != Config().digest()


def test_settings_cannot_be_changed_after_reading():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().sac.discount = 0.1  # type: ignore[misc]


def test_flatten_and_merge():
    assert flatten({"sac": {"discount": 0.5, "a": {"b": [1]}}, "x": 1}) == {"sac.discount": 0.5, "sac.a.b": [1], "x": 1}
    assert merge({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 9}, "d": 4}) == {"a": {"b": 9, "c": 2}, "d": 4}


def test_merge_leaves_its_arguments_alone():
    base = {"a": {"b": 1}}
    merge(base, {"a": {"b": 2}})
    assert base == {"a": {"b": 1}}


def test_did_you_mean():
    assert did_you_mean("discoutn", ["discount", "hidden"]) == "; did you mean 'discount'?"
    assert did_you_mean("zzz", ["hidden", "discount"]) == " (known: discount, hidden)"


def test_parse_override_nests():
    assert parse_override("a.b.c=[1, x]") == {"a": {"b": {"c": [1, "x"]}}}


_YAML = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)
_NAMES = st.sampled_from(sorted(flatten(to_mapping(Config()))))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(name=_NAMES, value=_YAML)
def test_any_value_of_any_setting_is_taken_or_refused_in_a_sentence(name, value):
    group, _, setting = name.partition(".")
    try:
        config = from_mapping(Config, {group: {setting: value}})
    except ConfigError as error:
        assert setting in str(error)
    else:
        assert from_mapping(Config, to_mapping(config)) == config


@settings(max_examples=200, deadline=None, derandomize=True)
@given(text=st.text(max_size=60))
def test_any_override_is_taken_or_refused(text):
    try:
        override(text)
    except ConfigError as error:
        assert str(error)


SETTINGS = [path for path in sorted(CONFIGS.rglob("*.yaml")) if path.parent.name not in ("studies", "gazebo")]
"""Every file of settings; the tables of studies are read in test_study.py."""


@pytest.mark.parametrize("path", SETTINGS, ids=lambda path: path.name)
def test_shipped_configs_are_valid(path):
    load_config([path])
