"""The list of askers hands out the least busy one, and whoever waits hears of every change."""

from __future__ import annotations

import asyncio

import pytest

from ffprompt.backends.askers import Asker, Askers


def test_the_one_with_the_fewest_requests_is_asked_and_none_beyond_its_places():
    askers: Askers[None] = Askers()
    one, other = Asker("one", None, places=2), Asker("other", None, places=1)
    askers.join(one)
    askers.join(other)
    with askers.use(one):
        assert askers.free() is other
        with askers.use(other):
            assert askers.free() is one
            with askers.use(one):
                assert askers.free() is None
    askers.leave(one)
    assert askers.free() is other
    assert list(askers) == [other]


def test_an_asker_that_joins_between_a_look_and_the_wait_is_noticed():
    async def scenario() -> str:
        askers: Askers[None] = Askers()
        assert askers.free() is None
        waiting = askers.change()
        askers.join(Asker("late", None))  # before anybody awaits
        await asyncio.wait_for(waiting, 1)
        found = askers.free()
        assert found is not None
        return found.name

    assert asyncio.run(scenario()) == "late"


def test_a_place_that_becomes_free_wakes_who_waits_and_a_problem_wakes_all():
    async def scenario() -> None:
        askers: Askers[None] = Askers()
        only = Asker("only", None, places=1)
        askers.join(only)
        with askers.use(only):
            waiting = [askers.change(), askers.change()]
            assert askers.free() is None
        await asyncio.wait_for(asyncio.gather(*waiting), 1)
        waiting = [askers.change()]
        askers.stop(ValueError("over"))
        await asyncio.wait_for(waiting[0], 1)
        with pytest.raises(ValueError, match="over"):
            askers.free()

    asyncio.run(scenario())
