"""Tests of the command line: exit codes, one line for each error, and the same work as the functions do."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from dlhelpers.__main__ import main
from dlhelpers.course.records import record
from dlhelpers.data import load
from dlhelpers.packed import PackedDataset, pack_folder


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setenv("TQDM_DISABLE", "1")


@pytest.fixture
def folder(tmp_path):
    for number in range(12):
        path = tmp_path / "images" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 5), (number, 0, 0)).save(path)
    return tmp_path / "images"


def run(capsys, *arguments):
    """The exit code of a command, and the lines of its output and of its errors."""
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    return code, captured.out.splitlines(), captured.err.splitlines()


def flip(target):
    path = target / "images.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    return path.name


def test_a_folder_is_packed_and_verified(folder, tmp_path, capsys):
    code, out, errors = run(capsys, "pack", folder, tmp_path / "out", "--seed", 3, "--size", 4)
    assert (code, errors) == (0, []) and out[-1] == f"{tmp_path / 'out'} is whole"
    assert [line.split()[-1] for line in out if line.startswith("samples")] == ["12"]
    pack_folder(folder, tmp_path / "same", size=4, shuffle_seed=3, progress=False)
    files = [
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in ("out", "same")
    ]
    assert files[0] == files[1]
    code, out, errors = run(capsys, "verify", tmp_path / "out")
    assert (code, errors) == (0, []) and out[-1] == f"{tmp_path / 'out'} is as it was written"


def test_a_flipped_byte_is_found(folder, tmp_path, capsys):
    run(capsys, "pack", folder, tmp_path / "out")
    name = flip(tmp_path / "out")
    code, out, errors = run(capsys, "verify", tmp_path / "out")
    assert (code, errors) == (1, []) and out[-1] == f"{tmp_path / 'out'} is damaged"
    assert any(name in line for line in out)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_named_dataset_is_packed(tmp_path, capsys, split):
    assert run(capsys, "pack", "digits", tmp_path / "out", "--split", split)[0] == 0
    packed, dataset = PackedDataset(tmp_path / "out"), load("digits", split)
    assert len(packed) == len(dataset) and list(packed.classes) == dataset.classes
    total = (dataset.images * 255).round().sum()
    assert sum(packed[k][0].sum() for k in range(len(packed))) == total


def test_a_generated_dataset_takes_a_size(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("dlhelpers.data.datasets.Shapes.__len__", lambda self: 20)
    assert run(capsys, "pack", "shapes", tmp_path / "out", "--size", 16, "--processes", 1)[0] == 0
    assert PackedDataset(tmp_path / "out").shape == (3, 16, 16)


def test_a_named_dataset_that_is_not_here_says_how_to_fetch_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("DLHELPERS_DATA", str(tmp_path / "none"))
    code, out, errors = run(capsys, "pack", "cifar10", tmp_path / "out")
    assert code == 1 and out == [] and len(errors) == 1
    assert re.match(r"dlhelpers: cifar10 is not in .*none: pass --download", errors[0])


def test_download_is_handed_on(tmp_path, capsys, monkeypatch):
    asked = []

    def fetch(name, split, *, size, download):
        asked.append((name, split, size, download))
        raise ConnectionError("no network")

    monkeypatch.setattr("dlhelpers.data.datasets.load", fetch)
    assert run(capsys, "pack", "cifar10", tmp_path / "out", "--download")[::2] == (
        1,
        ["dlhelpers: no network"],
    )
    assert asked == [("cifar10", "train", None, True)]


def test_bad_images_are_refused_or_skipped_and_listed(folder, tmp_path, capsys):
    (folder / "a" / "4.png").write_bytes((folder / "a" / "4.png").read_bytes()[:45])
    code, out, errors = run(capsys, "pack", folder, tmp_path / "out")
    assert code == 1 and out == [] and len(errors) == 1
    assert re.match(r"dlhelpers: a/4.png cannot be used: .*\(--skip-bad\)$", errors[0])
    code, out, errors = run(capsys, "pack", folder, tmp_path / "out", "--skip-bad")
    assert (code, errors) == (0, []) and any(
        line.startswith("Note: a/4.png cannot be used: ") for line in out
    )


def test_images_of_two_sizes_name_the_option(folder, tmp_path, capsys):
    Image.new("RGB", (9, 9)).save(folder / "b" / "x.png")
    code, _, errors = run(capsys, "pack", folder, tmp_path / "out")
    assert (
        code == 1
        and len(errors) == 1
        and "6 x 5" in errors[0]
        and "9 x 9" in errors[0]
        and "--size 5" in errors[0]
    )


def test_a_dataset_is_replaced_only_when_told(folder, tmp_path, capsys):
    run(capsys, "pack", folder, tmp_path / "out")
    code, _, errors = run(capsys, "pack", folder, tmp_path / "out")
    assert (
        code == 1
        and len(errors) == 1
        and "--overwrite" in errors[0]
        and "overwrite=True" not in errors[0]
    )
    assert run(capsys, "pack", folder, tmp_path / "out", "--overwrite")[0] == 0


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda target: None, "there is no folder"),
        (lambda target: target.mkdir(), "holds no dataset"),
    ],
)
def test_what_cannot_be_verified_is_a_failure(tmp_path, capsys, make, message):
    make(tmp_path / "out")
    code, out, errors = run(capsys, "verify", tmp_path / "out")
    assert code == 1 and out == [] and len(errors) == 1 and message in errors[0]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "the following arguments are required: COMMAND"),
        (["unpack"], "invalid choice: 'unpack'"),
        (["pack", "digits"], "the following arguments are required: target"),
        (["pack", "digits", "out", "--processes", "two"], "invalid int value: 'two'"),
        (
            ["pack", "digits", "out", "--size", "8"],
            "--size and --skip-bad are for folders, and digits is a named dataset",
        ),
        (["pack", "digits", "out", "--skip-bad"], "--size and --skip-bad are for folders"),
        (
            ["pack", "nowhere", "out"],
            "SOURCE is nowhere: expected a folder, or one of digits, shapes, cifar10",
        ),
        (
            ["pack", ".", "out", "--download"],
            "--download and --split are for digits, shapes, .* and SOURCE is .",
        ),
        (["verify"], "the following arguments are required: target"),
    ],
)
def test_a_wrong_command_line_is_told_and_exit_code_2(
    tmp_path, capsys, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    code, out, errors = run(capsys, *arguments)
    assert code == 2 and out == [] and re.search(message, errors[-1])
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_is_one_line(folder, tmp_path, capsys, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("dlhelpers.packed.packing.pack_folder", interrupt)
    code, _, errors = run(capsys, "pack", folder, tmp_path / "out")
    assert code == 1 and errors == ["dlhelpers: interrupted: the same command goes on from here"]


def test_an_error_of_a_worker_is_its_last_line(folder, tmp_path, capsys, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError(
            "Caught an error in DataLoader worker process 0.\nTraceback:\n  line 3\nValueError: what it was"
        )

    monkeypatch.setattr("dlhelpers.packed.packing.pack_folder", fail)
    code, _, errors = run(capsys, "pack", folder, tmp_path / "out")
    assert code == 1 and errors == ["dlhelpers: ValueError: what it was"]


def test_the_module_runs_as_a_program(folder, tmp_path):
    def call(*arguments):
        command = [sys.executable, "-m", "dlhelpers", *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, text=True, cwd=Path(__file__).parents[1]
        )

    helped = call("--help")
    assert helped.returncode == 0 and "pack" in helped.stdout and "verify" in helped.stdout
    failed = call("verify", tmp_path / "none")
    assert (
        failed.returncode == 1
        and failed.stderr.count("\n") == 1
        and "Traceback" not in failed.stderr
    )


def test_help_needs_no_torch():
    code = "import sys\ntry:\n    import dlhelpers.__main__ as m; m.main(['--help'])\nexcept SystemExit: pass\n"
    code += "assert not {'torch', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_the_doctor_speaks_and_its_exit_code_says_whether_all_is_good(capsys, monkeypatch):
    code, out, errors = run(capsys, "doctor")
    assert (
        errors == [] and code == int(any(line.startswith("MEND") for line in out)) and len(out) > 10
    )
    monkeypatch.setenv("DLHELPERS_DEVICE", "toaster")
    code, out, errors = run(capsys, "doctor", "--json")
    assert code == 1 and any(
        not finding["good"] and "toaster" in finding["found"]
        for finding in json.loads("".join(out))
    )


def test_prefetch_says_how_to_use_the_folder_and_refuses_what_it_cannot_fetch(capsys, tmp_path):
    code, out, errors = run(capsys, "prefetch", "digits", "--folder", tmp_path)
    assert (code, errors) == (0, []) and out[-1].endswith(f"DLHELPERS_DATA={tmp_path}")
    code, out, errors = run(capsys, "prefetch", "cifar", "--folder", tmp_path)
    assert (code, out) == (1, []) and "cannot fetch 'cifar': expected some of" in errors[0]


def test_what_a_learner_exports_is_pooled_into_a_table_and_a_picture(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("DLHELPERS_PROGRESS", str(tmp_path / "progress.json"))
    record("lesson_01.promised", done=True)
    (tmp_path / "class").mkdir()
    handed_in = tmp_path / "class" / "a.json"
    assert run(capsys, "export", handed_in) == (0, [f"{handed_in} is written"], [])
    code, out, errors = run(capsys, "export", handed_in)
    assert (code, out) == (1, []) and "File exists" in errors[0]
    picture = tmp_path / "class.png"
    code, out, errors = run(capsys, "classroom", handed_in.parent, "--picture", picture)
    assert (code, errors, out[0]) == (0, [], "learners: 1")
    assert ["lesson_01.promised", "1", "0", "0", "1.0"] in [line.split() for line in out]
    assert picture.read_bytes().startswith(b"\x89PNG")
    code, out, errors = run(capsys, "classroom", tmp_path / "nowhere")
    assert (code, out) == (1, []) and "No such file or directory" in errors[0]
