"""Patches on JSON values: merge (RFC 7386), JSON (RFC 6902), strategic merge, and apply's three-way diff.

All are pure: no input is changed, no output shares a list or an object with an input. All are bounded, since
patches come from outside. Knows from the message types only what their fields' options say of merging;
whether the outcome is a good object is the codec's and validation's business.
"""

from orchestra.objects.patches.diff import three_way
from orchestra.objects.patches.merge import merge_patch
from orchestra.objects.patches.operations import OPERATIONS_MAX, json_patch
from orchestra.objects.patches.strategic import strategic_merge
from orchestra.objects.patches.values import DEPTH_MAX, PATCH_BYTES_MAX, clone, load_patch, same

__all__ = [
    "DEPTH_MAX",
    "OPERATIONS_MAX",
    "PATCH_BYTES_MAX",
    "clone",
    "json_patch",
    "load_patch",
    "merge_patch",
    "same",
    "strategic_merge",
    "three_way",
]
