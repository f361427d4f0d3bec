"""Judge a learner's generators: what comes out, in which order, and how far they read ahead."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from random import Random

from dlhelpers.course.judges import NotWritten, is_blank


def judge_buffer(answer: Callable[[Iterable[int], int, Random], Iterable[int]]) -> str | None:
    """Say what is wrong with a learner's shuffle_buffer, or return None. Raises NotWritten for an empty function."""
    if problem := _not_a_generator(answer, range(3), 2, Random(0)):
        return problem
    runs = [_pass_through(answer, 10, 4, seed) for seed in range(60)]
    orders, held = [order for order, _ in runs], max(most for _, most in runs)
    if problem := _not_once(orders):
        return f"of the samples 0 to 9 a buffer of 4 gave {problem}"
    if held > 5:  # one more than the buffer: the sample that is about to take the place of another
        return f"with a buffer of 4, {held} samples were held at once: hand one out as soon as it is full."
    early = max((k - place, k, order) for order in orders for place, k in enumerate(order))
    if early[0] > 3:  # such a buffer draws among five
        return f"it gave {early[2]}: {early[1]} comes {early[0]} early, and a buffer of 4 can give it at most 3 early."
    if runs[0] != _pass_through(answer, 10, 4, 0):
        return "the same seed gave another order the second time: draw from the `random` that you are given."
    if all(order == orders[0] for order in orders):
        return f"it gives {orders[0]} whatever `random` draws: take out a sample at random."
    if len(firsts := {order[0] for order in orders}) < 4:
        return f"the first one out of a buffer of 4 is always among {sorted(firsts)}: fill it, then take any."
    if all(set(order[:4]) == {0, 1, 2, 3} for order in orders):
        return "this mixes four samples, then the next four. Take one out, and let the next one in at once."
    if len({tuple(_pass_through(answer, 4, 6, seed)[0]) for seed in range(60)}) < 12:
        return "what is left in the buffer when the stream ends comes out in order: shuffle it."
    return None


def judge_checked(answer: Callable[[Iterable[int], int], Iterable[int]]) -> str | None:
    """Say what is wrong with a learner's checked, or return None. Raises NotWritten for an empty function."""
    if problem := _not_a_generator(answer, range(3), 3):
        return problem
    for length, promised in ((5, 5), (3, 5), (7, 5), (0, 5), (0, 0)):
        came, refusal, read = [], None, _Reading(length)
        try:
            for sample in islice(answer(read, promised), 20):
                came.append(sample)
                if read.taken > len(came) + 1:
                    return f"it had read {read.taken} samples when it gave its first: pass each on before the next."
        except NameError as error:
            if length:
                raise
            return f"a stream without a sample: {error}. Begin to count before the loop."
        except TypeError as error:
            if "has no len" not in str(error):
                raise
            return "a stream has no length to ask for: count what comes."
        except ValueError as error:
            refusal = str(error)
        except AssertionError:
            return "an `assert` can be switched off: raise a ValueError."
        if refusal is not None and len(came) < length and came == list(range(len(came))):
            return f"after {len(came)} of {length} samples it raised a ValueError: compare after the loop."
        if came != list(range(length)):
            return f"of the samples 0 to {length - 1} it passed on {came}: each is expected once, in order."
        if refusal is None and length != promised:
            return f"{length} samples came, {promised} were promised, and no ValueError was raised."
        if refusal is not None and length == promised:
            return f"{promised} samples were promised and {length} came, and it raised a ValueError: {refusal}"
        if length != promised and not (str(length) in refusal and str(promised) in refusal):
            return f"the message is {refusal!r}: name how many came ({length}) and how many were promised ({promised})."
    return None


class _Reading:
    """The numbers 0, 1, 2, ... as a stream that can be read once, and how many have been taken."""

    def __init__(self, length: int):
        self.length, self.taken = length, 0

    def __iter__(self) -> Iterator[int]:
        while self.taken < self.length:
            self.taken += 1
            yield self.taken - 1


def _not_once(orders: list[list[int]]) -> str | None:
    """An order of 0 to 9 that lacks or repeats a number, and the likely reason; None where all are whole."""
    odd = next((order for order in orders if sorted(order) != list(range(10))), None)
    if odd is None:
        return None
    if twice := [k for k in odd if odd.count(k) > 1]:
        return f"{odd}: {twice[0]} came more than once. Take it out with `pop`."
    came = set().union(*orders)
    if never := [
        k for k in range(4, max(came, default=0)) if k not in came
    ]:  # not those left over at the end
        return f"{odd}: {never[0]} was never put into the buffer."
    if len(odd) < 6:  # more are missing than the buffer of 4 can have kept
        return f"{odd}: no more came. Take a sample out with `pop`, so that there is room for the next."
    return f"{odd}: each is expected once. Think of the end, too."


def _not_a_generator(answer: Callable, *arguments: object) -> str | None:
    """What is wrong with an answer that cannot be iterated over; NotWritten where nothing is written yet."""
    if is_blank(answer):
        raise NotWritten
    if not callable(answer):
        return f"a function is expected, and {answer!r} is none: pass its name without brackets."
    result = answer(*arguments)
    if isinstance(result, (list, tuple)):
        return f"it gave back a {type(result).__name__}: it read everything before giving the first. Use `yield`."
    if not isinstance(result, Iterable):
        return f"it gave back {result!r}, over which no loop can go: hand the samples out with `yield`."
    return None


def _pass_through(answer: Callable, length: int, size: int, seed: int) -> tuple[list[int], int]:
    """The order that a buffer makes of 0, 1, 2, ..., and the most samples it had read and not given."""
    source, order, most = _Reading(length), [], 0
    for sample in islice(
        answer(source, size, Random(seed)), 3 * length
    ):  # or an endless answer would not come back
        most = max(most, source.taken - len(order))
        order.append(sample)
    return order, most
