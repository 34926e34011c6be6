"""autoscaling/v1 messages."""

from orchestra.pb.autoscaling_v1_pb2 import *
