"""The Store contract on a real etcd cluster (3.4 or newer), and leadership by an etcd lease.

Knows etcd's v3 API as a client sees it: what may be asked twice, which words mean which refusal, and that a
watch's stream may break anywhere. Must not know what the bytes mean nor who asks, so that a master on etcd is
the same master.

All watches share one stream that follows every key of the cluster. That is what makes a bookmark true: each
revision has an event there, so what was not seen has not happened. (A progress request of etcd's own may
overtake events before 3.4.25 and 3.5.8.) The price: the cluster has to be Orchestra's own, or a quiet one.
"""

from orchestra.store.etcd.compactor import EtcdCompactor
from orchestra.store.etcd.connection import addresses_of
from orchestra.store.etcd.leadership import EtcdLeadership
from orchestra.store.etcd.store import EtcdStore

__all__ = ["EtcdCompactor", "EtcdLeadership", "EtcdStore", "addresses_of"]
