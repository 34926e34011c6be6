"""meta/v1 messages and the small value types."""

from orchestra.pb.meta_v1_pb2 import *
