"""Every scenario, by name."""

from scripts.chaos_scenarios import agents, backups, disks, kills, members, partitions

_ROOMS = (kills, partitions, disks, members, agents, backups)
SCENARIOS = {each.name: each for room in _ROOMS for each in room.SCENARIOS}
