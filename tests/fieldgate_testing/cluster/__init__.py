"""What the tests in the cluster share: the appliance under test on a node, and what they observe of it. The node itself is tests/cluster/node."""
