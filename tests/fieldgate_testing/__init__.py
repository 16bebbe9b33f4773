"""What the Python tests share: processes, ports, waiting, and the parts of the system as fixtures."""
