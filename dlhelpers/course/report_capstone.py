"""Report on a learner's project by the six requirements of lesson 11, in a table to be copied."""

from collections.abc import Callable

from dlhelpers.base.sizes import human_bytes
from dlhelpers.base.tables import Table
from dlhelpers.course.capstone import (
    BUDGET,
    CAP,
    ENOUGH,
    HELD_OUT,
    Attempt,
    Project,
    attempt,
    finished,
    numbers,
)
from dlhelpers.course.judge_capstone import (
    Judge,
    judge_as_stated,
    judge_counts,
    judge_last_run,
    judge_learned,
    judge_price,
    judge_resumes,
)
from dlhelpers.course.judges import NotWritten


def _counts(tried: Attempt) -> str:
    stated = numbers(tried.project)
    return f"{stated['batches']:,} batches, the last of {stated['last_batch']:,}; {stated['optimizer_steps']:,} steps"


def _seen(tried: Attempt) -> str:
    return f"{sum(r.samples for r in finished(tried.run, 'train')):,} samples; {tried.run.seconds:.0f} seconds in all"


def _memory(tried: Attempt) -> str:
    private, file_backed = tried.run.peak_private, tried.run.peak_file_backed
    told = "unknown" if file_backed is None else human_bytes(file_backed)
    return f"{human_bytes(private)} private; file-backed: {told}"


def _accuracy(tried: Attempt) -> str:
    last = finished(tried.run, "valid")[-1]
    return f"{last.metrics['accuracy']:.1%} of {last.samples:,} images"


def _before(judge: Judge) -> Judge:
    """The judge of numbers that must be those from before the run, where it has been made."""

    def judge_before(answer: type[Project]) -> str | None:
        return "the numbers are stated afresh" if attempt(answer).stated_afresh else judge(answer)

    return judge_before


REPORTED: list[tuple[str, str, Judge, str, Callable[[Attempt], str]]] = [
    (
        "price",
        "stated before the run",
        _before(judge_price),
        "",
        lambda t: f"{numbers(t.project)['dataset_bytes']:,} bytes",
    ),
    ("counts", "stated before the run", _before(judge_counts), "", _counts),
    ("memory", f"at most {human_bytes(CAP)}", judge_last_run, "run", _memory),
    (
        "budget",
        f"batches, samples and steps as stated, at most {BUDGET:,} samples",
        judge_as_stated,
        "run",
        _seen,
    ),
    ("accuracy", f"at least {ENOUGH:.0%} of {HELD_OUT:,} images", judge_learned, "run", _accuracy),
    (
        "resuming",
        "as an unbroken run",
        judge_resumes,
        "unbroken_and_resumed",
        lambda tried: "equal losses, to 1e-6",
    ),
]


def report(answer: type[Project]) -> Table:
    """Return one row a requirement: what is asked, what the project has, and "met", "not yet" or "open".

    Nothing is trained for it: a requirement whose run has not been made with this very class is open.
    """
    tried, rows = attempt(answer), []
    for k, (name, asked, judge, after, yours) in enumerate(REPORTED, 1):
        state = _state(judge, answer) if not after or after in vars(tried) else "open"
        rows.append([k, name, asked, yours(tried) if state == "met" else "", state])
    met = sum(row[-1] == "met" for row in rows)
    return Table(
        ["", "requirement", "asked", "yours", "state"], rows, notes=[f"{met} of {len(rows)} met."]
    )


def _state(judge: Judge, answer: type[Project]) -> str:
    try:
        return "met" if judge(answer) is None else "not yet"
    except NotWritten:
        return "open"
    except Exception:  # a learner's code may fail in any way; the requirement's own check says how
        return "not yet"
