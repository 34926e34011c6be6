"""The count of the lost nodes against a plain walk over all of them."""

from hypothesis import given
from hypothesis import strategies as st

from orchestra.controllers.plans.losses import Losses

NAMES = st.sampled_from("abcdef")
STEPS = st.lists(st.tuples(st.sampled_from(("lost", "not_lost")), NAMES, st.integers(0, 5)), max_size=40)


def test_turns_go_by_age() -> None:
    losses = Losses()
    for name, at_ns in (("b", 1), ("a", 2), ("c", 0)):
        losses.lost(name, at_ns)
    assert {name: losses.turn(name, 100, 10) for name in losses.names()} == {"c": 110, "b": 120, "a": 130}
    losses.not_lost("c")
    assert losses.turn("c", 100, 10) is None
    assert losses.turn("b", 100, 10) == 110


def test_whoever_is_awaited_is_due_once() -> None:
    losses = Losses()
    losses.lost("a", 1)
    losses.awaited("a", 7)
    losses.awaited("b", 5)
    assert not len(losses)
    assert losses.due(4) == []
    assert losses.due(7) == ["b", "a"]
    assert losses.due(9) == []


@given(STEPS)
def test_the_count_is_that_of_a_walk(steps: list[tuple[str, str, int]]) -> None:
    losses, plain = Losses(), dict[str, int]()
    for what, name, at_ns in steps:
        if what == "lost":
            losses.lost(name, at_ns)
            plain[name] = at_ns
        else:
            losses.not_lost(name)
            plain.pop(name, None)
        ordered = sorted(plain, key=lambda name: (plain[name], name))
        assert (len(losses), losses.names()) == (len(plain), ordered)
        for position, lost in enumerate(ordered):
            assert losses.turn(lost, 100, 10) == 100 + 10 * (position + 1)
