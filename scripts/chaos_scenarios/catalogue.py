"""Every scenario, by name."""

from scripts.chaos_scenarios import kills

SCENARIOS = {each.name: each for room in (kills,) for each in room.SCENARIOS}
