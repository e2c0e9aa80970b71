"""A queue that serves its flows in turn."""

from collections import defaultdict, deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.fairness import FairQueue


def filled(*items):
    """A queue of (flow, item)."""
    queue = FairQueue()
    for flow, item in items:
        queue.put(flow, item)
    return queue


def drained(queue):
    """All that a queue has, in its order."""
    return [queue.get() for _ in range(len(queue))]


def test_flows_take_turns():
    """One item of each flow, whoever came first and however much they have."""
    queue = filled(("a", 1), ("a", 2), ("a", 3), ("b", 4), ("c", 5), ("b", 6))
    assert drained(queue) == [1, 4, 5, 2, 6, 3]


def test_an_empty_queue_says_so():
    """And is false, as other collections are."""
    queue = FairQueue()
    assert not queue
    with pytest.raises(IndexError, match="the queue is empty"):
        queue.get()


def test_what_does_not_fit_keeps_its_place():
    """It stays the first, so that nothing overtakes it for ever; behind it in its flow nothing is taken."""
    queue = filled(("a", 1), ("b", 10), ("b", 2), ("c", 3), ("c", 5))
    assert list(queue.take(lambda item: item < 10)) == [1, 3, 5]
    queue.put("d", 4)
    assert drained(queue) == [10, 4, 2]


def test_nothing_more_is_taken_once_nothing_fits():
    """What is asked may change with what was taken."""
    queue, taken = filled(*((flow, flow) for flow in range(9))), []
    taken.extend(queue.take(lambda _: len(taken) < 4))
    assert taken == [0, 1, 2, 3]
    assert len(queue) == 5


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), max_size=40), st.integers(0, 10))
def test_nothing_is_lost_and_flows_keep_their_order(items, limit):
    """By any way of taking, every item comes once, and those of a flow in the order they were put."""
    numbered = [(flow, (flow, index, value)) for index, (flow, value) in enumerate(items)]
    queue = filled(*numbered)
    came = list(queue.take(lambda item: item[2] < limit))
    assert all(value < limit for _, _, value in came)
    came += drained(queue)
    assert len(queue) == 0
    by_flow = defaultdict(deque)
    for item in came:
        by_flow[item[0]].append(item[1])
    assert sorted(came) == sorted(item for _, item in numbered)
    assert all(list(indices) == sorted(indices) for indices in by_flow.values())
