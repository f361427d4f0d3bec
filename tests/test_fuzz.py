"""Every public function, asked with one wrong argument at a time, answers or refuses in words: value and remedy."""

import contextlib
import dataclasses
import importlib
import inspect
import itertools
import os
import pkgutil
import re
import signal
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from doors import DOORS, EXEMPT, EXEMPTED, INNER
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.data import Dataset
from visitors import WRONG

import dlhelpers

PACKAGE = Path(dlhelpers.__file__).parent
REFUSALS = (ValueError, TypeError, OSError, RuntimeError, FloatingPointError)  # OSError: also a file that is missing
DOCUMENTED = {  # other types that the docstring promises
    KeyError: "plots.plot_history study_plots.plot_batch_sizes batch_sizes.BatchSizeStudy.plot history.History.column"
              " history.History.best history.EpochResult.value",
    IndexError: "shards.ShardDataset.__getitem__ shards.ShardDataset.__getitems__ datasets.NumberedImages.__getitem__"
                " datasets.Shapes.__getitem__ datasets.ImageDataset.__getitem__ history.History.__getitem__"
                " batch_sizes.BatchSizeStudy.__getitem__ probes.WorkerReport.__getitem__ splits.Split.position",
    psutil.Error: "memory.memory_use memory_trees.TreePeak memory_trees.tree_memory",
    MemoryError: "batch_sizes.study_batch_sizes",
}  # fmt: skip
REMEDY = re.compile(
    r"expected|(must|should) be|needs|takes|among|(history|it) has|there are|resize"
    r"|\b(use|pass|call|choose|build|check|give|try|make|move|copy|write|leave)\b",
    re.IGNORECASE,
)
PLACES = ("notebooks/*.ipynb", "examples/*.py", "docs/*.md", "README.md")  # where a reader meets a name
ANYTHING = st.one_of(
    st.integers(-4, 40),
    st.floats(),
    st.text("aé1 %{\n\0", max_size=4),
    st.binary(max_size=3),
    st.lists(st.none() | st.integers(-2, 2) | st.text("ab", max_size=2), max_size=3),
    st.builds(
        lambda shape, kind: torch.zeros(shape, dtype=kind),
        st.lists(st.integers(0, 3), max_size=3),
        st.sampled_from([torch.float32, torch.int64, torch.uint8, torch.bool, torch.complex64]),
    ),
)
SECONDS = 5  # until a call counts as hanging
METHODS = ("__call__", "__getitem__", "__getitems__")


def public_names():
    """Yield each public function, constructor and method with the arguments that a caller gives."""
    for found in pkgutil.walk_packages(dlhelpers.__path__, "dlhelpers."):
        if "lesson_" in found.name or found.name.endswith("__main__"):  # tasks; the command line has tests of its own
            continue
        module = importlib.import_module(found.name)
        for name, thing in vars(module).items():
            if name.startswith("_") or getattr(thing, "__module__", None) != found.name:
                continue
            path = f"{found.name.removeprefix('dlhelpers.')}.{name}"
            if inspect.isfunction(thing):
                yield path, thing
            elif inspect.isclass(thing) and not getattr(thing, "_is_protocol", False):
                if not dataclasses.is_dataclass(thing) and not hasattr(thing, "_fields"):  # a record takes anything
                    yield path, thing
                for key, method in vars(thing).items():
                    method = getattr(method, "__func__", method)
                    if inspect.isfunction(method) and (not key.startswith("_") or key in METHODS):
                        if not hasattr(thing, "_fields"):
                            yield f"{path}.{key}", method


def takes_arguments(thing):
    return any(name not in ("self", "cls") for name in inspect.signature(thing).parameters)


NAMES = {name: thing for name, thing in public_names() if thing.__init__ is not Exception.__init__}


def resolve(name):
    """The function, class or method itself: a class method bound to its class, another one free."""
    parts = name.split(".")
    cut = next(k for k in range(len(parts), 0, -1) if (PACKAGE / "/".join(parts[:k])).with_suffix(".py").exists())
    thing = importlib.import_module(".".join(["dlhelpers", *parts[:cut]]))
    for part in parts[cut:]:
        thing = getattr(thing, part)
    return thing


def use(result):
    """Do with a result what a caller would do next, for a few steps."""
    if isinstance(result, contextlib.AbstractContextManager):
        with result:
            return
    repr(result)
    if isinstance(result, Dataset) and hasattr(result, "__len__"):
        result = result[0] if len(result) else None
    if isinstance(result, Iterator) or hasattr(result, "__iter__") and not isinstance(result, (str, bytes)):
        list(itertools.islice(result, 3))


