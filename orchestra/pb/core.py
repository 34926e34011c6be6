"""core/v1 messages, gathered from the files that define them."""

from orchestra.pb.core_v1_cluster_pb2 import *
from orchestra.pb.core_v1_container_pb2 import *
from orchestra.pb.core_v1_node_pb2 import *
from orchestra.pb.core_v1_pod_pb2 import *
from orchestra.pb.core_v1_refs_pb2 import *
from orchestra.pb.core_v1_service_pb2 import *
from orchestra.pb.core_v1_volume_pb2 import *
from orchestra.pb.core_v1_workload_pb2 import *
