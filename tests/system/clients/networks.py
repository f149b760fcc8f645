"""As many networks of Mininet as asked for, one after the other, in one process. usage: networks.py COUNT"""

import sys

from mininet.log import setLogLevel
from mininet.net import Mininet
from mininet.node import OVSBridge
from mininet.topo import LinearTopo

setLogLevel("warning")
for _ in range(int(sys.argv[1])):
    net = Mininet(topo=LinearTopo(3), switch=OVSBridge, controller=None)
    net.start()
    net.stop()
print("done")
