"""`FakeCoder`: a Coder deployment to test against, with virtual time and planned faults. Public."""

from ooda.testing.fake_coder.clock import FleetClock
from ooda.testing.fake_coder.faults import FaultPlan
from ooda.testing.fake_coder.server import FakeCoder, serve
from ooda.testing.fake_coder.strict import Conscience
from ooda.testing.fake_coder.world import World

__all__ = ["Conscience", "FakeCoder", "FaultPlan", "FleetClock", "World", "serve"]