@contextlib.contextmanager
def alarm():
    """Break off what does not end."""

    def hangs(number, frame):
        pytest.fail(f"it was still running after {SECONDS} seconds")

    if not hasattr(signal, "setitimer"):  # Windows
        yield
        return
    before = signal.signal(signal.SIGALRM, hangs)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def call(name, arguments):
    arguments = {key: value for key, value in arguments.items() if key != "not"}
    function = arguments.pop("do", None) or resolve(name)
    first = (arguments.pop("self"),) if "self" in arguments else ()
    with alarm(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        use(function(*first, **arguments))


def forms(key, value):
    """The ways in which a message may name an argument: the argument itself, the value, what it is, its first part."""
    yield from (key, key.replace("_", " "), key.rpartition("_")[2], key.removesuffix("s") + " ")
    yield from (repr(value)[:40], str(value)[:40], f"{value}", type(value).__name__)
    for form in ("shape", "dtype", "__name__"):
        if hasattr(value, form):
            yield str(getattr(value, form)).removeprefix("torch.")
    with contextlib.suppress(TypeError):
        yield str(len(value))
        for first in itertools.islice(value, 1):
            yield from (repr(first)[:40], type(first).__name__)
    with contextlib.suppress(ValueError, TypeError):
        yield str(np.asarray(value).dtype)


def fault_of(name, key, value, error):
    """What is wrong with the way in which a value was refused, or None.

    What our own `raise` says has to name the argument and the remedy. Where Python, PyTorch or NumPy refuses a value
    for us, as in len(None), its type and its words are what it has: nothing is asked but that there are some.
    """
    promised = tuple(kind for kind, names in DOCUMENTED.items() if name in names.split())
    where = traceback.extract_tb(error.__traceback__)[-1]
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)  # a KeyError shows its repr
    came = f"{type(error).__name__} from {Path(where.filename).name}:{where.lineno}: {text[:150]!r}"
    if not isinstance(error, (*REFUSALS, *promised)) or isinstance(error, RecursionError):
        return f"not a refusal: {came}"
    if not text:
        return f"no word: {came}"
    ours = Path(where.filename).is_relative_to(PACKAGE) and where.line.startswith("raise")
    if not ours:
        return None
    if not any(form in text for form in forms(key, value)):
        return f"the value is not named: {came}"
    if not REMEDY.search(text):
        return f"nothing says what was expected: {came}"
    return None


def knock(name, key, value):
    """Call with one argument replaced; the fault, or None where the call worked or was refused well."""
    try:
        call(name, DOORS[name]() | {key: value})
    except Exception as error:
        return fault_of(name, key, value, error)
    return None


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """What is written goes to a folder of its own, progress too; nothing is drawn, timed or brought to the disk."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    monkeypatch.setattr("dlhelpers.batch_sizes.TIMED_SECONDS", 0)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DLHELPERS_PROGRESS", str(tmp_path / "progress.json"))
    monkeypatch.setenv("DLHELPERS_DATA", str(tmp_path))
    monkeypatch.setenv("TQDM_DISABLE", "1")
    with torch.random.fork_rng(devices=[]):
        yield


def test_every_public_name_is_knocked_at_or_let_off_with_a_reason():
    with_arguments = {name for name, thing in NAMES.items() if takes_arguments(thing)}
    assert with_arguments == DOORS.keys() | EXEMPTED.keys()
    assert not DOORS.keys() & EXEMPTED.keys() and max(EXEMPTED.values()) == 1


@pytest.mark.parametrize("name", DOORS)
def test_valid_arguments_are_taken(name):
    call(name, DOORS[name]())


@pytest.mark.parametrize("name", DOORS)
def test_a_wrong_argument_is_refused_in_words(name):
    entry = DOORS[name]()
    faults = []
    for key in entry.keys() - {"self", "do", "not"}:
        for kind, value in WRONG.items():
            if (key, kind) not in entry.get("not", ()):
                fault = knock(name, key, value)
                faults += [f"{key}={kind}: {fault}"] * (fault is not None)
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("name", DOORS)
@settings(max_examples=12, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(choice=st.data())
def test_whatever_is_given_is_taken_or_refused_in_words(name, choice):
    entry = DOORS[name]()
    left_out = {"self", "do", "not", "processes", *(key for key, _ in entry.get("not", ()))}  # or it costs too much
    if keys := sorted(entry.keys() - left_out):
        key, value = choice.draw(st.sampled_from(keys)), choice.draw(ANYTHING)
        assert knock(name, key, value) is None


def test_no_reader_meets_what_is_let_off_as_inner():
    met = set()
    for path in itertools.chain.from_iterable(PACKAGE.parent.glob(place) for place in PLACES):
        text = path.read_text(encoding="utf-8")
        for module, names in re.findall(r"from dlhelpers\.([\w.]+) import (\([^)]*\)|[^\n\\]*)", text):
            met.update(f"{module}.{name}" for name in re.findall(r"\w+", names))
    assert len(met) > 50
    assert not [name for name in EXEMPT[INNER].split() if name in met or name.rpartition(".")[0] in met]


def bad_door(size):
    return [1, 2, 3][size]


@pytest.mark.parametrize(
    ("door", "words"), [(bad_door, "not a refusal"), (lambda size: time.sleep(9), "still running")]
)
def test_a_bad_door_is_seen(door, words, monkeypatch):
    monkeypatch.setitem(DOORS, "start.begin", lambda: {"do": door, "size": 1})
    monkeypatch.setattr(f"{__name__}.SECONDS", 0.2)
    with pytest.raises((AssertionError, pytest.fail.Exception), match=words):
        test_a_wrong_argument_is_refused_in_words("start.begin")
