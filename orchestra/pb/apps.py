"""apps/v1 messages."""

from orchestra.pb.apps_v1_pb2 import *
