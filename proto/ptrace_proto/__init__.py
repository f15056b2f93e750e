"""Code generated from proto/ptrace/v1/ptrace.proto: the contract of daemon and client."""
