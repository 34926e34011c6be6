"""discovery.k8s.io/v1 messages."""

from orchestra.pb.discovery_v1_pb2 import *
