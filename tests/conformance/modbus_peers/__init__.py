"""Modbus servers that are not ours, and the values they hold."""
