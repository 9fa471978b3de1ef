"""A run's folder: made once, resumed only with the same settings, shared by nobody."""

from pathlib import Path

import pytest

from meld_core.config import Config, load_config
from meld_core.storage.files import StorageError
from meld_core.storage.run_folder import RunError, RunFolder, existing_runs, run_folder


def test_paths_are_those_of_the_design():
    run = run_folder("demo")
    paths = (
        run.config_file, run.replay, run.spool, run.weights, run.checkpoints, run.metrics, run.tensorboard, run.videos,
        run.certificate, run.report,
    )  # fmt: skip
    assert [str(path) for path in paths] == [
        f"runs/demo/{name}"
        for name in (
            "config.yaml", "replay", "spool", "weights", "checkpoints", "metrics.jsonl", "tensorboard", "videos",
            "certificate.json", "report.html",
        )
    ]  # fmt: skip
    assert run.name == "demo"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "-x", "a b", "ä", "x" * 65, "a\n"])
def test_a_name_that_cannot_be_a_folder_is_refused(name):
    with pytest.raises(RunError, match=r"run name .* must be up to 64 of A-Z"):
        run_folder(name)


def test_a_new_run_stores_its_config(tmp_path):
    config = load_config([], ["sac.discount=0.5"])
    run = RunFolder(tmp_path / "deep" / "demo").create(config)
    assert run.read_config() == config
    assert all(folder.is_dir() for folder in (run.replay, run.spool, run.weights, run.checkpoints, run.videos))


def test_an_existing_run_is_not_overwritten_and_both_ways_out_are_named(tmp_path):
    run = RunFolder(tmp_path / "demo").create(Config())
    with pytest.raises(
        RunError, match=rf"run {run.path} exists; go on with --resume, or choose another name with --run"
    ):
        run.create(Config())


def test_resume_needs_the_same_settings(tmp_path):
    run = RunFolder(tmp_path / "demo").create(Config())
    assert run.create(Config(), resume=True) == run
    other = load_config([], ["sac.discount=0.5", "sim.views=[wrist]"])
    with pytest.raises(RunError) as caught:
        run.create(other, resume=True)
    assert "(sim.views was ['external', 'wrist'], now ['wrist']; sac.discount was 0.95, now 0.5)" in str(caught.value)
    assert run.read_config() == Config()


def test_resume_needs_the_ports_with_which_the_run_began(tmp_path):
    ports = tmp_path / "ports.yaml"
    ports.write_text("as taught")
    config = load_config([], ["task.name=ethernet", f"task.taught={ports}"])
    run = RunFolder(tmp_path / "demo").create(config)
    ports.write_text("taught again")
    with pytest.raises(RunError, match=rf"other ports than {ports} holds now; put its own \({run.taught}\) back there"):
        run.create(config, resume=True)
    ports.write_bytes(run.taught.read_bytes())
    assert run.create(config, resume=True) == run
    ports.unlink()
    with pytest.raises(RunError, match=rf"cannot read {ports}: No such file or directory \[setting: task.taught\]"):
        run.create(config, resume=True)


def test_resume_of_nothing_begins(tmp_path):
    assert RunFolder(tmp_path / "demo").create(Config(), resume=True).read_config() == Config()


def test_a_creation_that_was_cut_off_can_be_repeated(tmp_path):
    run = RunFolder(tmp_path / "demo")
    run.replay.mkdir(parents=True)
    assert run.create(Config()).read_config() == Config()


def test_a_missing_run_is_named_with_those_that_exist(tmp_path):
    with pytest.raises(RunError, match=rf"there is no run folder {tmp_path}/dmeo; {tmp_path} holds no runs"):
        RunFolder(tmp_path / "dmeo").open()
    for name in ("demo", "paper"):
        RunFolder(tmp_path / name).create(Config())
    (tmp_path / "junk").mkdir()
    with pytest.raises(RunError, match=r"dmeo; existing runs: demo, paper; did you mean 'demo'\?"):
        RunFolder(tmp_path / "dmeo").open()
    with pytest.raises(RunError, match=r"existing runs: demo, paper$"):
        RunFolder(tmp_path / "zzz").open()
    assert RunFolder(tmp_path / "demo").open().name == "demo"
    assert existing_runs(tmp_path) == ["demo", "paper"]


def test_a_stored_config_of_another_version_is_said(tmp_path):
    run = RunFolder(tmp_path / "demo").create(Config())
    run.config_file.write_text("sac: {colour: red}\n")
    with pytest.raises(RunError, match=r"the config of run .*demo cannot be used: .*unknown setting 'sac\.colour'"):
        run.read_config()


def test_two_trainings_never_share_a_folder(tmp_path):
    run = RunFolder(tmp_path / "demo")
    with run.lock():
        message = rf"run {run.path} is in use for training; stop that process, .* \(process \d+\)"
        with pytest.raises(StorageError, match=message), run.lock():
            pass
        with run.lock("evaluation"):
            pass
    with run.lock():
        pass


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot create the folder"):
        RunFolder(Path(tmp_path / "file" / "demo")).create(Config())
